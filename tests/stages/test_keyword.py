from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell import (
    Candidates,
    Cascade,
    ConfigurationError,
    Corpus,
    Document,
    InputError,
    Keyword,
    Query,
)


def recalled(stage, query, filter=None):
    return stage.run(Candidates.start(Query(query, filter))).ids.tolist()


def test_it_recalls_what_holds_the_query_as_a_phrase(corpus):
    assert sorted(recalled(Keyword(corpus), "rotate the logs")) == ["rotate", "twice"]
    assert recalled(Keyword(corpus), "the office cat") == ["cat"]
    assert recalled(Keyword(corpus), "logs the rotate") == []


def test_a_filter_alone_answers_its_matches_in_the_order_they_were_written(corpus):
    stage = Keyword(corpus)
    assert recalled(stage, "", {"n": {"$gte": 4}}) == ["mail", "twice", "empty"]
    after = stage.run(Candidates.start(Query(" ", {"n": {"$gte": 4}})))
    assert after.score.tolist() == [1.0, 1.0, 1.0]
    assert recalled(stage, "") == []


def test_its_own_filter_joins_the_querys(corpus):
    stage = Keyword(corpus, filter={"even": True})
    assert recalled(stage, "", {"n": {"$gte": 3}}) == ["mail", "empty"]
    assert recalled(stage, "") == ["rotate", "keys", "mail", "empty"]
    assert recalled(stage, "rotate the logs") == ["rotate"]


def test_without_phrase_it_looks_at_the_filter_alone(corpus):
    stage = Keyword(corpus, k=2, phrase=False)
    assert recalled(stage, "the office cat", {"n": {"$lt": 5}}) == ["rotate", "disk"]
    assert recalled(stage, "the office cat") == []


def test_given_a_set_it_keeps_what_matches_in_its_order(corpus):
    documents = [
        Document("a", "Now rotate the logs!", {"x": 1}),
        Document("b", "the logs rotate", {"x": 1}),
        Document("c", "Rotate the\nlogs", {"x": 2}),
        Document("d", "rotate the logstash", {"x": 1}),
        Document("e", "Rotating the log, the logs rotate the logs", {"x": 2}),
    ]
    before = Candidates.of("rotate the logs", documents)
    assert Keyword(corpus).run(before).ids.tolist() == ["a", "c", "e"]
    narrowed = Keyword(corpus, filter={"x": 1})
    assert narrowed.run(before).ids.tolist() == ["a"]
    assert Keyword(corpus, filter={"x": 1}, phrase=False).run(before).ids.tolist() == [
        "a",
        "b",
        "d",
    ]


@settings(max_examples=15)
@given(st.lists(st.sampled_from(["log", "logs", "the", "cat"]), max_size=6).map(" ".join))
def test_recall_and_set_agree_on_what_holds_a_phrase(text):
    """The same terms at the same places, stemmed alike."""
    with Corpus.temporary(encoder=None) as one:
        one.add([Document("a", text)])
        for phrase in ("log the cat", "the logs", "cat", "?!"):
            found = recalled(Keyword(one), phrase)
            kept = Keyword(one).run(Candidates.of(phrase, [Document("a", text)]))
            assert kept.ids.tolist() == found


def test_what_it_drops_does_not_come_back_and_the_trace_says_why(corpus):
    documents = [
        Document("a", "x y", {"x": 1}),
        Document("b", "x y"),
        Document("c", "y x", {"x": 1}),
    ]
    result = Cascade([Keyword(corpus, filter={"x": 1})]).rank("x y", documents, k=3)
    assert result.ids == ["a"]
    assert result.trace.why("b").reason == "does not match the filter of keyword"
    assert result.trace.why("c").reason == "does not hold the phrase"


def test_a_document_that_is_gone_does_not_match(corpus):
    before = Candidates.of("x", [Document("a", "x")])
    gone = before.recalled("r", ["gone", "a"], [2, 1], source=before.source)
    assert Keyword(corpus).run(gone).ids.tolist() == ["a"]


def test_what_is_built_wrong_is_refused(corpus):
    with pytest.raises(ConfigurationError, match="needs a Corpus"):
        Keyword(["a"])
    with pytest.raises(ConfigurationError, match="k must be"):
        Keyword(corpus, k=0)
    with pytest.raises(InputError, match=r"\$near"):
        Keyword(corpus, filter={"a": {"$near": 1}})


def test_repr(corpus):
    assert repr(Keyword(corpus, k=3)) == f"Keyword({corpus!r}, k=3, phrase=True)"
