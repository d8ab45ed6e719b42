"""How much each re-scoring stage should weigh: nDCG@10 for every blend, from one run of the models.

    python -m tests.bench.blends ../shared/data/cranfield --split graded --queries 100

The hybrid recalls, the bi-encoder keeps fifty, the cross-encoder reads them once; the blends are
then replayed over the recorded scores by `Candidates.scored`, so a row is what a cascade of that
weight answers. Run by hand; it asserts nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import ir_measures
import numpy as np

import stepwell as sw
from stepwell.candidates import Scores
from stepwell.evaluate import Dataset
from stepwell.ingest import read_beir

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    data = Dataset.load(args.dataset, split=args.split).sample(args.queries, seed=args.seed)
    with sw.Corpus.temporary() as corpus:
        corpus.add(read_beir(args.dataset).documents)
        recorded = dict(record(corpus, data))
    print(f"{data.name}, {len(recorded)} queries, {args.split}; nDCG@10")
    hybrid = {query: each[0].ids[:10].tolist() for query, each in recorded.items()}
    print(f"hybrid                    {ndcg(data, hybrid):.4f}")
    for bi in (0.0, 0.1, 0.3):
        for cross in WEIGHTS:
            run = {query: replay(*each, bi, cross) for query, each in recorded.items()}
            print(f"bi-encoder {bi:.1f}, cross {cross:.1f}  {ndcg(data, run):.4f}")


def record(
    corpus: sw.Corpus, data: Dataset
) -> Iterator[tuple[str, tuple[sw.Candidates, Scores, Scores]]]:
    """By query: what the hybrid recalled, its cosines, and the cross-encoder's scores of fifty."""
    hybrid = sw.Hybrid(corpus, k=50)
    scorer = sw.CrossEncoder().scorer
    for query, text in data.queries.items():
        found = hybrid.run(sw.Candidates.start(text))
        assert corpus.encoder is not None
        asked = corpus.encoder.encode([text], kind="query")[0]
        cosines = corpus.vectors_of(found.ids.tolist()) @ asked
        yield query, (found, cosines, scorer.score(text, found.texts()).values)


def replay(found: sw.Candidates, cosines: Scores, pairs: Scores, bi: float, cross: float) -> list:
    place = {id: at for at, id in enumerate(found.ids)}
    middle = found.scored("bi", cosines, blend=bi)
    order = np.array([place[id] for id in middle.ids], dtype=np.intp)
    return middle.scored("cross", pairs[order], blend=cross).ids[:10].tolist()


def ndcg(data: Dataset, run: dict[str, list[str]]) -> float:
    measure = ir_measures.nDCG @ 10
    scores = {query: {id: float(-at) for at, id in enumerate(ids)} for query, ids in run.items()}
    qrels = {query: dict(data.qrels[query]) for query in run}
    return ir_measures.calc_aggregate([measure], qrels, scores)[measure]


if __name__ == "__main__":
    main()
