"""What scores mean is said by every stage, and seen in the answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell import (
    BM25,
    MMR,
    BiEncoder,
    Candidates,
    Cascade,
    ConfigurationError,
    Corpus,
    CrossEncoder,
    Dense,
    Guarded,
    Hybrid,
    LateInteraction,
    MinScore,
    stage,
)
from stepwell.meaning import MEANINGS, as_probability
from stepwell.stage import Scores
from stepwell.testing import WordEncoder, WordScorer, sample_documents


@pytest.fixture(scope="module")
def corpus():
    with Corpus.temporary(encoder=WordEncoder()) as made:
        made.add(each for each in sample_documents() if each.text and each.id != "s8")
        yield made


def answered(*stages, query="how do I rotate the logs?"):
    return Cascade(stages).search(query)


def test_every_scorer_declares_its_kind(corpus: Corpus) -> None:
    """Each stage that scores has the kind that its column has in the answer."""
    words = WordEncoder()
    again = CrossEncoder(lambda query, texts: [float(len(text)) for text in texts], name="again")
    stages = (
        Hybrid(corpus),
        BiEncoder(corpus, k=8),
        LateInteraction(words, k=8),
        CrossEncoder(WordScorer(), k=8, name="words"),
        Guarded(again),
        MMR(corpus, k=8),
    )
    assert all(isinstance(each, Scores) for each in stages)
    found = answered(*stages)
    assert found.kinds == {
        "hybrid": "relative",
        "bm25": "lexical",
        "dense": "similarity",
        "bi-encoder": "similarity",
        "late-interaction": "similarity",
        "words": "similarity",
        "again": "logit",
        "mmr": "relative",
    }
    assert {each.name: each.kind for each in stages}.items() <= found.kinds.items()
    assert found.trace.to_dict()["stages"][0]["kind"] == "relative"


def test_the_score_of_a_hit_has_a_kind_too(corpus: Corpus) -> None:
    """It is the last stage's own where that replaces the order, and relative after a blend."""
    words = WordScorer()
    assert answered(BM25(corpus)).kind == "lexical"
    assert answered(Dense(corpus)).kind == "similarity"
    assert answered(Hybrid(corpus, fusion="rrf")).kind == "rank"
    assert answered(BM25(corpus), CrossEncoder(words, blend=1.0)).kind == "similarity"
    assert answered(BM25(corpus), CrossEncoder(words, blend=0.5)).kind == "relative"
    assert answered(BM25(corpus), CrossEncoder(words, blend=0.5), MinScore(0.0)).kind == "relative"


def test_a_stage_that_says_nothing_has_no_kind(corpus: Corpus) -> None:
    """What is not known is not made up."""

    @stage
    def longest(candidates: Candidates) -> Candidates:
        return candidates.scored("longest", [len(text) for text in candidates.texts()])

    found = answered(BM25(corpus), longest)
    assert "longest" not in found.kinds
    assert found.kind is None


def test_an_unknown_kind_is_refused() -> None:
    """A kind that is misspelt says which there are."""
    some = Candidates.of("q", sample_documents())
    with pytest.raises(ConfigurationError, match=r"'logits'.*'logit'"):
        some.scored("x", np.arange(len(some)), kind="logits")  # type: ignore[arg-type]


def test_a_threshold_that_no_score_can_reach_is_refused(corpus: Corpus) -> None:
    """Above 1 a score that is from 0 to 1 never comes; a cosine may be compared with anything."""
    blended = BM25(corpus), CrossEncoder(WordScorer())
    with pytest.raises(ConfigurationError, match="relative one, from 0 to 1: none reaches 3"):
        answered(*blended, MinScore(3.0))
    assert not answered(*blended, MinScore(3.0, of="cross-encoder")).hits


def test_what_left_nothing_is_said(corpus: Corpus) -> None:
    """An empty answer has a reason, one with hits has none."""
    gone = answered(BM25(corpus), MinScore(1e6))
    assert gone.empty_because == "min-score dropped the last: score below 1e+06"
    assert gone.trace.to_dict()["empty_because"] == gone.empty_because
    assert not gone.degraded
    assert answered(BM25(corpus), query="zebra").empty_because == "nothing was recalled"
    assert answered(BM25(corpus)).empty_because == ""


@given(
    values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30),
    kind=st.sampled_from(MEANINGS),
)
def test_scores_as_probabilities_keep_their_order(values: list[float], kind: str) -> None:
    """From 0 to 1, never falling as the score rises; None where there is no such reading."""
    ordered = np.sort(np.array(values))
    found = as_probability(ordered, kind)  # type: ignore[arg-type]
    assert (found is None) == (kind in ("lexical", "rank"))
    if found is not None:
        assert (np.diff(found) >= 0).all()
        assert ((found >= 0) & (found <= 1)).all()
        assert not any(map(math.isnan, found))
