"""The stages over a corpus in Milvus: the same classes, the same contract, the same answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stepwell import (
    BM25,
    MMR,
    BiEncoder,
    Cascade,
    Corpus,
    Dense,
    Document,
    Hybrid,
    Keyword,
    MilvusCorpus,
    Parents,
    Stage,
)
from stepwell.documents import well_formed
from stepwell.testing import CHECKS, WordEncoder, sample_documents
from tests.milvus.conftest import Make

Recall = Callable[[Any], Stage]
MAKERS: dict[str, Recall] = {
    "BM25": BM25,
    "Keyword": Keyword,
    "Keyword filter": lambda corpus: Keyword(corpus, phrase=False),
    "Dense": Dense,
    "Hybrid": Hybrid,
    "BiEncoder": BiEncoder,
    "MMR": MMR,
    "Parents": Parents,
    "Cascade": lambda corpus: Cascade([Hybrid(corpus), BiEncoder(corpus, k=5)]),
}
WORDS = [
    "log",
    "rotate",
    "disk",
    "page",
    "team",
    "alert",
    "query",
    "index",
    "shard",
    "replica",
    "node",
    "leader",
]


@pytest.fixture(scope="module")
def corpus(milvus_file: Any) -> Iterator[MilvusCorpus]:
    with MilvusCorpus(milvus_file, collection="contract", encoder=WordEncoder()) as corpus:
        corpus.add(replace(each, text=well_formed(each.text)) for each in sample_documents())
        yield corpus


@pytest.mark.parametrize("make_stage", MAKERS.values(), ids=MAKERS.keys())
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_it_keeps_the_contract(
    corpus: MilvusCorpus, make_stage: Recall, check: Callable[[Stage, str], None]
) -> None:
    """Each stage that takes a corpus keeps the contract over this one."""
    check(make_stage(corpus), "how do I rotate the logs?")


def test_answers_are_those_of_the_embedded_corpus(make: Make) -> None:
    """Over 2,000 documents a cascade's first ten, filtered and not, are the embedded corpus'."""
    draw = np.random.default_rng(7)
    documents = [
        Document(str(n), " ".join(draw.choice(WORDS, 12)) + f" n{n}", {"n": n % 10})
        for n in range(2000)
    ]
    milvus = make(encoder=WordEncoder())
    milvus.add(documents)
    with Corpus.temporary(encoder=WordEncoder()) as embedded:
        embedded.add(documents)
        for query in ("rotate log disk n5", "leader replica alert", "shard"):
            for spec in (None, {"n": {"$gte": 7}}, {"n": {"$nin": [1, 2]}}):
                for build in (
                    lambda c: [BM25(c)],
                    lambda c: [Dense(c)],
                    lambda c: [Hybrid(c), BiEncoder(c, k=50)],
                ):
                    one, other = (
                        Cascade(build(each)).search(query, k=10, filter=spec)
                        for each in (embedded, milvus)
                    )
                    assert [hit.score for hit in other.hits] == pytest.approx(
                        [hit.score for hit in one.hits], rel=0.002
                    )
