"""BM25 is BM25, whatever the filter, the text or the number of segments."""

from __future__ import annotations

import math
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell import ConfigurationError, Corpus, Document
from stepwell.corpus import terms
from stepwell.corpus.analyzers import NAMES, analyzer
from stepwell.corpus.lexical import score_texts

WORDS = [f"w{n}" for n in range(60)]


def _texts(n: int, *, seed: int) -> list[str]:
    # At most 40 words: up to there the one byte of a document's length is exact.
    rng = random.Random(seed)
    weights = [1 / (at + 1) for at in range(len(WORDS))]
    return [" ".join(rng.choices(WORDS, weights, k=rng.randint(1, 39))) for _ in range(n)]


def _bm25(query: list[str], texts: list[str], *, k1: float = 1.2, b: float = 0.75) -> list[float]:
    terms = [Counter(text.split()) for text in texts]
    lengths = [len(text.split()) for text in texts]
    average = sum(lengths) / len(lengths)
    scores = []
    for found, length in zip(terms, lengths):
        score = 0.0
        for term in query:
            df = sum(term in each for each in terms)
            idf = math.log(1 + (len(texts) - df + 0.5) / (df + 0.5))
            tf = found[term]
            score += idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / average))
        scores.append(score)
    return scores


def _corpus(texts: list[str], *, batches: int = 1) -> Corpus:
    corpus = Corpus.temporary(encoder=None, analyzer="plain")
    for part in np.array_split(np.arange(len(texts)), batches):
        corpus.add(Document(str(at), texts[at], {"n": at}) for at in part.tolist())
    return corpus


def test_scores_are_those_of_the_formula() -> None:
    """Scores over a corpus written in three batches equal the BM25 formula to six digits."""
    texts = _texts(300, seed=1)
    with _corpus(texts, batches=3) as corpus:
        for query in (["w5"], ["w1", "w7", "w30"], ["w2", "w2", "w9"]):
            expected = _bm25(query, texts)
            found = corpus.search_text(" ".join(query), 300)
            assert len(found) == sum(score > 0 for score in expected)
            scores = [expected[int(id)] for id in found.ids]
            assert found.scores == pytest.approx(scores, rel=1e-5)
            assert (np.diff(found.scores) <= 0).all()
            given = corpus.score_text(" ".join(query), [str(n) for n in range(300)])
            assert given == pytest.approx(expected, rel=1e-5)


def test_the_order_is_that_of_another_implementation() -> None:
    """Documents with one rare word come in the order in which rank-bm25 has them."""
    rank_bm25 = pytest.importorskip("rank_bm25", reason="rank-bm25 is not installed")
    texts = _texts(200, seed=2)
    # Another idf than ours, which one word does not show; the rest of the formula is the same.
    oracle = rank_bm25.BM25Plus([text.split() for text in texts], k1=1.2, b=0.75, delta=0)
    with _corpus(texts) as corpus:
        found = corpus.search_text("w40", 50)
        scores = oracle.get_scores(["w40"])
        assert len(found) == (scores > 0).sum() > 5
        assert (np.diff(scores[[int(id) for id in found.ids]]) <= 1e-9).all()


def test_ties_go_to_the_earlier_document() -> None:
    """Equal documents come in the order they were written, at any k and in any segment."""
    with _corpus(["same words"] * 40 + ["other"] * 5, batches=4) as corpus:
        for k in (1, 7, 39, 40, 100):
            assert corpus.search_text("words", k).ids == [str(n) for n in range(min(k, 40))]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_filter_changes_no_score_and_no_order(data: st.DataObject) -> None:
    """A filtered search is the unfiltered one without what is filtered out, by any way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(terms, "_FEW", data.draw(st.sampled_from([0, 20, 1024]), label="few"))
        patch.setattr(terms, "_AS_LOOKUP", data.draw(st.sampled_from([0, 1, 3]), label="as"))
        corpus = _SHARED
        low = data.draw(st.integers(0, 400))
        high = data.draw(st.integers(low, 400))
        query = " ".join(data.draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=4)))
        k = data.draw(st.integers(1, 50))
        everything = corpus.search_text(query, 400)
        kept = [
            (id, score)
            for id, score in zip(everything.ids, everything.scores.tolist())
            if low <= int(id) < high
        ][:k]
        found = corpus.search_text(query, k, filter={"n": {"$gte": low, "$lt": high}})
        assert list(zip(found.ids, found.scores.tolist())) == kept


_SHARED = _corpus(_texts(400, seed=3), batches=3)


@pytest.mark.parametrize(
    "text", ['a AND (b OR "c', "title:x^2 +y -z ~", "*", "a\\", "[1 TO 2]", "\0", "\ud800 x"]
)
def test_a_query_has_no_syntax(text: str) -> None:
    """Query operators in a text are words or nothing, and never an error."""
    with _corpus(["a and b or c", "x y z", "1 to 2"]) as corpus:
        for phrase in (False, True):
            found = corpus.search_text(text, 5, phrase=phrase)
            assert (found.scores > 0).all()


def test_a_phrase_is_found_as_it_was_written() -> None:
    """A phrase matches words that stand together in order, function words included."""
    texts = ["the log of the rotation", "rotation of the log", "to be or not to be", "or to be not"]
    with Corpus.temporary(encoder=None) as corpus:
        corpus.add(Document(str(at), text) for at, text in enumerate(texts))
        assert corpus.search_text("rotation of the log", 5, phrase=True).ids == ["1"]
        assert corpus.search_text("to be or not to be", 5, phrase=True).ids == ["2"]
        assert corpus.search_text("logs", 5, phrase=True).ids == ["1", "0"]
        assert corpus.search_text("", 5, phrase=True).ids == []


def test_a_query_of_function_words_still_finds() -> None:
    """A query with nothing but function words searches for those."""
    with Corpus.temporary(encoder=None) as corpus:
        corpus.add([Document("a", "to be or not to be"), Document("b", "rotate logs")])
        assert corpus.search_text("to be", 5).ids == ["a"]
        assert corpus.search_text("how to rotate", 5).ids == ["b"]


@pytest.mark.parametrize(
    ("name", "text", "query"),
    [
        ("german", "Die Häuser der Stadt", "haus"),
        ("french", "Les chevaux galopaient", "galoper"),
        ("code", "def parseHTTPHeader(x): pass", "header"),
        ("code", "rows = read_csv(path)", "csv"),
        ("code", "rows = read_csv(path)", "read_csv"),
        ("code", "schlüsselWort = élanVital2", "vital"),
        ("plain", "Running", "running"),
    ],
)
def test_an_analyzer_finds_what_it_should(name: str, text: str, query: str) -> None:
    """Each analyzer brings a text and a query to the same term."""
    assert score_texts(query, [text, "zzz"], analyzer=name)[0] > 0


def test_plain_does_not_stem() -> None:
    """The plain analyzer keeps words apart that a stemmer joins."""
    assert score_texts("run", ["running"], analyzer="plain")[0] == 0
    assert score_texts("run", ["running"], analyzer="english")[0] > 0


@pytest.mark.parametrize("name", NAMES)
def test_every_analyzer_reads_any_text(name: str) -> None:
    """Every analyzer makes the same terms of a text wherever it is asked."""
    text = "Ein Ünïcode-Text, x_y zA1 你好 \U0001f600 " * 3
    assert analyzer(name).terms(text) == analyzer(name).terms(text) != []


def test_an_unknown_analyzer_is_named() -> None:
    """The error lists the analyzers that there are."""
    with pytest.raises(ConfigurationError, match=r"'klingon'.*english"):
        score_texts("a", ["b"], analyzer="klingon")


def test_scores_of_texts_are_those_of_a_corpus() -> None:
    """Texts in memory score as they do in a corpus of the same texts."""
    texts = _texts(50, seed=4)
    with _corpus(texts) as corpus:
        ids = [str(n) for n in range(50)]
        for query in ("w3 w8", "w59", "nothing", ""):
            scores = score_texts(query, texts, analyzer="plain")
            assert scores.tolist() == corpus.score_text(query, ids).tolist()
    assert score_texts("a", []).shape == (0,)
