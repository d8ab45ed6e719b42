from __future__ import annotations

import numpy as np
import pytest

from stepwell import (
    BiEncoder,
    Candidates,
    Cascade,
    ConfigurationError,
    Corpus,
    Dense,
    Document,
    ModelError,
    Query,
)
from stepwell.testing import WordEncoder


def recalled(stage, query, filter=None):
    return stage.run(Candidates.start(Query(query, filter)))


def test_it_recalls_the_nearest_vectors(corpus):
    after = recalled(Dense(corpus), "the office cat at noon")
    assert after.ids[0] == "cat"
    assert len(after) == len(corpus)
    vector = WordEncoder().encode(["the office cat at noon"])[0]
    found = corpus.search_vector(vector, 10)
    assert after.ids.tolist() == found.ids
    assert after.scores["dense"].tolist() == pytest.approx(found.scores.tolist(), abs=1e-6)
    assert (np.abs(after.score) <= 1 + 1e-6).all()


def test_depth_and_filter(corpus):
    assert recalled(Dense(corpus, k=1), "office cat").ids.tolist() == ["cat"]
    after = recalled(Dense(corpus, k=None), "office cat", {"even": True})
    assert sorted(after.ids) == ["empty", "keys", "mail", "rotate"]


@pytest.mark.parametrize("query", ["", " \n"])
def test_a_blank_query_finds_nothing(corpus, query):
    assert len(recalled(Dense(corpus), query)) == 0


def test_an_empty_corpus_answers_nothing():
    with Corpus.temporary(encoder=WordEncoder()) as empty:
        assert Cascade([Dense(empty, k=None)]).search("rotate", k=3).ids == []


def test_a_set_is_scored_by_the_same_cosines(corpus):
    """Whether the vectors are stored or made now: rounding to float16 apart."""
    query = "rotate the logs"
    whole = recalled(Dense(corpus), query)
    after = Dense(corpus).run(whole.reordered([3, 1, 2], [0.0, 0.0, 0.0]))
    expected = [id for id in whole.ids if id in set(after.ids)]
    assert after.ids.tolist() == expected
    documents = list(corpus)
    brought = Dense(corpus).run(Candidates.of(query, documents))
    score = dict(zip(brought.ids, brought.score))
    assert [score[id] for id in whole.ids] == pytest.approx(whole.score.tolist(), abs=2e-3)


def test_without_a_corpus_it_scores_what_is_brought_by_the_embedded_encoder():
    result = Cascade([Dense(k=1)]).rank(
        "the capital of France", ["The bus leaves at six.", "Paris is the capital of France."]
    )
    assert result.ids == ["1"]
    with pytest.raises(ConfigurationError, match="no corpus"):
        Cascade([Dense()]).search("q")


def test_a_corpus_without_an_encoder_is_refused_at_once():
    with (
        Corpus.temporary(encoder=None) as bare,
        pytest.raises(ConfigurationError, match="no encoder at hand"),
    ):
        Dense(bare)


def test_what_is_built_wrong_is_refused(corpus):
    with pytest.raises(ConfigurationError, match="needs a Corpus"):
        Dense(3)
    with pytest.raises(ConfigurationError, match="k must be"):
        Dense(corpus, k=0)


def test_an_encoder_that_gives_nan_is_named():
    class Broken(WordEncoder):
        broken = False

        def encode(self, texts, /, *, kind="passage"):
            return super().encode(texts) * (np.nan if self.broken else 1)

    encoder = Broken(name="my broken encoder")
    with Corpus.temporary(encoder=encoder) as corpus:
        corpus.add([Document("a", "x")])
        encoder.broken = True
        with pytest.raises(ModelError, match="my broken encoder"):
            recalled(Dense(corpus), "x")


def test_repr(corpus):
    assert repr(Dense(corpus, k=5)) == f"Dense({corpus!r}, k=5)"


def test_many_queries_are_encoded_in_one_call_and_answer_as_one_by_one():
    class Counting(WordEncoder):
        calls = 0

        def encode(self, texts, /, *, kind="passage"):
            self.calls += kind == "query"
            return super().encode(texts, kind=kind)

    encoder = Counting()
    with Corpus.temporary(encoder=encoder) as corpus:
        corpus.add([Document("a", "rotate logs"), Document("b", "office cat")])
        cascade = Cascade([Dense(corpus), BiEncoder(corpus)])
        queries = ["logs", "", "cat", "logs"]
        once = [[(hit.id, hit.score) for hit in cascade.search(query)] for query in queries]
        encoder.calls = 0
        many = cascade.search_many(queries)
        assert [[(hit.id, hit.score) for hit in result] for result in many] == once
        assert encoder.calls == 2
