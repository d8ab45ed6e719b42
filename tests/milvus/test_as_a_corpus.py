"""What holds for the embedded corpus holds for the one in Milvus: one suite over both."""

from __future__ import annotations

import copy
import pickle
from typing import Any, TypeAlias

import numpy as np
import pytest

from stepwell import Corpus, CorpusError, Document, InputError, MilvusCorpus
from tests.corpus.encoders import BagOfWords, Failing
from tests.milvus.conftest import Make

Either: TypeAlias = Corpus | MilvusCorpus

METADATA: dict[str, Any] = {
    "text": "é \U0001f600 \u2028 \"quoted\" \\ 'so'",
    "numbers": [0, -1, 2**63 - 1, -(2**63), 0.1, 1e300],
    "nested": {"a": {"b": [True, None, {"c": []}]}, "": ""},
}
TEXTS = [
    "Rotate the logs daily.",
    "Page the team on call.",
    "Log rotation is a daily task.",
    "The team rotates its logs.",
    "",
    "Größe über Straße",
]


def sample() -> list[Document]:
    return [Document(f"d{n}", text, {"n": n}) for n, text in enumerate(TEXTS)]


def test_a_document_comes_back_as_it_went_in(empty: Either) -> None:
    """Text, metadata and strange ids survive, floats as floats and integers as integers."""
    documents = [
        Document('a"b\\c', "x", METADATA),
        Document("\U0001f600 '] or 1 == 1", "a\nb\0c", {}),
        Document("z" * 300, "", {"f": 1.0, "i": 1}),
    ]
    assert empty.add(documents) == 3
    assert list(empty) == documents
    for document in documents:
        assert empty.get(document.id) == document
        assert document.id in empty
    assert repr(empty.get("z" * 300).metadata["f"]) == "1.0"  # type: ignore[union-attr]


def test_it_is_a_mapping_that_keeps_the_order_of_writing(empty: Either) -> None:
    """Adds, upserts and deletes end in what a plain dict would hold, replaced ones last."""
    assert empty.add(sample()) == 6
    assert empty.upsert([Document("d1", "new", {"n": 10}), Document("e", "e")]) == 2
    assert empty.delete(["d0", "no such"]) == 1
    assert empty.delete(["d0"]) == 0
    ids = ["d2", "d3", "d4", "d5", "d1", "e"]
    assert [each.id for each in empty] == ids
    assert len(empty) == 6
    assert empty.match(None) == ids
    assert empty.match({"n": {"$gte": 4}}, 2) == ["d4", "d5"]
    assert [each.id for each in empty.documents({"n": 10})] == ["d1"]
    assert [each and each.id for each in empty.get_many(["e", "d0", "e"])] == ["e", None, "e"]
    assert "d0" not in empty
    assert 3 not in empty


def test_an_id_is_added_once(empty: Either) -> None:
    """An id that exists or repeats is refused, and nothing of its batch is written."""
    empty.add(sample()[:2])
    for again in (
        [Document("new", ""), Document("d1", "")],
        [Document("x", ""), Document("x", "")],
    ):
        with pytest.raises(InputError):
            empty.add(again)
    assert [each.id for each in empty] == ["d0", "d1"]
    assert empty.upsert([Document("x", "one"), Document("x", "two")]) == 1
    assert empty.get("x") == Document("x", "two")


def test_progress_counts_what_is_written(empty: Either) -> None:
    """After each batch progress is told how many are written; they are there then."""
    heard: list[tuple[int, int]] = []
    documents = (Document(str(n), "") for n in range(600))
    assert empty.add(documents, progress=lambda n: heard.append((n, len(empty)))) == 600
    assert all(told == held for told, held in heard)
    assert len(heard) > 1
    assert heard[-1] == (600, 600)


@pytest.mark.parametrize(
    "bad",
    [
        Document("a", "lone \ud800"),
        Document("a", "", {"n": float("nan")}),
        Document("a", "", {"n": 2**63}),
        Document("a", "", {"n": {1, 2}}),
    ],
)
def test_what_cannot_be_kept_is_refused(empty: Either, bad: Document) -> None:
    """A document that would not come back as it went in is an error that names it."""
    with pytest.raises(InputError, match="'a'"):
        empty.add([Document("good", ""), bad])
    assert len(empty) == 0


def test_what_is_no_list_is_refused(empty: Either) -> None:
    """One document, or a string of ids, is told from a list."""
    with pytest.raises(InputError, match="list"):
        empty.add(Document("a", ""))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="list of ids"):
        empty.delete("abc")
    for call in (lambda: empty.search_text("a", 0), lambda: empty.match(None, 0)):
        with pytest.raises(InputError, match="at least 1"):
            call()


def test_words_find_documents_in_any_form(empty: Either) -> None:
    """Words are stemmed and folded alike in texts and queries, whatever script or signs."""
    empty.add(sample())
    assert set(empty.search_text("rotating log", 10).ids) == {"d0", "d2", "d3"}
    assert empty.search_text("ÜBER größe", 10).ids == ["d5"]
    assert empty.search_text("the", 10).ids != []
    for nothing in ("", "   ", "zzz", '") or (pk != "', "+-*/"):
        assert empty.search_text(nothing, 10).ids == []
    assert empty.search_text("team", 10, filter={"n": {"$gt": 1}}).ids == ["d3"]
    assert len(empty.search_text("daily", 1)) == 1


def test_a_phrase_stands_together(empty: Either) -> None:
    """Only documents with the words side by side and in order are found by a phrase."""
    empty.add([*sample(), Document("apart", "daily the logs rotate")])
    assert empty.search_text("rotate the logs", 10, phrase=True).ids == ["d0"]
    assert empty.search_text("logs the rotate", 10, phrase=True).ids == []
    assert empty.search_text("rotate the logs", 9, phrase=True, filter={"n": 1}).ids == []


def test_a_filter_changes_no_score(empty: Either) -> None:
    """A document's BM25 score and cosine are the same with and without a filter."""
    empty.add(sample())
    everything = empty.search_text("logs daily", 10)
    score = dict(zip(everything.ids, everything.scores))
    filtered = empty.search_text("logs daily", 10, filter={"n": {"$lt": 3}})
    assert filtered.ids == [id for id in everything.ids if id != "d3"]
    assert filtered.scores.tolist() == pytest.approx([score[id] for id in filtered.ids])
    ids = ["d4", "d2", "no such", "d0"]
    assert empty.score_text("logs daily", ids).tolist() == pytest.approx(
        [score.get(id, 0.0) for id in ids]
    )


def test_ties_go_to_the_earlier_one(empty: Either) -> None:
    """Of equal documents those written first are found, by words and by vector."""
    empty.add(Document(f"{n}", "the same words") for n in range(60))
    first = [str(n) for n in range(5)]
    assert empty.search_text("same words", 5).ids == first
    assert empty.search_vector(BagOfWords().encode(["the same words"])[0], 5).ids == first


def test_vectors_are_stored_and_searched(empty: Either) -> None:
    """A search returns the cosines of the stored vectors, exactly ordered; filters hold."""
    empty.add(sample())
    encoder = BagOfWords()
    vectors = encoder.encode(TEXTS)
    query = encoder.encode(["Rotate the logs"])[0]
    found = empty.search_vector(3 * query, 10)
    cosines = {f"d{n}": float(v @ query) for n, v in enumerate(vectors)}
    assert found.ids == sorted(cosines, key=lambda each: (-round(cosines[each], 5), each))
    assert found.scores.tolist() == pytest.approx([cosines[id] for id in found.ids], abs=1e-3)
    assert set(empty.search_vector(query, 10, filter={"n": {"$in": [4, 1]}}).ids) == {"d4", "d1"}
    stored = empty.vectors_for(["d3", "none", "d0"])
    assert np.isnan(stored[1]).all()
    assert stored[[0, 2]] == pytest.approx(vectors[[3, 0]], abs=1e-3)
    with pytest.raises(InputError, match="shape"):
        empty.search_vector(query[:3], 10)
    with pytest.raises(InputError, match="NaN"):
        empty.search_vector(np.full(64, np.nan), 10)


def test_rescoring_by_ids_leaves_none_out(empty: Either) -> None:
    """Each of a thousand ids among three thousand documents has its vector and its score."""
    empty.add(Document(str(n), f"word{n % 7} common {n}") for n in range(3000))
    ids = [str(n) for n in range(0, 3000, 3)]
    vectors = empty.vectors_for(ids)
    assert not np.isnan(vectors).any()
    assert vectors == pytest.approx(
        BagOfWords().encode([f"word{n % 7} common {n}" for n in range(0, 3000, 3)]), abs=1e-3
    )
    assert (empty.score_text("common", ids) > 0).all()
    allowed = {"$or": [{"n": 1}, {"n": {"$exists": False}}]}
    assert len(empty.search_vector(vectors[0], 1000, filter=allowed)) == 1000


@pytest.mark.parametrize("again", [lambda c: pickle.loads(pickle.dumps(c)), copy.deepcopy])
def test_a_copy_is_the_same_corpus(empty: Either, again: Any) -> None:
    """A pickled or copied corpus is small and holds the same documents."""
    empty.add(sample())
    assert len(pickle.dumps(empty)) < 10_000
    with again(empty) as other:
        assert list(other) == sample()
        assert other.encoder.name == "bag-of-words"
    assert len(empty) == 6


def test_a_vector_of_nan_is_refused(make: Make) -> None:
    """An encoder that gives NaN is named with the document, and nothing of the batch is kept."""
    corpus = make(encoder=Failing())
    with pytest.raises(InputError, match="'bad'"):
        corpus.add([Document("good", ""), Document("bad", "poison")])
    assert len(corpus) == 0


def test_without_an_encoder_there_are_no_vectors(make: Make) -> None:
    """A corpus made with encoder=None answers by words and says how to get vectors."""
    corpus = make(encoder=None)
    corpus.add(sample())
    assert corpus.search_text("team", 3).ids == ["d1", "d3"]
    with pytest.raises(CorpusError, match="no vectors"):
        corpus.search_vector([1.0], 3)
