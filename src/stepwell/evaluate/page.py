"""A report as one HTML page with plots; it asks for nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise

from stepwell.evaluate import charts
from stepwell.evaluate.charts import Bar
from stepwell.evaluate.diagram import diagram_part
from stepwell.evaluate.funnel import Funnel, bin_names
from stepwell.evaluate.report import Report
from stepwell.evaluate.sheets import Sheet, head, latency, sheets

_STYLE = """
:root { color-scheme: light dark; --back: #fff; --ink: #1b1f24; --soft: #59636e; --rule: #d1d9e0;
  --main: #0969da; --other: #9aa4ae; --bad: #cf5f1b; }
@media (prefers-color-scheme: dark) { :root { --back: #12161b; --ink: #e6edf3; --soft: #9da7b1;
  --rule: #343c45; --main: #58a6ff; --other: #6e7681; --bad: #f0883e; } }
body { background: var(--back); color: var(--ink); font: 16px/1.5 system-ui, sans-serif;
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin-top: 2.2rem; }
p { color: var(--soft); max-width: 46rem; } .wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--rule); text-align: right;
  vertical-align: top; white-space: nowrap; }
.left { text-align: left; } td.left { white-space: normal; min-width: 6rem; }
svg { width: 100%; min-width: 40rem; max-width: 46rem; height: auto; display: block;
  margin: .5rem 0; }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
svg .label, svg .number { text-anchor: end; } svg .middle { text-anchor: middle; }
.main { fill: var(--main); } .other { fill: var(--other); } .bad { fill: var(--bad); }
.line { stroke: var(--ink); fill: none; stroke-width: 1.5; }
.axis { stroke: var(--soft); fill: none; }
"""


def page(title: str, lines: Sequence[str], parts: Sequence[str]) -> str:
    """A whole page.

    Args:
        title: Its heading.
        lines: Sentences below it; empty ones are left out.
        parts: What follows, as HTML.
    """
    said = "".join(f"<p>{escape(line)}</p>" for line in lines if line)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>{escape(title)}</h1>{said}{''.join(parts)}</main></body></html>\n"
    )


def table(sheet: Sheet) -> str:
    """A table, with its title above and its note below."""
    left = {sheet.columns[0], *sheet.words}
    marks = ['class="left"' if name in left else "" for name in sheet.columns]
    rows = "".join(
        f"<tr>{''.join(f'<td {mark}>{escape(cell)}</td>' for mark, cell in zip(marks, row))}</tr>"
        for row in sheet.rows
    )
    names = "".join(
        f'<th scope="col" {mark}>{escape(name)}</th>' for mark, name in zip(marks, sheet.columns)
    )
    title = f"<h2>{escape(sheet.title)}</h2>" if sheet.title else ""
    note = f"<p>{escape(sheet.note)}</p>" if sheet.note else ""
    made = f"<table><thead><tr>{names}</tr></thead><tbody>{rows}</tbody></table>"
    return f'{title}<div class="wide" tabindex="0">{made}</div>{note}'


def report_page(report: Report) -> str:
    """The report of one evaluation."""
    plots = {"": _measures(report)}
    if report.baseline is not None:
        plots[f"against {report.baseline.name}"] = _differences(report)
    if report.funnel is not None:
        plots["the funnel"] = _funnel(report.funnel)
        plots["lift of each stage"] = _moved(report)
        plots["dropped by a cut"] = _dropped(report.funnel)
    if report.calibration is not None:
        plots["reliability"] = diagram_part(report.calibration)
    parts: list[str] = []
    for sheet in sheets(report):
        parts += [table(sheet), plots.pop(sheet.title, "")]
    if report.ms:
        parts += ["<h2>time of a query</h2>", f"<p>{escape(latency(report))}</p>"]
        parts.append(charts.histogram("queries by milliseconds", report.ms, unit="queries"))
        parts.append("<p>queries by milliseconds, up to each number</p>")
    return page(head(report), report.remarks, parts)


def _measures(report: Report) -> str:
    found = [Bar(name, mean, report.interval95[name]) for name, mean in report.measures.items()]
    return charts.bars("means with 95% intervals", found)


def _differences(report: Report) -> str:
    each = report.baseline.differences if report.baseline else {}
    found = [
        Bar(name, d.mean, d.interval95, "main" if d.mean >= 0 else "bad")
        for name, d in each.items()
    ]
    return charts.bars("differences with 95% intervals", found, sign=True)


def _funnel(funnel: Funnel) -> str:
    found = []
    for stage in funnel.stages:
        found += [
            Bar(f"{stage.name}: recall", stage.recall, kind="other"),
            Bar("reachable nDCG@10", stage.reachable, kind="other"),
            Bar("nDCG@10", stage.ndcg),
        ]
        if stage.perfect is not None:
            found.append(Bar("answer, if perfect", stage.perfect, kind="bad"))
    return charts.bars("what is left after each stage", found)


def _moved(report: Report) -> str:
    parts = []
    for first, second in pairwise(report.stage_values):
        change = report.stage_values[second] - report.stage_values[first]
        title = f"nDCG@10 of each query that {second} changed, less that of {first}"
        if change.any():
            parts.append(f"{charts.deltas(title, change.tolist())}<p>{escape(title)}</p>")
    return "".join(parts)


def _dropped(funnel: Funnel) -> str:
    parts = []
    for stage in funnel.stages:
        if any(stage.lost_at):
            title = f"relevant documents that {stage.name} dropped, by their place in its order"
            found = charts.columns(title, bin_names(), stage.lost_at, unit="documents")
            parts.append(f"{found}<p>{escape(title)}</p>")
    return "".join(parts)
