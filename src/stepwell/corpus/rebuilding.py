"""Indexes made anew beside the old ones, then switched to: a kill leaves one or the other."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from secrets import token_hex

import numpy as np

from stepwell.corpus.lexical import Lexical
from stepwell.corpus.placing import Placer
from stepwell.corpus.record import fact, keep
from stepwell.corpus.store import Store, chroma_path, vectors_path
from stepwell.corpus.vectors import checksums
from stepwell.corpus.writing import changed
from stepwell.errors import CorpusError
from stepwell.models.protocols import Encoder

_PART = 4096


Progress = Callable[[int], object]


def rebuild_lexical(store: Store, progress: Progress | None = None) -> None:
    """The term index, from the record; the lock is held."""
    old = store.state().lexical
    new = f"lexical-{int(old.rpartition('-')[2]) + 1}"
    shutil.rmtree(store.path / new, ignore_errors=True)
    writer = Lexical.create(store.path / new, analyzer=store.analyzer).writer()
    try:
        with store.record.reading() as connection:
            cursor = connection.execute("SELECT row, text FROM contents ORDER BY row")
            done = 0
            while part := cursor.fetchmany(_PART):
                writer.add(*zip(*part))
                done += len(part)
                if progress is not None:
                    progress(done)
        writer.commit()
    finally:
        writer.close()
    with store.record.writing() as connection:
        keep(connection, lexical=new, swept=0)
        changed(connection)
    shutil.rmtree(store.path / old, ignore_errors=True)


def rebuild_index(store: Store) -> None:
    """The Chroma collection, from the vector file; the lock is held."""
    _switch(store, store.state().space)


def reencode(store: Store, encoder: Encoder | None, progress: Progress | None) -> int:
    """Vectors of another encoder for every text; the lock is held.

    Until all are there the old ones answer; what a kill cut off is taken up by the next call.
    """
    space = 0 if encoder is None else _space_of(store, encoder)
    done = 0
    if encoder is not None:
        placer = Placer(store, encoder, space=space)
        for texts in placer.unplaced():
            fresh = placer.encoded(texts)
            with store.record.writing() as connection:
                placer.place(connection, fresh)
                changed(connection, appended_only=False)
            done += len(fresh)
            if progress is not None:
                progress(done)
    _switch(store, space)
    return done


def compact(store: Store, progress: Progress | None = None) -> None:
    """Every file rewritten with nothing in it but what the corpus holds; the lock is held."""
    state = store.state()
    if state.space:
        _switch(store, _copied(store))
    rebuild_lexical(store, progress)
    with store.record.reading() as connection:
        # So that a corpus of an older version gives back space in steps from now on, too.
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("VACUUM")


def _copied(store: Store) -> int:
    """A space with the vectors in use, in the order of their documents."""
    state = store.state()
    places = store.places(state.space)
    with store.record.reading() as connection:
        name, dimension = store.encoder_of(state.space)
        used = dict(
            connection.execute(
                "SELECT slot, hash FROM vectors WHERE space = ? AND hash IN "
                "(SELECT hash FROM documents)",
                (state.space,),
            ).fetchall()
        )
    slots = list(dict.fromkeys(places.slots.tolist()))
    with store.record.writing() as connection:
        new = _new_space(connection, name, dimension)
    file = store.file(new)
    for start in range(0, len(slots), _PART):
        part = slots[start : start + _PART]
        data = np.ascontiguousarray(places.matrix[part])
        file.write(start, data)
        with store.record.writing() as connection:
            connection.executemany(
                "INSERT INTO vectors VALUES (?, ?, ?, ?)",
                (
                    (new, used[slot], start + n, crc)
                    for n, (slot, crc) in enumerate(zip(part, checksums(data)))
                ),
            )
            connection.execute(
                "UPDATE spaces SET slots = ? WHERE space = ?", (start + len(part), new)
            )
    return new


def _space_of(store: Store, encoder: Encoder) -> int:
    """The space of this encoder, begun now if there is none."""
    known = (encoder.name, encoder.dimension)
    with store.record.writing() as connection:
        found = connection.execute(
            "SELECT space FROM spaces WHERE encoder = ? AND dimension = ? ORDER BY space", known
        ).fetchone()
        return int(found[0]) if found else _new_space(connection, *known)


def _new_space(connection: sqlite3.Connection, name: str, dimension: int) -> int:
    # Counted by itself: a number whose vectors were dropped must not come back with others.
    space = int(fact(connection, "spaces") or 1) + 1
    keep(connection, spaces=space)
    connection.execute("INSERT INTO spaces VALUES (?, ?, ?, 0)", (space, name, dimension))
    return space


def _switch(store: Store, space: int) -> None:
    """Make a space the one that answers, in a Chroma collection of its own, and drop all else."""
    before = store.state()
    chroma = _filled(store, space) if space and store.kind != "exact" else before.chroma
    with store.record.writing() as connection:
        dropped = [n for (n,) in connection.execute("SELECT space FROM spaces") if n != space]
        connection.executemany("DELETE FROM vectors WHERE space = ?", ((n,) for n in dropped))
        connection.executemany("DELETE FROM spaces WHERE space = ?", ((n,) for n in dropped))
        keep(connection, space=space, chroma=chroma, unplaced=0)
        changed(connection, appended_only=False)
    for n in dropped:
        vectors_path(store.path, n).unlink(missing_ok=True)
    if before.space and chroma != before.chroma:
        discard(store, before.chroma)


def _filled(store: Store, space: int) -> str:
    """The token of a new collection with every vector of a space in it."""
    token = token_hex(6)
    index = store.chroma(token)
    places = store.places(space)
    for start in range(0, len(places.rows), _PART):
        part = slice(start, start + _PART)
        index.add(places.rows[part].tolist(), places.matrix[places.slots[part]])
    return token


def discard(store: Store, token: str) -> None:
    """Delete a collection that is no longer used, if it can still be asked."""
    with suppress(CorpusError):
        store.chroma(token).drop()
    shutil.rmtree(chroma_path(store.path, token), ignore_errors=True)
