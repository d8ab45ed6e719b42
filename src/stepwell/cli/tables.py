"""Hits, traces and reports as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stepwell.evaluate.report import Report
from stepwell.result import Hit
from stepwell.trace import Trace

_SNIPPET = 160


def show_hits(console: Console, hits: Iterable[Hit]) -> None:
    """Two lines a hit: rank, score, id and place by stage, then the beginning of the text."""
    for hit in hits:
        places = ", ".join(f"{stage} {rank}" for stage, rank in hit.ranks.items())
        head = Text.assemble(
            f"{hit.rank:>3}  {hit.score:.4f}  ", (hit.id, "bold"), (f"  ({places})", "dim")
        )
        console.print(head, soft_wrap=True)
        console.print(Text(f"     {_snippet(hit.document.text)}"), soft_wrap=True)


def _snippet(text: str) -> str:
    flat = " ".join(text[: 4 * _SNIPPET].split())
    return f"{flat[: _SNIPPET - 1]}…" if len(flat) > _SNIPPET else flat


def trace_table(trace: Trace) -> Table:
    """One row a stage: status, candidates in and out, milliseconds, remarks."""
    table = _table("stage", "status", ("in", "right"), ("out", "right"), ("ms", "right"), "remarks")
    for stage, status, n_in, n_out, ms, remarks in trace.rows():
        _row(table, [stage, status, str(n_in), str(n_out), f"{ms:.1f}", remarks])
    total = "degraded" if trace.degraded else "ok"
    _row(table, ["total", total, "", "", f"{trace.ms:.1f}", ""])
    return table


def show_report(console: Console, report: Report) -> None:
    """The measures with their intervals, a row a stage, and the time a query took."""
    asked = f"{report.queries} queries"
    if report.left_out:
        asked += f", {report.left_out} left out that nobody judged"
    title = ", ".join(part for part in (report.dataset, report.preset, asked) if part)
    console.print(Text(title, style="bold"))
    measures = _table("measure", ("mean", "right"), ("95% interval", "right"))
    for name, mean in report.measures.items():
        low, high = report.interval95[name]
        _row(measures, [name, f"{mean:.4f}", f"{low:.4f} to {high:.4f}"])
    console.print(measures)
    if report.stages:
        console.print(_stages_table(report))
    if report.latency_ms["p50"] is not None:
        p50, p95 = report.latency_ms["p50"], report.latency_ms["p95"]
        console.print(Text(f"a query takes {p50:.1f} ms, {p95:.1f} ms at the 95th percentile"))


def _stages_table(report: Report) -> Table:
    numbers = ("in", "out", "recall", "nDCG@10", "ms p50", "ms p95")
    table = _table("stage", *((name, "right") for name in numbers), "status")
    for row in report.stages:
        counts = [f"{row.n_in:g}", f"{row.n_out:g}", f"{row.recall:.4f}", f"{row.ndcg:.4f}"]
        _row(table, [row.name, *counts, f"{row.ms_p50:.1f}", f"{row.ms_p95:.1f}", row.status])
    return table


def _table(*columns: str | tuple[str, str]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        name, justify = column if isinstance(column, tuple) else (column, "left")
        table.add_column(name, justify="right" if justify == "right" else "left", overflow="fold")
    return table


def _row(table: Table, cells: Sequence[str]) -> None:
    # As Text: what stands in brackets in a document is no markup.
    table.add_row(*(Text(cell) for cell in cells))
