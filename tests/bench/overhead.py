"""The core's own time per query: three stages that do nothing, over 1,000 candidates.

Run by hand: `python tests/bench/overhead.py`. What is timed is everything that `Cascade.rank` and
`Cascade.search` do around the stages: checks, records, trace, hits. Nothing is asserted.
"""

from __future__ import annotations

import asyncio
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

from stepwell import Candidates, Cascade, Document
from stepwell.documents import InMemory

N, ROUNDS, REPEATS = 1_000, 200, 5


class Recall:
    """Hands out what was made beforehand."""

    name = "recall"

    def __init__(self, documents: list[Document]) -> None:
        self.source = InMemory(documents)
        self.ids = [document.id for document in documents]
        self.scores = np.linspace(1.0, 0.0, len(documents))

    def run(self, candidates: Candidates, /) -> Candidates:
        """Recall them all."""
        return candidates.recalled(self.name, self.ids, self.scores, source=self.source)


class Pass:
    """Returns what it was given."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, candidates: Candidates, /) -> Candidates:
        """Do nothing."""
        return candidates


class Reorder(Pass):
    """Returns the same order as a new set, so that the contract is checked in full."""

    def run(self, candidates: Candidates, /) -> Candidates:
        """Score every candidate with what it has."""
        return candidates.scored(self.name, candidates.score)


def median_ms(call: Callable[[], object]) -> float:
    """The least, over repeats, of the median milliseconds of a call: other work only adds."""
    medians = []
    for _ in range(REPEATS):
        times = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            call()
            times.append((time.perf_counter() - began) * 1e3)
        medians.append(statistics.median(times))
    return min(medians)


def main() -> None:
    """Print the machine and the medians."""
    documents = [Document(f"d{at}", f"text {at}", {"n": at}) for at in range(N)]
    recall = Recall(documents)
    brought = Candidates.of("q", documents)
    passing = [Pass(f"no-op {at}") for at in range(3)]
    scoring = [Reorder(f"same {at}") for at in range(3)]
    recall_ms = median_ms(lambda: recall.run(Candidates.start("q")))
    score_ms = median_ms(lambda: Reorder("same").run(brought))
    cases: list[tuple[str, Callable[[], object], float]] = [
        ("run, 3 no-op stages", lambda: Cascade(passing).run(brought), 0.0),
        ("search k=10, recall + 3 no-op", _search([recall, *passing]), recall_ms),
        (
            "search k=10, recall + 3 that score",
            _search([recall, *scoring]),
            recall_ms + 3 * score_ms,
        ),
        ("asearch k=10, recall + 3 no-op", _asearch([recall, *passing]), recall_ms),
        ("rank k=10, 3 no-op, 1,000 brought", _rank(passing, documents), 0.0),
    ]
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, ", end="")
    print(f"load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}, numpy {np.__version__}")
    print(f"{N} candidates; median of {ROUNDS}, best of {REPEATS}; ms")
    print(f"{'':38}{'whole':>8}{'stages':>8}{'core':>8}")
    for label, call, stages_ms in cases:
        whole = median_ms(call)
        print(f"{label:38}{whole:8.3f}{stages_ms:8.3f}{whole - stages_ms:8.3f}")


def _search(stages: list[object]) -> Callable[[], object]:
    cascade = Cascade(stages)  # type: ignore[arg-type]
    return lambda: cascade.search("q", k=10)


def _asearch(stages: list[object]) -> Callable[[], object]:
    cascade = Cascade(stages)  # type: ignore[arg-type]
    loop = asyncio.new_event_loop()
    return lambda: loop.run_until_complete(cascade.asearch("q", k=10))


def _rank(stages: list[object], documents: list[Document]) -> Callable[[], object]:
    cascade = Cascade(stages)  # type: ignore[arg-type]
    return lambda: cascade.rank("q", documents, k=10)


if __name__ == "__main__":
    main()
