"""What a shadow costs the live path: live latency with one, as a ratio of that without.

    python -m tests.bench.shadow ../shared/data/chunkeval-800 --queries 60 --gap 0.5

Live is BM25 and the embedded cross-encoder, the shadow hybrid, bi-encoder and cross-encoder over
the same corpus, with the same loaded model. Each query is asked with and without, in an order drawn
by chance: with a pause before each ("low traffic"), and without one ("no pause"), where the machine
works on both at once; "bm25 alone" is a live cascade of one quick stage. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import sys
import time
from itertools import islice
from pathlib import Path

import stepwell as sw
from stepwell.evaluate import Dataset
from stepwell.ingest import read_beir


def timed(cascade: sw.Cascade, query: str, shadow: sw.Shadow | None) -> float:
    """Milliseconds of one live call."""
    cascade.shadow = shadow
    began = time.perf_counter()
    cascade.search(query, k=10)
    return (time.perf_counter() - began) * 1e3


def apart(
    live: sw.Cascade, shadow: sw.Shadow, queries: list[str], gap: float
) -> tuple[list[float], list[float]]:
    """Live milliseconds without and with a shadow, of queries with a pause before each."""
    chance = random.Random(7)
    without: list[float] = []
    beside: list[float] = []
    for query in queries:
        pair = [(without, None), (beside, shadow)]
        chance.shuffle(pair)
        for kept, which in pair:
            shadow.wait()
            time.sleep(gap)
            kept.append(timed(live, query, which))
    return without, beside


def on_end(
    live: sw.Cascade, shadow: sw.Shadow, queries: list[str]
) -> tuple[list[float], list[float]]:
    """The same of queries one right after the other, ten without and ten with by turns."""
    without: list[float] = []
    beside: list[float] = []
    for at in range(0, len(queries), 10):
        for kept, which in ((without, None), (beside, shadow)):
            kept += [timed(live, query, which) for query in queries[at : at + 10]]
        shadow.wait()
    return without, beside


def offered(live: sw.Cascade, query: str) -> float:
    """Median microseconds that a live call spends on its shadow, which has little to do."""
    took = []
    with sw.Shadow(sw.Cascade([sw.TopK(1)]), limit=10) as shadow:
        live.shadow = None
        result = live.search(query, k=10)
        for _ in range(2000):
            began = time.perf_counter()
            shadow.offer("live", result)
            took.append((time.perf_counter() - began) * 1e6)
            shadow.wait()
    return statistics.median(took)


def say(name: str, without: list[float], beside: list[float]) -> None:
    """One line of the table."""
    medians = statistics.median(without), statistics.median(beside)
    tails = sorted(without)[int(len(without) * 0.95)], sorted(beside)[int(len(beside) * 0.95)]
    pairs = f"{medians[0]:8.2f} {medians[1]:8.2f} {medians[1] / medians[0]:6.2f}"
    print(f"{name:<12} {pairs}   {tails[0]:8.2f} {tails[1]:8.2f} {tails[1] / tails[0]:6.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--documents", type=int, default=400)
    parser.add_argument("--gap", type=float, default=0.5, help="seconds before each query")
    options = parser.parse_args()
    data = read_beir(options.data)
    documents = list(islice(data.documents, options.documents))
    queries = list(Dataset.load(options.data).queries.values())[: options.queries]
    with sw.Corpus.temporary() as corpus:
        corpus.add(documents)
        # Without the memory of scored pairs, or the second of two equal questions costs nothing.
        live = sw.Cascade([sw.BM25(corpus, k=100), sw.CrossEncoder(k=10, depth=20, cache=False)])
        read = sw.CrossEncoder(k=10, cache=False)
        other = sw.Cascade([sw.Hybrid(corpus, k=100), sw.BiEncoder(corpus, k=50), read])
        for query in queries[:5]:
            live.search(query)
            other.search(query)
        print(f"{platform.platform()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}")
        print(f"{options.data.name}, {len(queries)} queries; ms without, with, ratio")
        print(f"the note that a live call takes: {offered(live, queries[0]):.1f} µs")
        print(f"{'':<12} {'median':^24}   {'p95':^24}")
        quick = sw.Cascade([sw.BM25(corpus, k=10)])
        with sw.Shadow(sw.Cascade([sw.BM25(corpus, k=100), sw.BiEncoder(corpus, k=50)])) as shadow:
            say("bm25 alone", *apart(quick, shadow, queries * 5, 0.02))
        with sw.Shadow(other) as shadow:
            say("low traffic", *apart(live, shadow, queries, options.gap))
        with sw.Shadow(other, limit=5) as shadow:
            say("no pause", *on_end(live, shadow, queries))
            print(shadow.report())


if __name__ == "__main__":
    main()
