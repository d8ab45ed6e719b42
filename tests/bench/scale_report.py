"""The tables and curves of `tests.bench.scale`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

Answers = Mapping[str, Mapping[str, Any]]
Look = Callable[[Mapping[str, Any]], float]

# What a row of the table is called, and where its number is; a cost is to be small.
COSTS: tuple[tuple[str, str], ...] = (
    ("lexical indexing, s", "ingest/seconds"),
    ("processor time of it, s", "ingest/processor"),
    ("disk without vectors, MB", "ingest/disk"),
    ("memory while indexing, MB", "ingest/rss"),
    ("of which anonymous", "ingest/anonymous"),
    ("open, s", "words/open"),
    ("first search, ms", "words/first"),
    ("BM25 top 1000, median, ms", "words/search/median"),
    ("BM25 top 1000, p95, ms", "words/search/p95"),
    ("BM25 top 1000, processor, mean, ms", "words/search/processor"),
    ("same, snapshot held, median, ms", "words/search, snapshot held/median"),
    ("a snapshot, median, ms", "words/snapshot/median"),
    ("BM25, filter 1%, median, ms", "words/filter 1%/median"),
    ("BM25, filter .01%, median, ms", "words/filter .01%/median"),
    ("a new filter 1%, ms", "words/filter 1%, new"),
    ("memory while searching, MB", "words/rss"),
    ("of which anonymous ", "words/anonymous"),
    ("indexing with vectors, s", "ingest_vectors/seconds"),
    ("of which making vectors, s", "ingest_vectors/making vectors"),
    ("disk with vectors, MB", "ingest_vectors/disk"),
    ("memory while indexing vectors, MB", "ingest_vectors/rss"),
    ("of which anonymous  ", "ingest_vectors/anonymous"),
    ("open with vectors, s", "meaning/open"),
    ("first dense search, ms", "meaning/first"),
    ("dense top 1000, median, ms", "meaning/search/median"),
    ("dense top 1000, p95, ms", "meaning/search/p95"),
    ("dense top 1000, processor, mean, ms", "meaning/search/processor"),
    ("dense, filter 1%, median, ms", "meaning/filter 1%/median"),
    ("dense, filter .01%, median, ms", "meaning/filter .01%/median"),
    ("re-scoring 1000, median, ms", "meaning/re-scoring/median"),
    ("re-scoring 1000, p95, ms", "meaning/re-scoring/p95"),
    ("memory while searching vectors, MB", "meaning/rss"),
    ("of which anonymous   ", "meaning/anonymous"),
    ("memory of the cascade, MB", "cascade/rss"),
    ("of which anonymous    ", "cascade/anonymous"),
)
RATES = (
    ("documents a second, lexical", "ingest/documents/s"),
    ("documents a second, with vectors", "ingest_vectors/documents/s"),
    ("recall of dense against exact", "meaning/recall"),
)
FLOORS = ("making documents", "checking them", "the record alone", "the term index alone")
PEERS = {"ingest": "Stepwell, words", "ingest_vectors": "Stepwell, vectors"} | {
    name: name.replace("_", "-") for name in ("rank_bm25", "bm25s", "chroma")
}
DRAWN: tuple[tuple[str, dict[str, str]], ...] = (
    (
        "indexing, s",
        {
            "ingest/seconds": "words",
            "ingest_vectors/seconds": "words and vectors",
            "bm25s/seconds": "bm25s",
            "chroma/seconds": "Chroma",
        },
    ),
    (
        "first 1,000, median ms",
        {
            "words/search/median": "words",
            "meaning/search/median": "vectors",
            "rank_bm25/search/median": "rank-bm25",
            "bm25s/search/median": "bm25s",
            "chroma/search/median": "Chroma",
        },
    ),
    (
        "memory while searching, MB",
        {
            "words/rss": "words",
            "words/anonymous": "words, without mapped files",
            "meaning/rss": "vectors",
            "meaning/anonymous": "vectors, without mapped files",
        },
    ),
)


def value(answers: Mapping[str, Any], where: str) -> float | None:
    """The number at a path such as ``words/search/median``; None where it was not measured."""
    found: Any = answers
    while where:
        # Names may hold a slash themselves: the longest that is there counts.
        parts = where.split("/")
        for end in range(len(parts), 0, -1):
            name = "/".join(parts[:end])
            if isinstance(found, Mapping) and name in found:
                found, where = found[name], "/".join(parts[end:])
                break
        else:
            return None
    return float(found)


def growth(sizes: Sequence[int], costs: Sequence[float]) -> float:
    """The exponent of a cost: the slope of its logarithm over that of the number of documents."""
    if len(sizes) < 2:
        return float("nan")
    slope = np.polyfit(np.log(sizes), np.log(np.maximum(costs, 1e-9)), 1)
    return float(slope[0])


def report(answers: Answers, sizes: Sequence[int]) -> None:
    """Print every table."""
    console = Console(width=150)
    stages = {
        (f"{name}, median ms", f"cascade/stages/{name}/median")
        for each in answers.values()
        for name in each.get("cascade", {}).get("stages", {})
    }
    console.print(_by_size(answers, sizes, RATES, exponents=False))
    console.print(_by_size(answers, sizes, COSTS))
    if stages:
        console.print(_by_size(answers, sizes, sorted(stages)))
    floors = [(f"{name}, documents a second", f"floors/{name}") for name in FLOORS]
    console.print(_by_size(answers, sizes, floors, exponents=False))
    console.print(_side_by_side(answers, sizes))


def _by_size(
    answers: Answers,
    sizes: Sequence[int],
    rows: Sequence[tuple[str, str]],
    *,
    exponents: bool = True,
) -> Table:
    table = Table("", *(f"{size:,}" for size in sizes), box=MARKDOWN)
    if exponents:
        table.add_column("growth")
        table.add_column("last step")
    for name, where in rows:
        found = [(size, value(answers.get(str(size), {}), where)) for size in sizes]
        there = [(size, number) for size, number in found if number is not None]
        if not there:
            continue
        cells = [shown(number) for _, number in found]
        if exponents:
            cells += [shown(growth(*zip(*part))) for part in (there, there[-2:])]
        table.add_row(name.strip(), *cells)
    return table


def _side_by_side(answers: Answers, sizes: Sequence[int]) -> Table:
    names = ("documents", "", "documents/s", "memory, MB", "disk, MB", "open, s")
    table = Table(*names, "median, ms", "p95, ms", "1%, ms", ".01%, ms", "recall", box=MARKDOWN)
    for size in sizes:
        here = answers.get(str(size), {})
        for task, name in PEERS.items():
            if task not in here:
                continue
            made = here[task]
            asked = here.get({"ingest": "words", "ingest_vectors": "meaning"}.get(task, task), {})
            table.add_row(
                f"{size:,}",
                name,
                *(shown(value(made, at)) for at in ("documents/s", "rss", "disk")),
                *(
                    shown(value(asked, at))
                    for at in ("open", "search/median", "search/p95", "filter 1%/median")
                ),
                shown(value(asked, "filter .01%/median")),
                shown(value(asked, "recall")),
            )
    return table


def shown(number: float | None) -> str:
    """Three figures, or a dash."""
    if number is None or np.isnan(number):
        return "-"
    if abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:.3g}"


def draw(answers: Answers, sizes: Sequence[int], path: Path) -> None:
    """Curves of what grows, both axes logarithmic."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(DRAWN), figsize=(5 * len(DRAWN), 4))
    for panel, (title, curves) in zip(panels, DRAWN):
        for where, label in curves.items():
            found = [(size, value(answers.get(str(size), {}), where)) for size in sizes]
            there = [(size, number) for size, number in found if number is not None]
            if there:
                panel.plot(*zip(*there), marker="o", label=label)
        panel.set(xscale="log", yscale="log", xlabel="documents", title=title)
        panel.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
