"""BM25 ranks real collections as well as it is known to."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from stepwell import Corpus, Document

DATA = Path(__file__).parents[3] / "shared" / "data"

pytestmark = pytest.mark.skipif(
    not DATA.exists(), reason="the collections are not at ../shared/data"
)


def _lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("name", "split", "floor"),
    [
        ("nfcorpus", "test", 0.324),
        ("cranfield", "graded", 0.525),
        ("chunkeval-800", "test", 0.762),
    ],
)
def test_bm25_ranks_as_well_as_it_did(name: str, split: str, floor: float) -> None:
    """nDCG@10 of the english analyzer is not below what was measured when it was chosen."""
    measures = pytest.importorskip("ir_measures", reason="ir-measures is not installed")
    text = (DATA / name / "qrels" / f"{split}.tsv").read_text("utf-8")
    rows = [line.split("\t") for line in text.splitlines()[1:]]
    qrels = [measures.Qrel(query, document, int(grade)) for query, document, grade in rows]
    judged = {query for query, _, _ in rows}
    run = []
    with Corpus.temporary(encoder=None) as corpus:
        corpus.add(
            Document(row["_id"], "\n".join(filter(None, (row.get("title"), row["text"]))))
            for row in _lines(DATA / name / "corpus.jsonl.gz")
        )
        for query in _lines(DATA / name / "queries.jsonl.gz"):
            if query["_id"] in judged:
                found = corpus.search_text(query["text"], 10)
                run += [
                    measures.ScoredDoc(query["_id"], id, score)
                    for id, score in zip(found.ids, found.scores.tolist())
                ]
    ndcg = measures.calc_aggregate([measures.nDCG @ 10], qrels, run)[measures.nDCG @ 10]
    assert floor <= ndcg < floor + 0.01
