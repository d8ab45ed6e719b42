"""What one search reads is of one state of the corpus, whatever is written meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import stepwell as sw
from stepwell import Corpus, CorpusError, Document
from stepwell.candidates import Candidates
from tests.corpus.encoders import BagOfWords

OLD = [Document(str(n), f"old words {n}", {"turn": "old"}) for n in range(20)]
NEW = [Document(str(n), f"new words {n}", {"turn": "new"}) for n in range(20)]
QUERY = BagOfWords().encode(["words"])[0]


@pytest.fixture(params=["exact", "chroma"])
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Corpus]:
    if request.param == "chroma":
        pytest.importorskip("chromadb", reason="the extra chroma is not installed")
    with Corpus.open(tmp_path / "c", encoder=BagOfWords(), vectors=request.param) as corpus:
        corpus.add(OLD)
        yield corpus


def _replace(corpus: Corpus) -> None:
    corpus.upsert(NEW)


def _delete(corpus: Corpus) -> None:
    corpus.delete([document.id for document in OLD])


def _compact(corpus: Corpus) -> None:
    _delete(corpus)
    corpus.compact()


def _elsewhere(corpus: Corpus) -> None:
    with Corpus.open(corpus.path, encoder=BagOfWords()) as other:
        other.upsert(NEW)
        other.compact()


CHANGES = pytest.mark.parametrize("change", [_replace, _delete, _compact, _elsewhere])


@CHANGES
def test_a_search_answers_from_one_state(corpus: Corpus, change: Callable[[Corpus], None]) -> None:
    """Everything changes between two stages: the answer is whole and of the state before."""

    @sw.stage
    def meanwhile(candidates: Candidates) -> Candidates:
        change(corpus)
        return candidates

    stages: list[sw.Stage] = [
        sw.BM25(corpus, name="words"),
        meanwhile,
        sw.BiEncoder(corpus),
        sw.BM25(corpus),
    ]
    result = sw.Cascade(stages).search("old", k=30, filter={"turn": "old"})
    assert {hit.document for hit in result.hits} == set(OLD)
    assert {hit.scores["words"] == hit.scores["bm25"] > 0 for hit in result.hits} == {True}
    assert not result.degraded
    after = sw.Cascade([sw.Hybrid(corpus)]).search("old", filter={"turn": "old"})
    assert after.hits == ()


@CHANGES
def test_a_snapshot_shows_nothing_of_what_is_written(
    corpus: Corpus, change: Callable[[Corpus], None]
) -> None:
    """Every way of asking answers inside as before the change, and after it as it is now."""

    def asked() -> list[object]:
        return [
            corpus.search_text("old", 50).ids,
            corpus.search_vector(QUERY, 50).ids,
            corpus.match({"turn": "old"}),
            list(corpus),
            corpus.get("3"),
            len(corpus),
            "4" in corpus,
            corpus.vectors_of(["1", "2"]).tolist(),
            corpus.score_text("old", ["1"]).tolist(),
        ]

    with corpus.snapshot():
        before = asked()
        change(corpus)
        assert asked() == before
    assert corpus.match({"turn": "old"}) == []
    assert corpus.search_text("old", 50).ids == []
    assert corpus.verify().ok


async def test_an_awaited_search_and_many_at_once_answer_from_one_state(tmp_path: Path) -> None:
    """The three ways of asking agree: none mixes what was with what is."""
    with Corpus.open(tmp_path / "c", encoder=BagOfWords()) as corpus:
        turn = [OLD, NEW]

        @sw.stage
        def meanwhile(candidates: Candidates) -> Candidates:
            turn.reverse()
            corpus.upsert(turn[0])
            return candidates

        corpus.add(OLD)
        cascade = sw.Cascade([sw.Hybrid(corpus), meanwhile, sw.BiEncoder(corpus)])
        answers = [
            await cascade.asearch("words", k=20),
            cascade.search("words", k=20),
            *cascade.search_many(["words", "words 3"], k=20),
        ]
        for answer in answers:
            assert len({hit.document.metadata["turn"] for hit in answer.hits}) == 1
            assert len(answer.hits) == 20


def test_all_documents_are_of_the_state_in_which_the_first_was_taken(corpus: Corpus) -> None:
    """To change documents while one goes through them shows none twice and none anew."""
    found = []
    for document in corpus:
        corpus.upsert([Document(document.id, "changed"), Document(f"{document.id}+", "added")])
        found.append(document)
    assert found == OLD
    assert len(corpus) == 40


def test_a_text_without_a_vector_gets_one_inside_a_search(tmp_path: Path) -> None:
    """A vector that is made while the state is kept is there at once."""
    with Corpus.open(tmp_path / "c", encoder=BagOfWords()) as corpus:
        corpus.add(OLD)
        (tmp_path / "c" / "vectors-1.f16").unlink()
    with Corpus.open(tmp_path / "c", encoder=None) as damaged:
        assert damaged.repaired
    with Corpus.open(tmp_path / "c", encoder=BagOfWords()) as corpus, corpus.snapshot():
        assert (corpus.vectors_for(["7"]) @ QUERY > 0.1).all()


def test_a_state_that_is_over_is_not_read_by_a_straggler(corpus: Corpus) -> None:
    """A thread that outlives its search gets an error, and the connection goes back unharmed."""
    snapshot = corpus._store.pin()
    inside, leave = threading.Event(), threading.Event()

    def straggle() -> None:
        with snapshot.reading() as connection:
            inside.set()
            leave.wait(10)
            assert connection.execute("SELECT count(*) FROM documents").fetchone() == (20,)

    thread = threading.Thread(target=straggle)
    thread.start()
    inside.wait(10)
    snapshot.close()
    leave.set()
    thread.join()
    with pytest.raises(CorpusError, match="is over"), snapshot.reading():
        pass
    corpus.delete(["1"])
    assert len(corpus) == 19
