"""Several systems on the same queries: who is better, at what cost, and where they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stepwell.errors import InputError
from stepwell.evaluate import charts
from stepwell.evaluate.charts import Bar
from stepwell.evaluate.page import page, table
from stepwell.evaluate.report import Report
from stepwell.evaluate.sheets import DIFFERENCE_COLUMNS, Sheet, difference_cells
from stepwell.evaluate.significance import Difference, differences

SHOWN = 10


@dataclass(frozen=True, slots=True)
class Changed:
    """One query and how far apart the systems are.

    Attributes:
        query: Its id.
        values: The first measure by system.
        spread: The largest less the smallest.
    """

    query: str
    values: Mapping[str, float]
    spread: float

    def to_dict(self, texts: Mapping[str, str]) -> dict[str, Any]:
        """Plain values for JSON; the text only if it is among those given."""
        text = {"text": texts[self.query]} if self.query in texts else {}
        return {"query": self.query, **text, "values": dict(self.values), "spread": self.spread}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Systems on the same queries.

    Attributes:
        reports: By name; the first is what the others are compared with.
        measure: The first measure: by it queries are ordered.
        over_first: By system and measure, the difference to the first; Holm's correction over all.
        changed: Queries on which the systems differ, those furthest apart first.
    """

    reports: Mapping[str, Report]
    measure: str
    over_first: Mapping[tuple[str, str], Difference]
    changed: tuple[Changed, ...]

    @property
    def first(self) -> str:
        """The name of what the others are compared with."""
        return next(iter(self.reports))

    @property
    def title(self) -> str:
        """What was compared, in one line."""
        report = self.reports[self.first]
        return f"{report.dataset}, {report.queries} queries: {', '.join(self.reports)}"

    def to_dict(self, *, texts: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Plain values for JSON.

        Args:
            texts: Of queries by id, to be shown; none by default.
        """
        first = self.reports[self.first]
        return {
            "dataset": first.dataset,
            "queries": first.queries,
            "systems": [
                {"name": name, **{key: report.to_dict()[key] for key in _KEYS}}
                for name, report in self.reports.items()
            ],
            "differences": [
                {"of": name, "over": self.first, "measure": measure, **each.to_dict()}
                for (name, measure), each in self.over_first.items()
            ],
            "changed": [each.to_dict(texts or {}) for each in self.changed],
        }


_KEYS = ("measures", "interval95", "latency_ms", "stages")


def compare(reports: Mapping[str, Report], *, seed: int = 0) -> Comparison:
    """Compare evaluations of the same queries by the same measures.

    Args:
        reports: By name, two or more; the first is what the others are compared with.
        seed: Of bootstrap and test.

    Raises:
        InputError: There are fewer than two, or queries or measures differ.
    """
    if len(reports) < 2:
        raise InputError("a comparison takes two systems or more, of different names")
    names = list(reports)
    first = reports[names[0]]
    for name in names[1:]:
        other = reports[name]
        if other.ids != first.ids or list(other.values) != list(first.values):
            raise InputError(f"{name} and {names[0]} were measured on other queries or measures")
    pairs = [(name, measure) for name in names[1:] for measure in first.values]
    found = differences(
        {f"{at}": reports[name].values[measure] for at, (name, measure) in enumerate(pairs)},
        {f"{at}": first.values[measure] for at, (_, measure) in enumerate(pairs)},
        seed=seed,
    )
    measure = next(iter(first.values))
    return Comparison(
        reports=dict(reports),
        measure=measure,
        over_first=dict(zip(pairs, found.values())),
        changed=_changed(reports, measure, first.ids),
    )


def comparison_sheets(
    comparison: Comparison, *, texts: Mapping[str, str] | None = None
) -> list[Sheet]:
    """All tables of a comparison; the text of queries only if it is given."""
    found = [_quality(comparison), _cost(comparison), _over_first(comparison)]
    return [*found, _furthest(comparison, texts or {})] if comparison.changed else found


def comparison_page(comparison: Comparison, *, texts: Mapping[str, str] | None = None) -> str:
    """A comparison as one HTML page."""
    plots = {
        "quality": "".join(
            charts.bars(
                f"{measure} with 95% intervals",
                [
                    Bar(f"{name}: {measure}", report.measures[measure], report.interval95[measure])
                    for name, report in comparison.reports.items()
                ],
            )
            for measure in comparison.reports[comparison.first].measures
        ),
        f"over {comparison.first}": charts.bars(
            "differences with 95% intervals",
            [
                Bar(f"{name}: {measure}", d.mean, d.interval95, "main" if d.mean >= 0 else "bad")
                for (name, measure), d in comparison.over_first.items()
            ],
            sign=True,
        ),
    }
    parts: list[str] = []
    for sheet in comparison_sheets(comparison, texts=texts):
        parts += [table(sheet), plots.pop(sheet.title, "")]
    remarks = dict.fromkeys(r for report in comparison.reports.values() for r in report.remarks)
    return page(comparison.title, list(remarks), parts)


def _changed(
    reports: Mapping[str, Report], measure: str, ids: Sequence[str]
) -> tuple[Changed, ...]:
    values = np.array([report.values[measure] for report in reports.values()])
    spread = np.ptp(values, axis=0)
    return tuple(
        Changed(
            query=ids[at],
            values={n: round(float(v), 6) for n, v in zip(reports, values[:, at])},
            spread=round(float(spread[at]), 6),
        )
        for at in np.argsort(-spread, kind="stable").tolist()
        if spread[at] > 1e-9
    )


def _quality(comparison: Comparison) -> Sheet:
    rows = []
    for name, report in comparison.reports.items():
        for measure, mean in report.measures.items():
            low, high = report.interval95[measure]
            rows.append((name, measure, f"{mean:.4f}", f"{low:.4f} to {high:.4f}"))
    columns = ("system", "measure", "mean", "95% interval")
    return Sheet("quality", columns, tuple(rows), words=("measure",))


def _cost(comparison: Comparison) -> Sheet:
    rows = [
        (name, *("" if ms is None else f"{ms:.1f}" for ms in report.latency_ms.values()))
        for name, report in comparison.reports.items()
    ]
    columns = ("system", "ms p50", "ms p95", "ms p99")
    return Sheet("time of a query", columns, tuple(rows), note="asked one after the other")


def _over_first(comparison: Comparison) -> Sheet:
    rows = [
        (name, measure, *difference_cells(each))
        for (name, measure), each in comparison.over_first.items()
    ]
    return Sheet(
        f"over {comparison.first}",
        ("system", "measure", *DIFFERENCE_COLUMNS),
        tuple(rows),
        note="p by a paired randomisation test, two-sided; Holm's correction over this table",
        words=("measure",),
    )


def _furthest(comparison: Comparison, texts: Mapping[str, str]) -> Sheet:
    rows = []
    for each in comparison.changed[:SHOWN]:
        text = (texts[each.query],) if texts else ()
        rows.append((each.query, *(f"{v:.4f}" for v in each.values.values()), *text))
    return Sheet(
        "queries that changed most",
        ("query", *comparison.reports, *(("text",) if texts else ())),
        tuple(rows),
        note=f"{len(rows)} of {len(comparison.changed)} that differ; {comparison.measure}",
        words=("text",),
    )
