from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell import BM25, Candidates, Cascade, ConfigurationError, Corpus, Document, Query
from stepwell.documents import InMemory
from stepwell.stages.okapi import Okapi, words

TEXTS = st.lists(
    st.lists(st.sampled_from(["log", "disk", "key", "cat", "mail"]), max_size=8).map(" ".join),
    max_size=8,
)


def recalled(stage, query, filter=None):
    return stage.run(Candidates.start(Query(query, filter)))


# -- over a corpus ---------------------------------------------------------------------------


def test_it_recalls_what_the_corpus_finds_best_first(corpus):
    after = recalled(BM25(corpus), "rotating logs")
    found = corpus.search_text("rotating logs", 10)
    assert after.ids.tolist() == found.ids
    assert after.score.tolist() == found.scores.tolist()
    assert after.scores["bm25"].tolist() == found.scores.tolist()
    assert set(after.ids) >= {"rotate", "disk", "keys"}
    assert "cat" not in after.ids


def test_its_depth_is_a_cut(corpus):
    assert len(recalled(BM25(corpus, k=1), "rotate logs")) == 1
    assert len(recalled(BM25(corpus, k=None), "rotate logs")) == len(
        recalled(BM25(corpus, k=10**6), "rotate logs")
    )


def test_it_honours_the_filter(corpus):
    after = recalled(BM25(corpus), "rotate logs", {"even": False})
    assert len(after)
    assert not any(document.metadata["even"] for document in after.documents())


@pytest.mark.parametrize("query", ["", "  ", "?!", "zyzzyva"])
def test_nothing_to_look_for_finds_nothing(corpus, query):
    result = Cascade([BM25(corpus)]).search(query, k=3)
    assert result.ids == []
    assert not result.degraded


def test_an_empty_corpus_answers_nothing():
    with Corpus.temporary(encoder=None) as empty:
        assert Cascade([BM25(empty)]).search("rotate", k=3).ids == []
        assert Cascade([BM25(empty, k=None)]).search("rotate", k=3).ids == []


def test_a_set_from_the_corpus_is_scored_as_the_corpus_scores(corpus):
    """With the statistics of all documents, not of the few in the set."""
    before = Candidates.start("rotate logs").recalled(
        "r", ["cat", "disk", "rotate"], [3, 2, 1], source=corpus
    )
    after = BM25(corpus).run(before)
    assert after.ids.tolist() == ["rotate", "disk", "cat"]
    whole = dict(zip(*_pairs(corpus.search_text("rotate logs", 10))))
    assert after.score.tolist() == pytest.approx([whole["rotate"], whole["disk"], 0.0])


def _pairs(found):
    return found.ids, found.scores.tolist()


def test_a_brought_set_is_scored_by_its_own_texts(corpus):
    documents = [
        Document("rotate", "cats"),
        Document("b", "rotate the logs"),
        Document("c", "logs"),
    ]
    for stage in (BM25(corpus), BM25(None), BM25()):
        after = stage.run(Candidates.of("rotated log", documents))
        assert after.ids.tolist() == ["b", "c", "rotate"]
        assert after.score[-1] == 0.0


def test_of_a_set_too_it_keeps_its_depth():
    documents = [Document(id, text) for id, text in (("a", "x"), ("b", "log"), ("c", "y"))]
    after = BM25(k=1).run(Candidates.of("log", documents))
    assert after.ids.tolist() == ["b"]
    assert [dropped.cut for dropped in after.dropped] == [True]


def test_a_mixed_set_is_scored_by_where_each_comes_from(corpus):
    """A foreign document in front of the corpus's does not take its score."""
    foreign = InMemory([Document("x", "rotate logs"), Document("cat", "rotate rotate")])
    base = Candidates.start("rotate logs").recalled("a", ["x", "cat"], [2, 1], source=foreign)
    mixed = base.recalled("b", ["x", "cat", "disk"], [3, 2, 1], source=corpus)
    after = BM25(corpus).run(mixed)
    score = dict(zip(after.ids, after.score))
    assert score["disk"] == pytest.approx(corpus.score_text("rotate logs", ["disk"])[0])
    assert score["cat"] > 0


def test_a_blank_query_leaves_a_brought_set_as_it_is():
    after = BM25(k=2).run(Candidates.of(" ", [Document(id, id) for id in "bac"]))
    assert after.ids.tolist() == ["b", "a"]


def test_without_a_corpus_it_cannot_recall_and_says_so():
    with pytest.raises(ConfigurationError, match="no corpus"):
        Cascade([BM25()]).search("q")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"k": 0}, "k must be"),
        ({"corpus": ["a", "b"]}, "needs a Corpus, not list"),
        ({"backend": "lucene"}, "'lucene'"),
        ({"corpus": "text", "backend": "rank-bm25"}, "not one string"),
        ({"corpus": [3], "backend": "rank-bm25"}, "not int"),
    ],
)
def test_what_is_built_wrong_is_refused(arguments, says):
    with pytest.raises(ConfigurationError, match=says):
        BM25(**arguments)


def test_repr(corpus):
    assert repr(BM25(corpus, k=5)) == f"BM25({corpus!r}, k=5)"
    assert repr(BM25(["a"], backend="rank-bm25")) == "BM25(<1 texts in memory>, k=1000)"


# -- in memory -------------------------------------------------------------------------------


def lucene(query, texts, k1=1.2, b=0.75):
    """BM25 as Lucene defines it, but for its constant factor k1 + 1."""
    split = [words(text) for text in texts]
    mean = sum(map(len, split)) / len(split)
    scores = []
    for text in split:
        count, total = Counter(text), 0.0
        for word in words(query):
            n = sum(word in other for other in split)
            idf = math.log(1 + (len(split) - n + 0.5) / (n + 0.5)) if n else 0.0
            tf = count[word]
            total += idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * len(text) / mean))
        scores.append(total)
    return scores


@given(TEXTS.filter(any), st.sampled_from(["log", "log disk", "cat cat", "LOG mail x"]))
def test_in_memory_it_is_bm25_by_the_formula(texts, query):
    """And no text without a word of the query is found, however small the collection."""
    stage = BM25(texts, backend="rank-bm25", k=None)
    after = recalled(stage, query)
    expected = lucene(query, texts)
    assert dict(zip(after.ids, after.score)) == pytest.approx(
        {str(at): score for at, score in enumerate(expected) if score > 0}
    )
    holding = {str(at) for at, text in enumerate(texts) if set(words(query)) & set(words(text))}
    assert set(after.ids) == holding


@given(TEXTS, st.integers(1, 9))
def test_in_memory_the_filter_and_the_depth_hold(texts, k):
    documents = [Document(f"d{at}", text, {"even": at % 2 == 0}) for at, text in enumerate(texts)]
    stage = BM25(documents, backend="rank-bm25", k=k)
    after = recalled(stage, "log disk key", {"even": True})
    all_of_them = recalled(BM25(documents, backend="rank-bm25", k=None), "log disk key")
    even = [id for id in all_of_them.ids if int(id[1:]) % 2 == 0]
    assert after.ids.tolist() == even[:k]


def test_both_backends_rank_a_collection_alike():
    """Same formula; tantivy rounds lengths, so these texts are all of one length."""
    random = np.random.default_rng(7)
    vocabulary = np.array([f"term{at}" for at in range(40)])
    texts = [" ".join(random.choice(vocabulary, 20)) for _ in range(60)]
    documents = [Document(str(at), text) for at, text in enumerate(texts)]
    with Corpus.temporary(encoder=None, analyzer="plain") as corpus:
        corpus.add(documents)
        for query in ("term1 term2", "term3", "term39 term38 term37"):
            one = recalled(BM25(corpus), query)
            other = recalled(BM25(documents, backend="rank-bm25"), query)
            assert one.ids.tolist() == other.ids.tolist()
            ratio = one.score / other.score
            np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)


def test_in_memory_brought_sets_are_scored_too():
    stage = BM25(["logs", "rotate logs"], backend="rank-bm25")
    own = recalled(stage, "logs")
    assert stage.run(own).score.tolist() == own.score.tolist()
    other = stage.run(Candidates.of("disk", [Document("a", "logs"), Document("b", "disk")]))
    assert other.ids.tolist() == ["b", "a"]


def test_in_memory_documents_come_back_with_their_text():
    result = Cascade([BM25(["Rotate the logs.", "Feed the cat."], backend="rank-bm25")]).search(
        "ROTATE", k=2
    )
    assert [hit.document.text for hit in result] == ["Rotate the logs."]


def test_nothing_in_memory_finds_nothing():
    assert len(recalled(BM25([], backend="rank-bm25"), "log")) == 0
    assert len(recalled(BM25(["", "?!"], backend="rank-bm25"), "log")) == 0
    assert "0" in Okapi.over(["a"])
    assert "1" not in Okapi.over(["a"])


def test_without_the_extra_it_says_what_to_type(monkeypatch):
    import sys

    from stepwell import MissingExtraError

    monkeypatch.setitem(sys.modules, "rank_bm25", None)
    with pytest.raises(MissingExtraError, match=r"stepwell\[rank-bm25\]"):
        BM25(["a"], backend="rank-bm25")
