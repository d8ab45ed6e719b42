"""A corpus is a durable mapping from ids to documents, whatever is done to it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from stepwell import Corpus, Document, InputError
from stepwell.corpus import writing
from tests.corpus.encoders import BagOfWords

IDS = st.sampled_from([f"d{n}" for n in range(12)])
WORDS = st.sampled_from(["log", "rotate", "page", "team", "ünï", "\U0001f600"])
DOCUMENTS = st.builds(
    lambda name, words, n: Document(name, " ".join(words), {"n": n, "tags": words}),
    IDS,
    st.lists(WORDS, max_size=5),
    st.integers(0, 3),
)


class Model(RuleBasedStateMachine):
    """A corpus beside a plain dict."""

    @initialize()
    def start(self) -> None:
        self.corpus = Corpus.temporary(encoder=BagOfWords())
        self.path = self.corpus.path
        self.held: dict[str, Document] = {}

    def teardown(self) -> None:
        if hasattr(self, "corpus"):
            self.corpus.close()

    @rule(documents=st.lists(DOCUMENTS, max_size=6))
    def add(self, documents: list[Document]) -> None:
        ids = [document.id for document in documents]
        if len(set(ids)) < len(ids) or set(ids) & set(self.held):
            with pytest.raises(InputError):
                self.corpus.add(documents)
        else:
            assert self.corpus.add(documents) == len(documents)
            self.held.update((document.id, document) for document in documents)

    @rule(documents=st.lists(DOCUMENTS, max_size=6))
    def upsert(self, documents: list[Document]) -> None:
        self.corpus.upsert(iter(documents))
        for document in documents:
            # A replaced document is a new one: it comes last.
            self.held.pop(document.id, None)
            self.held[document.id] = document

    @rule(ids=st.lists(IDS, max_size=4))
    def delete(self, ids: list[str]) -> None:
        assert self.corpus.delete(ids) == len(set(ids) & set(self.held))
        for id in ids:
            self.held.pop(id, None)

    @rule()
    def reopen(self) -> None:
        other = Corpus.open(self.path, encoder=BagOfWords())
        assert other.repaired == ()
        assert list(other) == list(self.corpus)
        other.close()

    @rule()
    def compact(self) -> None:
        self.corpus.compact()
        with Corpus.temporary(encoder=BagOfWords()) as fresh:
            fresh.add(self.held.values())
            for query in ("log rotate", "page"):
                new, old = fresh.search_text(query, 20), self.corpus.search_text(query, 20)
                assert new.ids == old.ids
                assert new.scores.tolist() == old.scores.tolist()

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "corpus"):
            return
        assert list(self.corpus) == list(self.held.values())
        assert len(self.corpus) == len(self.held)
        assert self.corpus.match({"n": {"$gte": 2}}) == [
            id for id, document in self.held.items() if document.metadata["n"] >= 2
        ]
        found = self.corpus.search_text("log", 20, filter={"n": {"$lt": 3}})
        assert set(found.ids) == {
            id
            for id, document in self.held.items()
            if "log" in document.metadata["tags"] and document.metadata["n"] < 3
        }
        near = self.corpus.search_vector(BagOfWords().encode(["log"])[0], 20)
        assert set(near.ids) == set(self.held)
        assert self.corpus.verify().ok


TestModel = Model.TestCase
TestModel.settings = settings(
    max_examples=12,
    stateful_step_count=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


METADATA: dict[str, Any] = {
    "text": "é \U0001f600 \u2028",
    "numbers": [0, -1, 2**63 - 1, -(2**63), 0.1, 1e300, -0.0],
    "nested": {"a": {"b": [True, None, {"c": []}]}, "": ""},
}


def test_a_document_comes_back_as_it_went_in(tmp_path: Path) -> None:
    """Text and metadata survive a reopening exactly: Unicode, zero bytes, 64-bit integers."""
    documents = [
        Document("plain", "x", METADATA),
        Document("ünï/cödé \0", "a\0b\r\n", {}),
        Document("empty", ""),
    ]
    with Corpus.open(tmp_path / "c", encoder=None) as corpus:
        corpus.add(documents)
    with Corpus.open(tmp_path / "c", encoder=None) as corpus:
        assert list(corpus) == documents
        assert [repr(dict(d.metadata)) for d in corpus] == [
            repr(dict(d.metadata)) for d in documents
        ]
        assert corpus.get_many(["empty", "gone", "plain"]) == [documents[2], None, documents[0]]
        assert corpus.get("gone") is None
        assert ("plain" in corpus, "gone" in corpus, 3 in corpus, "\ud800" in corpus) == (
            True,
            False,
            False,
            False,
        )


def test_a_text_of_ten_megabytes_is_kept_and_found() -> None:
    """A huge text is indexed to its end; a word of a million letters harms nothing."""
    text = "filler words here " * 600_000 + "x" * 1_000_000 + " needle"
    with Corpus.temporary(encoder=None) as corpus:
        corpus.add([Document("huge", text), Document("small", "hay")])
        assert corpus.search_text("needle", 3).ids == ["huge"]
        document = corpus.get("huge")
        assert document is not None
        assert document.text == text


def test_documents_are_taken_as_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator is consumed batch by batch, and progress counts what is acknowledged."""
    monkeypatch.setattr(writing, "BATCH", 10)
    with Corpus.temporary(encoder=None) as corpus:
        taken = 0

        def documents() -> Iterator[Document]:
            nonlocal taken
            for taken in range(1, 36):
                yield Document(str(taken), "text")

        seen: list[tuple[int, int]] = []

        def progress(done: int) -> None:
            seen.append((done, taken))
            assert len(corpus) == len(corpus.search_text("text", 100)) == done

        assert corpus.add(documents(), progress=progress) == 35
        assert seen == [(10, 10), (20, 20), (30, 30), (35, 35)]


def test_what_was_acknowledged_before_an_error_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in a later batch leaves the batches before it, and nothing of its own."""
    monkeypatch.setattr(writing, "BATCH", 10)
    with Corpus.temporary(encoder=None) as corpus:
        documents = [Document(str(n), "text") for n in range(25)]
        with pytest.raises(InputError, match="already holds"):
            corpus.add([*documents, documents[3]])
        assert len(corpus) == 20
        assert corpus.add(documents[20:]) == 5
        assert corpus.verify().ok


def test_of_two_documents_in_one_upsert_the_later_counts() -> None:
    """Repeated ids are an error to `add` and a replacement to `upsert`."""
    twice = [Document("a", "old"), Document("b", "x"), Document("a", "new")]
    with Corpus.temporary(encoder=None) as corpus:
        with pytest.raises(InputError, match=r"'a'.*unique"):
            corpus.add(twice)
        assert len(corpus) == 0
        corpus.upsert(twice)
        assert [(document.id, document.text) for document in corpus] == [("b", "x"), ("a", "new")]


def test_upsert_and_delete_reach_every_index() -> None:
    """What was replaced or deleted is found by no index any more."""
    with Corpus.temporary(encoder=BagOfWords()) as corpus:
        corpus.add(Document(str(n), f"old words {n}", {"n": n}) for n in range(20))
        corpus.upsert([Document("3", "fresh", {"n": 100})])
        corpus.delete(str(n) for n in range(10, 20))
        assert corpus.search_text("old", 50).ids == [str(n) for n in range(10) if n != 3]
        assert corpus.search_text("fresh", 50, filter={"n": 100}).ids == ["3"]
        assert len(corpus.search_vector(BagOfWords().encode(["old"])[0], 50)) == 10
        with pytest.raises(InputError, match="a list of ids"):
            corpus.delete("12")


def test_many_deletions_rewrite_the_term_index() -> None:
    """After many deletions BM25's statistics are those of the documents that are left."""
    with Corpus.temporary(encoder=None) as corpus, Corpus.temporary(encoder=None) as fresh:
        documents = [Document(str(n), f"word{n % 5} common " * (1 + n % 3)) for n in range(3000)]
        corpus.add(documents)
        corpus.delete(str(n) for n in range(2000))
        corpus._compaction.wait()
        fresh.add(documents[2000:])
        query = "word3 common"
        new, old = fresh.search_text(query, 99), corpus.search_text(query, 99)
        assert new.ids == old.ids
        assert new.scores.tolist() == old.scores.tolist()


def test_a_copy_is_the_same_folder(tmp_path: Path) -> None:
    """Pickled and deep-copied corpora see what the original writes."""
    with Corpus.open(tmp_path / "c", encoder=BagOfWords(), analyzer="code") as corpus:
        for made in (pickle.loads(pickle.dumps(corpus)), copy.deepcopy(corpus)):
            with made:
                corpus.upsert([Document("a", "parseHTTPHeader")])
                assert made.search_text("header", 3).ids == ["a"]
                assert (made.analyzer, made.path) == ("code", corpus.path)


def test_an_empty_corpus_answers_nothing() -> None:
    """Every question to an empty corpus has an empty answer."""
    with Corpus.temporary(encoder=BagOfWords()) as corpus:
        assert corpus.search_text("x", 5).ids == []
        assert corpus.search_vector([1.0] * 64, 5).ids == []
        assert corpus.match({"a": {"$not": {"$eq": 1}}}) == []
        assert corpus.score_text("x", ["a"]).tolist() == [0.0]
        assert corpus.vectors_of(["a"]).shape == (1, 64)
        assert corpus.add([]) == corpus.upsert([]) == corpus.delete([]) == len(corpus) == 0
        assert list(corpus) == []


def test_a_temporary_corpus_leaves_nothing() -> None:
    """The folder of a temporary corpus goes when it is closed."""
    with Corpus.temporary(encoder=None) as corpus:
        assert corpus.path.is_dir()
    assert not corpus.path.exists()
