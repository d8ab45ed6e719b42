from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell import Candidates, ConfigurationError, Document, LateInteraction, ModelError
from stepwell.stages.late_interaction import max_sim
from stepwell.testing import WordEncoder

WORD = st.sampled_from(["rotate", "the", "logs", "of", "a", "disk"])
WORDS = st.lists(WORD, min_size=1, max_size=8)
DOCUMENTS = [
    Document("cat", "the office cat"),
    Document("logs", "rotate all logs"),
    Document("disk", "rotate the disk"),
]


def unit(rows):
    rows = np.asarray(rows, dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 1000))
def test_max_sim_is_the_mean_over_query_tokens_of_the_best_cosine(q, p, seed):
    """Against the definition written as two loops."""
    random = np.random.default_rng(seed)
    query, passage = unit(random.normal(size=(q, 4))), unit(random.normal(size=(p, 4)))
    expected = sum(max(float(a @ b) for b in passage) for a in query) / q
    assert max_sim(query, passage) == pytest.approx(expected, abs=1e-6)


def test_without_a_token_there_is_nothing_to_compare():
    assert max_sim(np.empty((0, 4), np.float32), unit(np.eye(4))) == -1.0
    assert max_sim(unit(np.eye(4)), np.empty((0, 4), np.float32)) == -1.0


@given(WORDS, st.lists(WORDS, min_size=1, max_size=5))
def test_a_passage_that_holds_all_words_of_the_query_scores_one(query, texts):
    documents = [Document(str(at), " ".join(words)) for at, words in enumerate(texts)]
    stage = LateInteraction(WordEncoder(), blend=1.0)
    after = stage.run(Candidates.of(" ".join(query), documents))
    for id, score in zip(after.ids, after.score):
        holds = set(query) <= set(texts[int(id)])
        assert (abs(score - 1.0) < 1e-5) == holds


def test_it_orders_keeps_and_blends():
    stage = LateInteraction(WordEncoder(), k=2, blend=1.0)
    after = stage.run(Candidates.of("rotate logs", DOCUMENTS))
    assert after.ids.tolist() == ["logs", "disk"]
    blended = LateInteraction(WordEncoder(), k=1, blend=0.1)
    before = Candidates.of("rotate logs", DOCUMENTS).scored("s", [3, 1, 2])
    assert blended.run(before).ids.tolist() == ["cat"]


def test_a_passage_is_encoded_once():
    class Counting(WordEncoder):
        def __init__(self):
            super().__init__()
            self.seen = []

        def encode_tokens(self, texts, /, *, kind="passage"):
            if kind == "passage":
                self.seen += texts
            return super().encode_tokens(texts, kind=kind)

    encoder = Counting()
    stage = LateInteraction(encoder)
    for query in ("rotate", "cat"):
        stage.run(Candidates.of(query, DOCUMENTS))
    assert sorted(encoder.seen) == sorted(document.text for document in DOCUMENTS)


def test_at_the_deadline_what_was_not_encoded_stays_below():
    before = Candidates.of("rotate", DOCUMENTS, deadline=-math.inf)
    after = LateInteraction(WordEncoder()).run(before)
    assert after.ids.tolist() == ["cat", "logs", "disk"]
    assert after.notes["unscored"] == 3


def test_an_encoder_without_tokens_is_refused_and_named():
    with pytest.raises(ConfigurationError, match="encode_tokens"):
        LateInteraction(lambda texts: np.ones((len(texts), 2)))


def test_nan_tokens_are_refused_and_the_encoder_named():
    class Broken(WordEncoder):
        def encode_tokens(self, texts, /, *, kind="passage"):
            return [np.full((1, 2), np.nan, np.float32) for _ in texts]

    with pytest.raises(ModelError, match="mine returned NaN"):
        LateInteraction(Broken(name="mine")).run(Candidates.of("q", DOCUMENTS))


def test_the_embedded_encoder_is_the_default():
    stage = LateInteraction(blend=1.0)
    documents = [
        Document("bus", "The bus to the airport leaves at six."),
        Document("paris", "Paris is the capital of France."),
    ]
    after = stage.run(Candidates.of("the capital of France", documents))
    assert after.ids[0] == "paris"
    assert len(pickle.dumps(stage)) < 10_000
