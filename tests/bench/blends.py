"""How much the cross-encoder should weigh: nDCG@10 for every blend, from one run of the models.

    python -m tests.bench.blends ../shared/data/cranfield --split graded --queries 100

The preset's hybrid recalls and its bi-encoder keeps fifty, the cross-encoder reads them once; the
blends are then replayed over the recorded scores by `Candidates.scored`, so a row is what the
preset `three-stage` answers with that weight. Run by hand; it asserts nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import ir_measures

import stepwell as sw
from stepwell.candidates import Scores
from stepwell.evaluate import Dataset
from stepwell.ingest import read_beir
from stepwell.stages.presets import preset

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--queries", type=int, help="drawn at random; all if left out")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    data = Dataset.load(args.dataset, split=args.split)
    if args.queries:
        data = data.sample(args.queries, seed=args.seed)
    with sw.Corpus.temporary() as corpus:
        corpus.add(read_beir(args.dataset).documents)
        recorded = dict(record(corpus, data))
    print(f"{data.name}, {len(recorded)} queries, {args.split}; nDCG@10")
    print(f"hybrid      {ndcg(data, {query: best for query, (best, *_) in recorded.items()}):.4f}")
    for weight in WEIGHTS:
        run = {
            query: kept.scored("cross", pairs, blend=weight).ids[:10].tolist()
            for query, (_, kept, pairs) in recorded.items()
        }
        print(f"weight {weight:.1f}  {ndcg(data, run):.4f}")


def record(
    corpus: sw.Corpus, data: Dataset
) -> Iterator[tuple[str, tuple[list[str], sw.Candidates, Scores]]]:
    """By query: the ten best of the hybrid, what the reader is given, and the reader's scores."""
    hybrid, bi_encoder, reader = preset("three-stage", corpus)
    for query, text in data.queries.items():
        found = hybrid.run(sw.Candidates.start(text))
        kept = bi_encoder.run(found)
        pairs = reader.scorer.score(text, kept.texts()).values
        yield query, (found.ids[:10].tolist(), kept, pairs)


def ndcg(data: Dataset, run: dict[str, list[str]]) -> float:
    measure = ir_measures.nDCG @ 10
    scores = {query: {id: float(-at) for at, id in enumerate(ids)} for query, ids in run.items()}
    qrels = {query: dict(data.qrels[query]) for query in run}
    return ir_measures.calc_aggregate([measure], qrels, scores)[measure]


if __name__ == "__main__":
    main()
