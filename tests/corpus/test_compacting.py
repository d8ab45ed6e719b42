"""Compaction in the background: room is given back, and nobody who reads or writes notices."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepwell import Corpus, CorpusError, Document
from stepwell.corpus import compacting, rebuilding
from stepwell.corpus.upkeep import MAKING
from tests.corpus.encoders import BagOfWords

MANY = 3000


@pytest.fixture
def corpus(tmp_path: Path) -> Iterator[Corpus]:
    with Corpus.open(tmp_path / "c", encoder=BagOfWords(dimension=256)) as corpus:
        corpus.add(Document(str(n), f"text {n} " + f"word{n} " * 200) for n in range(MANY))
        yield corpus


def _sizes(path: Path) -> dict[str, int]:
    kinds = {"vectors": "vectors-*.f16", "terms": "lexical-*/*", "record": "record.sqlite"}
    return {
        name: sum(file.stat().st_size for file in path.glob(each)) for name, each in kinds.items()
    }


def test_room_is_given_back_without_being_asked_for(corpus: Corpus) -> None:
    """After most documents are deleted every file shrinks by itself; the rest is as it was."""
    before = _sizes(corpus.path)
    kept = corpus.get_many(["1", "2"])
    corpus.delete([str(n) for n in range(100, MANY)])
    corpus.close()
    after = _sizes(corpus.path)
    assert {name for name in before if after[name] < before[name] / 2} == set(before)
    assert not (corpus.path / MAKING).exists()
    with Corpus.open(corpus.path, encoder=BagOfWords(dimension=256)) as again:
        assert again.repaired == ()
        assert again.verify().ok
        assert len(again) == 100
        assert again.get_many(["1", "2"]) == kept
        assert again.search_text("word7", 5).ids == ["7"]
        assert again.search_text("word700", 5).ids == []


def test_a_little_garbage_is_left(corpus: Corpus) -> None:
    """Below a quarter nothing is rewritten."""
    folder = next(corpus.path.glob("lexical-*"))
    corpus.delete([str(n) for n in range(500)])
    corpus._compaction.wait()
    assert folder.exists()


def test_who_reads_and_who_writes_goes_on(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """While files are made anew, others write, delete and search; nothing is lost or comes back."""
    reached, go_on = threading.Event(), threading.Event()
    inner = rebuilding.fill

    def slow(*args: object) -> None:
        inner(*args)  # type: ignore[arg-type]
        reached.set()
        go_on.wait(60)

    monkeypatch.setattr(rebuilding, "fill", slow)
    corpus.delete([str(n) for n in range(1000, MANY)])
    assert reached.wait(60)
    with Corpus.open(corpus.path, encoder=BagOfWords(dimension=256), lock_timeout=5) as other:
        for each in (corpus, other):
            each.delete([f"{n}" for n in range(500, 600)])
            each.upsert([Document("1", f"changed by {id(each)}"), Document(f"{id(each)}", "added")])
            assert len(each.search_text("changed", 5)) == 1
        other.add(Document(f"new {n}", f"fresh {n}") for n in range(50))
        with other.snapshot():
            before = (other.search_text("text", MANY).ids, list(other))
            go_on.set()
            corpus._compaction.wait()
            assert (other.search_text("text", MANY).ids, list(other)) == before
        for each in (corpus, other):
            assert len(each) == 1000 - 100 + 2 + 50
            assert len(each.search_text("fresh", 100)) == 50
            assert each.search_text("word550", 5).ids == []
            assert each.search_text("word2500", 5).ids == []
            assert each.search_text("changed", 5).ids == ["1"]
            assert each.verify().ok


def _work(path: str, at: int) -> None:
    compacting._AT_LEAST = 20
    with Corpus.open(path, encoder=BagOfWords(), lock_timeout=60) as corpus:
        for turn in range(6):
            ids = [f"{at}-{n}" for n in range(40)]
            corpus.upsert(Document(id, f"turn{turn} of {id}") for id in ids)
            corpus.delete(ids[turn::6])
            assert len(corpus.search_text(f"turn{turn}", 500)) >= 30


def test_processes_that_all_write_and_compact(tmp_path: Path) -> None:
    """Several processes replace, delete, search and compact at once: each finds what it wrote."""
    path = tmp_path / "c"
    Corpus.open(path, encoder=BagOfWords()).close()
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_work, args=(str(path), at)) for at in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    with Corpus.open(path, encoder=BagOfWords()) as corpus:
        assert corpus.repaired == ()
        assert corpus.verify().ok
        held = {f"{at}-{n}" for at in range(3) for n in range(40) if n % 6 != 5}
        assert {document.id for document in corpus} == held
        assert set(corpus.search_text("turn5", 500).ids) == held
        assert corpus.search_text("turn4", 500).ids == []


def test_a_compaction_that_fails_is_put_off(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What stops it is logged; the write that began it was acknowledged, and the next one tries."""

    def fail(*_: object) -> None:
        raise CorpusError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(rebuilding, "fill", fail)
        corpus.delete([str(n) for n in range(1000, MANY)])
        corpus._compaction.wait()
    assert "its compaction is put off: no room" in caplog.text
    before = next(corpus.path.glob("lexical-*"))
    corpus.delete(["1"])
    corpus._compaction.wait()
    assert not before.exists()
    assert corpus.verify().ok
