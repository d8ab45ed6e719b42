"""Adaptive depth: fewer pairs, the promised error rate held, what it costs in nDCG@10.

    python -m tests.bench.depth ../shared/data/squad11-dev ../shared/data/nfcorpus --queries 300

Every query is read once to the full depth by the embedded cross-encoder after a hybrid (the preset
two-stage), which takes minutes, and is kept in `--folder`. Then, for several draws: four fifths of
the queries calibrate, the rest, which took no part, are read with that depth.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

import stepwell as sw
from stepwell.candidates import Candidates, blended
from stepwell.depth.promise import interval
from stepwell.errors import InputError, import_extra
from stepwell.evaluate import Dataset
from stepwell.ingest.cache import cached_corpus
from stepwell.models import load_encoder, load_scorer
from stepwell.stages import blends
from stepwell.tune.depth import Curve, Trial, fit_depth

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


def held_out(data: Dataset, reads: list[Read], rate: float, tolerance: int, draws: int) -> str:
    """A line: promised, held, read, lost; over all draws."""
    errors = asked = 0
    deep, full, short = [], [], []
    for seed in range(draws):
        order = np.random.default_rng(seed).permutation(len(reads)).tolist()
        cut = len(order) * 4 // 5
        learnt, tested = [reads[at].curve for at in order[:cut]], [reads[at] for at in order[cut:]]
        options = {"k": K, "blend": BLEND, "tolerance": tolerance}
        try:
            depth = fit_depth(learnt, most=MOST, error_rate=rate, seed=seed, **options)  # type: ignore[arg-type]
        except InputError as error:
            return f"  {rate:g}, tolerance {tolerance}: {error}"
        whole, adaptive = {}, {}
        for each in tested:
            trial = Trial.of(each.curve, depth.completions, depth.looks, **options)  # type: ignore[arg-type]
            read = trial.read_at(depth.bar)
            errors, asked = errors + trial.wrong_at(depth.bar), asked + 1
            deep.append(read)
            best = blended(each.curve.prior, each.curve.values, BLEND)[0]
            whole[each.query] = adaptive[each.query] = [each.ids[at] for at in best]
            if read < trial.n:
                seen = depth.completions.outlook(
                    each.curve.prior, each.curve.values[:read], k=K, blend=BLEND
                )
                adaptive[each.query] = [each.ids[at] for at in seen.order]
        full.append(measured(data, whole))
        short.append(measured(data, adaptive))
    low, high = interval(errors, asked)
    mean, before, after = float(np.mean(deep)), float(np.mean(full)), float(np.mean(short))
    return "; ".join(
        [
            f"  promised {rate:g}, tolerance {tolerance}",
            f"held {errors / asked:.3f} ({errors} of {asked}, {low:.3f} to {high:.3f})",
            f"read {mean:.1f} of {MOST} ({MOST / mean:.2f}x fewer)",
            f"nDCG@{K} {before:.4f} full, {after:.4f} adaptive ({after - before:+.4f})",
        ]
    )


def main() -> None:
    """Read, replay, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--folder", type=Path, default=Path(".bench/depth"))
    parser.add_argument("--kept", action="store_true", help="Replay what is there, read nothing.")
    asked = parser.parse_args()
    for folder in asked.folders:
        data = Dataset.load(folder).answerable()
        place = asked.folder / data.name
        sample = data.sample(asked.queries, seed=0)
        reads = list(kept(place) if asked.kept else recorded(sample, place))
        print(f"{data.name}: {len(reads)} queries, {len(reads) * 4 // 5} to calibrate", flush=True)
        for rate, tolerance in SETTINGS:
            print(held_out(data, reads, rate, tolerance, asked.draws), flush=True)


if __name__ == "__main__":
    main()
