"""An index of neighbours that is made, replaced, lost or found damaged while others go on."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepwell import Corpus, Document
from stepwell.corpus import approximating, compacting, neighbours, verifying
from stepwell.corpus.index_record import Indexed
from stepwell.corpus.neighbours import Neighbours
from stepwell.corpus.places import Places
from stepwell.corpus.reading import by_vector
from stepwell.corpus.record import keep
from stepwell.corpus.upkeep import sign
from stepwell.models.protocols import Kind, Vectors

pytest.importorskip("faiss", reason="the extra faiss is not installed")

DIMENSION, MANY, KIND = 16, 2500, "auto:1000"


class Numbered:
    """Vectors by the number that a text ends with."""

    name, dimension = "numbered", DIMENSION

    def encode(self, texts: Sequence[str], /, *, kind: Kind = "passage") -> Vectors:
        del kind
        rngs = (np.random.default_rng(int(text.split()[-1])) for text in texts)
        rows = [rng.standard_normal(DIMENSION) for rng in rngs]
        return np.array(rows, np.float32).reshape(-1, DIMENSION)


QUERY = Numbered().encode(["query 123456789"])[0]


def _documents(first: int, last: int) -> Iterator[Document]:
    return (Document(str(n), f"text {n}", {"n": n}) for n in range(first, last))


def _open(path: Path, **options: Any) -> Corpus:
    return Corpus.open(path, encoder=Numbered(), **options)


def _indexed(corpus: Corpus) -> Indexed | None:
    return Indexed.parse(corpus._store.state().neighbours)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with _open(tmp_path / "c", vectors=KIND) as corpus:
        corpus.add(_documents(0, MANY))
    return tmp_path / "c"


def _meanwhile(monkeypatch: pytest.MonkeyPatch, what: Callable[[Indexed], object]) -> list[Indexed]:
    """Do something once when an index was made and is not named yet; the indexes made."""
    real, made = approximating.made, list[Indexed]()

    def makes(*args: Any, **options: Any) -> Indexed | None:
        if (indexed := real(*args, **options)) is not None:
            made.append(indexed)
            if len(made) == 1:
                what(indexed)
        return indexed

    monkeypatch.setattr(approximating, "made", makes)
    return made


def _forget_signature(corpus: Corpus) -> None:
    with corpus._store.record.writing() as connection:
        keep(connection, signature="")


@pytest.mark.parametrize("how", ["cleaned", "unlinked"])
def test_an_index_that_is_not_named_yet_is_kept_or_made_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Whoever catches up while vectors are compacted, the record names no file that is gone."""

    def meddle(indexed: Indexed) -> None:
        if how == "unlinked":
            (path / indexed.file).unlink()
            return
        with _open(path) as other:
            _forget_signature(other)  # as after a writer that was killed
            other.add([Document("other", "text 77777")])
        assert (path / indexed.file).exists()

    made = _meanwhile(monkeypatch, meddle)
    with _open(path) as corpus:
        corpus.delete([str(n) for n in range(1100)])
    assert made
    with _open(path) as corpus:
        now = _indexed(corpus)
        assert now is not None
        assert (path / now.file).exists()
        assert now.slots < MANY
        assert corpus.repaired == ()
        assert corpus.verify().ok
        assert corpus.search_vector(QUERY, 10).approximate


def test_an_index_that_is_gone_is_made_again_whatever_was_signed(path: Path) -> None:
    """Its absence shows at the next opening, and after the next write there is another."""
    next(path.glob("neighbours-*")).unlink()
    with _open(path, read_only=True) as corpus:
        assert approximating.overdue(corpus._store)
        assert not corpus.search_vector(QUERY, 10).approximate
    with _open(path) as corpus:
        with corpus._store.record.writing() as connection:
            keep(connection, neighbours=str(Indexed("neighbours-1-none", 1, 9, 9, 1, 2, 1.0, 0)))
        sign(corpus._store)
    with _open(path) as corpus:
        assert "the index of neighbours was given up: it was missing" in corpus.repaired[0]
        corpus.add(_documents(MANY, MANY + 1))
    with _open(path) as corpus:
        assert corpus.repaired == ()
        assert corpus.search_vector(QUERY, 10).approximate


def test_an_index_of_slots_that_were_lost_meanwhile_is_not_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost slots come to hold other vectors: an index made before is not right for them."""
    with _open(path) as corpus, corpus._store.record.writing() as connection:
        keep(connection, neighbours="")

    def lose(_: Indexed) -> None:
        file = next(path.glob("vectors-*"))
        os.truncate(file, file.stat().st_size - 100 * 2 * DIMENSION)
        with _open(path) as other:
            assert "100 vectors were damaged" in other.repaired[0]

    made = _meanwhile(monkeypatch, lose)
    compacting._compact(path, "")
    with _open(path, read_only=True) as corpus:
        now = _indexed(corpus)
        assert now is None or now.file != made[0].file
        assert corpus.verify().ok


def test_verification_while_the_index_is_replaced(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sound corpus is sound, and the report tells of one state."""
    real = verifying.lost_vectors

    def slow(*args: Any) -> list[int]:
        lost = real(*args)
        with _open(path) as other:
            other.add(_documents(MANY, MANY + 300))
        return lost

    monkeypatch.setattr(verifying, "lost_vectors", slow)
    with _open(path) as corpus:
        before = _indexed(corpus)
        report = corpus.verify()
        assert _indexed(corpus) != before
    assert report.problems == ()
    assert report.searches is not None
    assert report.searches.how == "approximate"
    assert report.searches.vectors == report.searches.indexed == MANY + 300


def test_damage_that_does_not_show_from_outside_is_mended(path: Path) -> None:
    """With its size and time unchanged, who searches finds it out and another is made."""
    file = next(path.glob("neighbours-*"))
    look, data = file.stat(), bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(look.st_atime_ns, look.st_mtime_ns))
    with _open(path) as corpus:
        assert corpus.repaired == ()
        assert not corpus.search_vector(QUERY, 10).approximate
    with _open(path) as corpus:
        assert corpus.search_vector(QUERY, 10).approximate
        assert corpus.verify().ok
    assert not file.exists()


def test_other_searches_do_not_wait_for_an_index_to_be_opened(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file is read for the checksum beside them."""
    real, reading, may_go = neighbours.damage, threading.Event(), threading.Event()

    def slow(*args: Any) -> str:
        reading.set()
        assert may_go.wait(60)
        return real(*args)

    monkeypatch.setattr(neighbours, "damage", slow)
    with _open(path, read_only=True) as corpus:
        near = threading.Thread(target=corpus.search_vector, args=(QUERY, 5))
        near.start()
        assert reading.wait(60)
        text = threading.Thread(target=corpus.search_text, args=("text", 5))
        text.start()
        text.join(30)
        waited = text.is_alive()
        may_go.set()
        near.join()
        text.join()
    assert not waited


def test_old_and_new_states_by_turns_share_the_newer_index(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state from before it keeps its answers, and nothing is opened again at each turn."""
    opened = []
    real = Neighbours.open
    monkeypatch.setattr(Neighbours, "open", lambda *a, **o: opened.append(a) or real(*a, **o))
    with _open(path, read_only=True) as corpus:
        old = corpus._store.pin()
        before = by_vector(old, QUERY, 10, None)
        with _open(path) as other:
            other.add(_documents(MANY, MANY + 300))
        new = corpus._store.pin()
        assert new.state.neighbours != old.state.neighbours
        del opened[:]
        for _ in range(3):
            assert by_vector(new, QUERY, 10, None).approximate
            found = by_vector(old, QUERY, 10, None)
            assert found.approximate
            assert found.ids == before.ids
        assert len(opened) == 1
        old.close()
        new.close()


def test_what_the_system_refuses_for_a_moment_is_tried_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many open files make one search exact, not all that follow."""
    real, times = neighbours.damage, iter([OSError(24, "Too many open files")])

    def refused(*args: Any) -> str:
        for error in times:
            raise error
        return real(*args)

    monkeypatch.setattr(neighbours, "damage", refused)
    with _open(path, read_only=True) as corpus:
        assert not corpus.search_vector(QUERY, 10).approximate
        assert corpus.search_vector(QUERY, 10).approximate


def test_the_places_of_a_filter_are_remembered(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An equal filter is not applied again to the same state, and is to the next."""
    real, times = Places.among, []
    monkeypatch.setattr(Places, "among", lambda self, rows: times.append(1) or real(self, rows))
    with _open(path) as corpus:
        for _ in range(3):
            corpus.search_vector(QUERY, 10, filter={"n": {"$gte": 700}})
        assert len(times) == 1
        corpus.delete([str(MANY - 1)])
        found = corpus.search_vector(QUERY, MANY, filter={"n": {"$gte": 700}})
        assert str(MANY - 1) not in found.ids
        assert len(times) == 2
