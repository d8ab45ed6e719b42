"""Whether a deadline is kept, and what it costs in quality: queries with deadlines drawn at random.

    python -m tests.bench.deadline ../shared/data/cranfield --split graded --plot out.png

The recommended cascade answers each query inside a deadline of 20 to 500 ms while other processes
keep processors busy. No pair's score is kept, so a query that comes again is as dear as the first
time. Printed: how often and by how much a deadline was overrun, what one batch takes, and nDCG@10
by deadline, also against the mean of the same question over all its deadlines: questions differ
more from each other than deadlines do. Run by hand; nothing is asserted. The plot needs the extra
`bench`.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import platform
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import ir_measures
import numpy as np

import stepwell as sw
from stepwell.evaluate import Dataset
from stepwell.ingest import read_beir
from stepwell.stages import blends
from stepwell.stages.presets import RECALL, RESCORE
from stepwell.threads import cores

WARM = 20
GRACE_MS = 20.0
EDGES = (20, 50, 100, 150, 200, 300, 400, 500)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--load", type=int, default=1, help="processes that keep a core busy")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    logging.getLogger("stepwell").setLevel(logging.ERROR)  # degraded answers are the point here
    data = Dataset.load(args.dataset, split=args.split)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {args.load}")
    with sw.Corpus.temporary() as corpus:
        corpus.add(read_beir(args.dataset).documents)
        cascade = cascade_over(corpus)
        with busy(args.load):
            asked = ask(cascade, data, args.queries, random.Random(args.seed))
            batch = batch_ms(corpus)
    print(f"load average {', '.join(f'{each:.1f}' for each in os.getloadavg())} at the end")
    report(asked, batch, args.plot)


@dataclass(frozen=True, slots=True)
class Asked:
    """One query: its id, its deadline and time in ms, its nDCG@10, and how many pairs were read."""

    query: str
    deadline: float
    ms: float
    ndcg: float
    read: int

    @property
    def over(self) -> float:
        return self.ms - self.deadline


def cascade_over(corpus: sw.Corpus) -> sw.Cascade:
    """The recommended one, but no pair's score is kept."""
    read = sw.CrossEncoder(k=10, blend=blends.CROSS_ENCODER_AFTER_HYBRID, cache=False)
    middle = sw.BiEncoder(corpus, RESCORE, blend=blends.BI_ENCODER_AFTER_HYBRID)
    return sw.Cascade([sw.Hybrid(corpus, RECALL), middle, read])


def ask(cascade: sw.Cascade, data: Dataset, n: int, chance: random.Random) -> list[Asked]:
    ids = sorted(data.queries)
    for query in chance.choices(ids, k=WARM):
        cascade.search(data.queries[query], deadline=10.0)
    made = []
    for query in chance.choices(ids, k=n):
        ms = chance.uniform(EDGES[0], EDGES[-1])
        result = cascade.search(data.queries[query], deadline=ms / 1e3)
        last = result.trace.records[-1]
        read = 0 if last.status == "skipped" else last.n_in - int(last.notes.get("unscored", 0))
        made.append(Asked(query, ms, result.trace.ms, ndcg(data, query, result), read))
    return made


def batch_ms(corpus: sw.Corpus) -> float:
    """The 95th percentile of what the cross-encoder takes for one batch under a deadline."""
    scorer = sw.CrossEncoder(cache=False).scorer
    texts = [document.text for document, _ in zip(corpus, range(60 * cores()))]
    took = []
    for start in range(0, len(texts), cores()):
        began = time.perf_counter()
        scorer.score("how long does one batch take?", texts[start : start + cores()])
        took.append((time.perf_counter() - began) * 1e3)
    return float(np.percentile(took, 95))


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep so many processes computing beside."""
    workers = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(processes)]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _spin() -> None:
    matrix = np.random.default_rng(0).normal(size=(200, 200))
    while True:
        matrix = np.tanh(matrix @ matrix.T / 200)


def report(asked: Sequence[Asked], batch: float, plot: Path | None) -> None:
    over = np.array([each.over for each in asked])
    grace = max(GRACE_MS, batch)
    print(f"one batch: {batch:.1f} ms (p95); {len(asked)} queries")
    print(f"overrun at all: {(over > 0).mean():.1%}; largest {over.max():.1f} ms")
    for least in (GRACE_MS, grace):
        print(f"overrun by more than {least:.1f} ms: {(over > least).mean():.1%}")
    usual: dict[str, list[float]] = {}
    for each in asked:
        usual.setdefault(each.query, []).append(each.ndcg)
    rows = []
    for low, high in pairwise(EDGES):
        part = [each for each in asked if low <= each.deadline < high]
        gain = np.array([each.ndcg - np.mean(usual[each.query]) for each in part])
        error = float(gain.std(ddof=1) / np.sqrt(len(gain)))
        rows.append(((low + high) / 2, float(gain.mean()), error))
        print(
            f"{low:4d}-{high:3d} ms  {len(part):4d} queries  "
            f"nDCG@10 {np.mean([each.ndcg for each in part]):.3f}, "
            f"same questions {gain.mean():+.4f} ± {error:.4f}  "
            f"pairs read {np.mean([each.read for each in part]):5.1f}  "
            f"late {np.mean([each.over > grace for each in part]):.1%}"
        )
    if plot is not None:
        draw(rows, asked, plot)


def ndcg(data: Dataset, query: str, result: sw.Result) -> float:
    measure = ir_measures.nDCG @ 10
    qrels = {query: dict(data.qrels[query])}
    run = {query: {hit.id: hit.score for hit in result.hits}}
    return float(ir_measures.calc_aggregate([measure], qrels, run)[measure])


def draw(rows: Sequence[tuple[float, float, float]], asked: Sequence[Asked], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4))
    middle, gain, error = zip(*rows)
    left.errorbar(middle, gain, yerr=error, marker="o", capsize=3)
    left.axhline(0, color="grey")
    left.set(
        xlabel="deadline, ms",
        ylabel="nDCG@10 against the question's mean",
        title="Quality, with standard errors",
    )
    right.scatter([each.deadline for each in asked], [each.ms for each in asked], s=4)
    right.plot([EDGES[0], EDGES[-1]], [EDGES[0], EDGES[-1]], color="grey")
    right.set(xlabel="deadline, ms", ylabel="answered after, ms", title="Time; the line is on time")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
