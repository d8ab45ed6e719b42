"""Hits, traces and reports as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stepwell.evaluate.report import Report
from stepwell.evaluate.sheets import Sheet, head, latency, sheets
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
    """The measures with their intervals, a row a stage, where quality is lost, and the time."""
    console.print(Text(head(report), style="bold"))
    show_sheets(console, sheets(report))
    if report.latency_ms["p50"] is not None:
        console.print(Text(latency(report)))


def show_sheets(console: Console, found: Iterable[Sheet]) -> None:
    """Tables with their titles and notes."""
    for sheet in found:
        if sheet.title:
            console.print(Text(sheet.title, style="bold"))
        left = (sheet.columns[0], *sheet.words)
        table = _table(*(name if name in left else (name, "right") for name in sheet.columns))
        for row in sheet.rows:
            _row(table, row)
        console.print(table)
        if sheet.note:
            console.print(Text(sheet.note, style="dim"), soft_wrap=True)


def _table(*columns: str | tuple[str, str]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        name, justify = column if isinstance(column, tuple) else (column, "left")
        table.add_column(name, justify="right" if justify == "right" else "left", overflow="fold")
    return table


def _row(table: Table, cells: Sequence[str]) -> None:
    # As Text: what stands in brackets in a document is no markup.
    table.add_row(*(Text(cell) for cell in cells))
