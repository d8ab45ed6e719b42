"""Adaptive depth: fewer pairs, the promised error rate held, what it costs in nDCG@10.

    python -m tests.bench.depth ../shared/data/squad11-dev ../shared/data/nfcorpus

Every query is read once to the full depth by the embedded cross-encoder after a hybrid (the preset
two-stage), which takes long, and is kept in `--folder`; `--kept` replays what is there. Then, for
each of five parts: the other four calibrate, and it, which took no part, is asked of a cascade with
that depth, whose cross-encoder answers what was kept. So each query is asked once. The calibrations
share queries, so there is no interval: how much the parts differ is printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

import stepwell as sw
from stepwell.candidates import Candidates
from stepwell.depth import Depth, described
from stepwell.errors import InputError, import_extra
from stepwell.evaluate import Dataset
from stepwell.ingest.cache import cached_corpus
from stepwell.models import load_encoder, load_scorer
from stepwell.stages import blends
from stepwell.tune.depth import Curve, fit_depth, with_depth

K, MOST, BLEND = 10, 100, blends.CROSS_ENCODER_AFTER_HYBRID
SETTINGS = ((0.1, 0), (0.05, 0), (0.05, 1))


class Read(NamedTuple):
    """A query read to the end."""

    query: str
    ids: list[str]
    curve: Curve


def recorded(data: Dataset, folder: Path) -> Iterator[Read]:
    """Read what is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    assert data.documents is not None
    encoder, scorer = load_encoder("embedded"), load_scorer()
    corpus = cached_corpus(
        data.name, data.documents.read, key=data.documents.key(), encoder=encoder
    )
    recall = sw.Hybrid(corpus, MOST)
    for at, (query, text) in enumerate(data.queries.items()):
        file = folder / f"{at}.npz"
        if not file.exists():
            found = recall.run(Candidates.start(text))
            values = scorer.score(text, found.texts()).values
            np.savez(file, query=query, ids=found.ids.astype(str), prior=found.score, values=values)
    corpus.close()
    yield from kept(folder)


def kept(folder: Path) -> Iterator[Read]:
    """What was read before."""
    for file in sorted(folder.glob("*.npz")):
        with np.load(file) as of:
            curve = Curve(of["prior"].astype(float), of["values"].astype(float))
            yield Read(str(of["query"]), of["ids"].tolist(), curve)


def measured(data: Dataset, runs: dict[str, list[str]]) -> float:
    """Mean nDCG@10 of these queries, by ir-measures."""
    ir = import_extra("ir_measures", extra="eval")
    qrels = {query: data.qrels[query] for query in runs}
    run = {query: {id: float(-at) for at, id in enumerate(ids[:K])} for query, ids in runs.items()}
    return float(ir.calc_aggregate([ir.nDCG @ K], qrels, run)[ir.nDCG @ K])


def cascade(reads: list[Read], depth: int | Depth) -> sw.Cascade:
    """The stages of a product, over what was recorded: a query is asked for by its id."""
    by_query = {each.query: each for each in reads}

    @sw.stage(expands=False, decides=False)
    def hybrid(candidates: Candidates) -> Candidates:
        read = by_query[candidates.query.text]
        given = Candidates.of(candidates.query, [sw.Document(id, id) for id in read.ids])
        return candidates.recalled("hybrid", given.ids, read.curve.prior, source=given.source)

    @cache
    def values(query: str) -> dict[str, float]:
        read = by_query[query]
        return dict(zip(read.ids, read.curve.values.tolist()))

    def recorded_scores(query: str, passages: list[str]) -> list[float]:
        return [values(query)[passage] for passage in passages]

    return sw.Cascade([hybrid, sw.CrossEncoder(recorded_scores, K, blend=BLEND, depth=depth)])


class Asked(NamedTuple):
    """A held-out query: its top by the full and by the adaptive depth."""

    query: str
    full: list[str]
    adaptive: list[str]
    read: int


def fold(learnt: list[Read], tested: list[Read], rate: float, tolerance: int) -> list[Asked]:
    """Calibrate on some, ask the others."""
    full = cascade(learnt + tested, MOST)
    stage = full.stages[1]
    depth = fit_depth(
        [each.curve for each in learnt],
        k=K,
        blend=BLEND,
        most=MOST,
        error_rate=rate,
        tolerance=tolerance,
        made_for=described(stage, full.stages[:1]),
        audit=0.0,
    )
    adaptive, asked = with_depth(full, depth), []
    for each in tested:
        found = adaptive.search(each.query)
        read = int(found.trace.records[1].notes["read"])
        asked.append(Asked(each.query, full.search(each.query).ids, found.ids, read))
    return asked


def held_out(data: Dataset, reads: list[Read], rate: float, tolerance: int, folds: int) -> str:
    """A line: promised, held, read, lost; each query is asked once, by the fold it is not in."""
    order = np.random.default_rng(0).permutation(len(reads))
    asked: list[Asked] = []
    shares: list[float] = []
    for part in np.array_split(order, folds):
        left_out = set(part.tolist())
        learnt = [each for at, each in enumerate(reads) if at not in left_out]
        try:
            made = fold(learnt, [reads[at] for at in part.tolist()], rate, tolerance)
        except InputError as error:
            return f"  {rate:g}, tolerance {tolerance}: {error}"
        asked += made
        shares.append(float(np.mean([_wrong(each, tolerance) for each in made])))
    errors = sum(_wrong(each, tolerance) for each in asked)
    mean = float(np.mean([each.read for each in asked]))
    before = measured(data, {each.query: each.full for each in asked})
    after = measured(data, {each.query: each.adaptive for each in asked})
    return "; ".join(
        [
            f"  promised {rate:g}, tolerance {tolerance}",
            f"held {errors / len(asked):.3f} ({errors} of {len(asked)}; "
            f"by fold {min(shares):.3f} to {max(shares):.3f})",
            f"read {mean:.1f} of {MOST} ({MOST / mean:.2f}x fewer)",
            f"nDCG@{K} {before:.4f} full, {after:.4f} adaptive ({after - before:+.4f})",
        ]
    )


def _wrong(asked: Asked, tolerance: int) -> bool:
    return len(set(asked.full) - set(asked.adaptive)) > tolerance


def main() -> None:
    """Read, replay, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--queries", type=int, default=260)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(".bench/depth"))
    parser.add_argument("--kept", action="store_true", help="Replay what is there, read nothing.")
    asked = parser.parse_args()
    for folder in asked.folders:
        data = Dataset.load(folder).answerable()
        place = asked.folder / data.name
        sample = data.sample(asked.queries, seed=0)
        reads = list(kept(place) if asked.kept else recorded(sample, place))
        print(f"{data.name}: {len(reads)} queries, {asked.folds} folds", flush=True)
        for rate, tolerance in SETTINGS:
            print(held_out(data, reads, rate, tolerance, asked.folds), flush=True)


if __name__ == "__main__":
    main()
