"""A corpus against a plain dictionary: any run of changes, and any way of asking after each."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from stepwell import Corpus, Document, InputError
from stepwell.corpus import export, import_corpus, kinds, neighbours
from tests.corpus.encoders import BagOfWords

RUNS = int(os.environ.get("STEPWELL_MODEL_RUNS", "6"))
STEPS = int(os.environ.get("STEPWELL_MODEL_STEPS", "25"))

WORDS = ("red", "green", "blue", "cyan")
IDS = st.sampled_from([f"id{n}" for n in range(12)])
DOCUMENTS = st.builds(
    Document,
    IDS,
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join),
    st.fixed_dictionaries({"n": st.integers(0, 3)}),
)
SEVERAL = st.lists(DOCUMENTS, max_size=6, unique_by=lambda document: document.id)


def _answer(asked: Connection, path: str) -> None:
    """A reader in a process of its own, which opened the corpus once."""
    with Corpus.open(path, encoder=BagOfWords(), read_only=True) as corpus:
        while (word := asked.recv()) is not None:
            asked.send((sorted(corpus.search_text(word, 50).ids), list(corpus)))


class Model(RuleBasedStateMachine):
    """The corpus and what it should hold, in the order of writing."""

    kind = "exact"

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="stepwell-model-"))
        self.path = self.folder / "c"
        self.held: dict[str, Document] = {}
        self.encoder = BagOfWords()
        self.corpus = Corpus.open(self.path, encoder=self.encoder, vectors=self.kind)
        self.readers = ExitStack()
        self.reader: Connection | None = None

    # -- changes ---------------------------------------------------------------------------

    @rule(documents=SEVERAL)
    def add(self, documents: list[Document]) -> None:
        if self.held.keys() & {document.id for document in documents}:
            with pytest.raises(InputError, match="already holds"):
                self.corpus.add(documents)
            return
        assert self.corpus.add(documents) == len(documents)
        self.held.update((document.id, document) for document in documents)

    @rule(documents=SEVERAL)
    def upsert(self, documents: list[Document]) -> None:
        assert self.corpus.upsert(documents) == len(documents)
        for document in documents:
            self.held.pop(document.id, None)
            self.held[document.id] = document

    @rule(ids=st.lists(IDS, max_size=5))
    def delete(self, ids: list[str]) -> None:
        gone = self.held.keys() & set(ids)
        assert self.corpus.delete(ids) == len(gone)
        self.held = {id: each for id, each in self.held.items() if id not in gone}

    @rule(documents=SEVERAL)
    def upsert_from_another_corpus_object(self, documents: list[Document]) -> None:
        with Corpus.open(self.path, encoder=self.encoder) as other:
            here, self.corpus = self.corpus, other
            self.upsert(documents)
            self.corpus = here

    @rule()
    def compact(self) -> None:
        self.corpus.compact()

    @rule()
    def rebuild(self) -> None:
        self.corpus.rebuild()

    @rule()
    def reopen(self) -> None:
        self.corpus.close()
        self.corpus = Corpus.open(self.path, encoder=self.encoder)
        assert self.corpus.repaired == ()

    @rule()
    def lose_the_term_index(self) -> None:
        self.corpus.close()
        shutil.rmtree(next(self.path.glob("lexical-*")))
        self.corpus = Corpus.open(self.path, encoder=self.encoder)
        assert len(self.corpus.repaired) == 1

    @rule()
    def export_and_import(self) -> None:
        export(self.corpus, self.folder / "f.jsonl")
        self.corpus.close()
        self._end_reader()
        shutil.rmtree(self.path)
        assert import_corpus(self.folder / "f.jsonl", self.path, vectors=self.kind) == len(
            self.held
        )
        self.corpus = Corpus.open(self.path, encoder=self.encoder)
        assert self.corpus.repaired == ()

    # -- questions -------------------------------------------------------------------------

    @rule(word=st.sampled_from(WORDS), n=st.none() | st.integers(0, 3))
    def search_text(self, word: str, n: int | None) -> None:
        found = self.corpus.search_text(word, 50, filter=None if n is None else {"n": n})
        assert sorted(found.ids) == self._having(word, n)
        assert (np.diff(found.scores) <= 0).all()
        assert (self.corpus.score_text(word, found.ids) == found.scores).all()

    @rule(word=st.sampled_from(WORDS), n=st.none() | st.integers(0, 3))
    def search_vector(self, word: str, n: int | None) -> None:
        wanted = [d for d in self.held.values() if n is None or d.metadata["n"] == n]
        query = self.encoder.encode([word])[0]
        found = self.corpus.search_vector(query, 50, filter=None if n is None else {"n": n})
        assert sorted(found.ids) == sorted(document.id for document in wanted)
        expected = self.encoder.encode([self.held[id].text for id in found.ids]) @ query
        np.testing.assert_allclose(found.scores, expected, atol=2e-3)

    @rule(word=st.sampled_from(WORDS))
    def ask_another_process(self, word: str) -> None:
        if self.reader is None:
            here, there = get_context("spawn").Pipe()
            process = get_context("spawn").Process(target=_answer, args=(there, str(self.path)))
            process.start()
            self.reader = here
            self.readers.callback(process.join)
            self.readers.callback(here.close)
            self.readers.callback(here.send, None)
        self.reader.send(word)
        assert self.reader.poll(60)
        assert self.reader.recv() == (self._having(word, None), list(self.held.values()))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def snapshot_does_not_move(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.held)))
        before = list(self.held.values())
        with self.corpus.snapshot():
            assert self.corpus.get(id) == self.held[id]
            self.delete([id])
            assert list(self.corpus) == before
        assert self.corpus.get(id) is None

    @invariant()
    def holds_what_the_dictionary_holds(self) -> None:
        if not hasattr(self, "held"):
            return
        assert list(self.corpus) == list(self.held.values())
        assert len(self.corpus) == len(self.held)
        for n in range(4):
            assert self.corpus.match({"n": n}) == [
                document.id for document in self.held.values() if document.metadata["n"] == n
            ]

    # -- the end ---------------------------------------------------------------------------

    def _having(self, word: str, n: int | None) -> list[str]:
        return sorted(
            document.id
            for document in self.held.values()
            if word in document.text.split() and (n is None or document.metadata["n"] == n)
        )

    def _end_reader(self) -> None:
        self.readers.close()
        self.reader = None

    def teardown(self) -> None:
        if not hasattr(self, "corpus"):
            return
        report = self.corpus.verify()
        self.corpus.close()
        self._end_reader()
        shutil.rmtree(self.folder)
        assert report.ok, report.problems


class ModelWithChroma(Model):
    """The same with the vectors in an embedded Chroma."""

    kind = "chroma"


class ModelWithNeighbours(Model):
    """The same with an index of neighbours, made anew by nearly every write."""

    kind = "auto:1"

    @rule(word=st.sampled_from(WORDS))
    def ask_for_the_first_two(self, word: str) -> None:
        """So few that not all are named."""
        query = self.encoder.encode([word])[0]
        found = self.corpus.search_vector(query, 2)
        assert len(set(found.ids)) == len(found)
        with Corpus.open(self.path, encoder=self.encoder, vectors="exact", read_only=True) as other:
            best = other.search_vector(query, 2)
        # Of texts with the same score the index may name others.
        assert found.scores.tolist() == best.scores.tolist()


@pytest.mark.parametrize("model", [Model, ModelWithChroma, ModelWithNeighbours])
def test_a_corpus_is_a_dictionary_that_can_be_searched(
    model: type[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is done in whatever order, it holds and finds what a dictionary would.

    STEPWELL_MODEL_RUNS and STEPWELL_MODEL_STEPS set how many runs of how many steps.
    """
    if model is ModelWithChroma:
        pytest.importorskip("chromadb", reason="the extra chroma is not installed")
    if model is ModelWithNeighbours:
        pytest.importorskip("faiss", reason="the extra faiss is not installed")
        # So few are named, in several lists, that what is lost shows. Recall of less than ten
        # vectors is not measured: all lists are looked into.
        monkeypatch.setattr(neighbours, "_FIRST", 2)
        monkeypatch.setattr(neighbours, "_PER_LIST", 3)
        monkeypatch.setattr(neighbours, "_SHARES", (1,))
        monkeypatch.setattr(kinds, "LEAST", 1)  # with the few documents of a run
    run_state_machine_as_test(
        model,
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize="STEPWELL_MODEL_RUNS" not in os.environ,
            suppress_health_check=list(HealthCheck),
        ),
    )
