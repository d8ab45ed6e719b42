"""A report as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from stepwell.evaluate.report import Report
from stepwell.evaluate.sheets import Sheet, head, latency, sheets


def report_markdown(report: Report) -> str:
    """A report as one page."""
    return markdown(head(report), [*report.remarks, latency(report)], sheets(report))


def markdown(title: str, lines: Sequence[str], found: Sequence[Sheet]) -> str:
    """A page of tables.

    Args:
        title: Its heading.
        lines: Sentences below it; empty ones are left out.
        found: The tables.
    """
    parts = [f"# {_safe(title)}", *(_safe(line) for line in lines if line)]
    for sheet in found:
        parts += [f"## {_safe(sheet.title)}"] if sheet.title else []
        parts += [_table(sheet)]
        parts += [_safe(sheet.note)] if sheet.note else []
    return "\n\n".join(parts) + "\n"


def _table(sheet: Sheet) -> str:
    left = {sheet.columns[0], *sheet.words}
    rule = tuple("---" if name in left else "---:" for name in sheet.columns)
    cells = [tuple(map(_safe, row)) for row in (sheet.columns, *sheet.rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (cells[0], rule, *cells[1:]))


def _safe(text: str) -> str:
    """The text as it is: ids may hold what Markdown or HTML would read as marks."""
    for mark in "\\`*_[]<>|#":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
