"""Indexes made anew beside the old ones, then switched to: a kill leaves one or the other."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

import numpy as np

from stepwell.corpus import approximating
from stepwell.corpus.index_record import Indexed
from stepwell.corpus.kinds import by_chroma
from stepwell.corpus.lexical import Lexical
from stepwell.corpus.placing import Placer
from stepwell.corpus.record import fact, keep
from stepwell.corpus.refusals import disk
from stepwell.corpus.store import Store, chroma_path, vectors_path
from stepwell.corpus.vectors import checksums
from stepwell.corpus.writing import changed
from stepwell.errors import CorpusError
from stepwell.models.protocols import Encoder

_PART = 4096


Progress = Callable[[int], object]


def rebuild_lexical(store: Store, progress: Progress | None = None) -> None:
    """The term index, from the record; the lock is held."""
    folder = store.path / f"{_next_lexical(store)}.new"
    shutil.rmtree(folder, ignore_errors=True)
    with store.record.reading() as connection:
        fill(Lexical.create(folder, analyzer=store.analyzer), connection, progress)
    adopt(store, folder)


def fill(
    lexical: Lexical, connection: sqlite3.Connection, progress: Progress | None = None
) -> None:
    """Put every text of the record into an empty term index."""
    writer = lexical.writer()
    try:
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


def adopt(store: Store, folder: Path) -> None:
    """Make the term index in a folder the one that answers; the lock is held."""
    old, new = store.state().lexical, _next_lexical(store)
    shutil.rmtree(store.path / new, ignore_errors=True)
    with disk(store.path):
        folder.rename(store.path / new)
    with store.record.writing() as connection:
        keep(connection, lexical=new, swept=0)
        changed(connection)
    shutil.rmtree(store.path / old, ignore_errors=True)


def _next_lexical(store: Store) -> str:
    return f"lexical-{int(store.state().lexical.rpartition('-')[2]) + 1}"


def rebuild_index(store: Store, vectors: str | None = None) -> None:
    """What searches the vectors, from the vector file; the lock is held.

    Args:
        store: The corpus.
        vectors: How they are searched from now on; None for as they were.
    """
    switch(store, store.state().space, vectors=vectors)


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
    switch(store, space)
    return done


def compact(store: Store, progress: Progress | None = None) -> None:
    """Every file rewritten with nothing in it but what the corpus holds; the lock is held."""
    state = store.state()
    if state.space:
        space = new_space(store, state.space)
        copy_vectors(store, state.space, space)
        switch(store, space)
    rebuild_lexical(store, progress)
    with store.record.reading() as connection:
        # So that a corpus of an older version gives back space in steps from now on, too.
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("VACUUM")


def new_space(store: Store, like: int) -> int:
    """A space without vectors for the encoder of another."""
    with store.record.writing() as connection:
        return _new_space(connection, *store.encoder_of(like))


def copy_vectors(store: Store, old: int, new: int) -> None:
    """Copy the vectors in use that a space lacks, in the order of their documents."""
    with store.record.held() as connection:
        lacking = connection.execute(
            "SELECT slot, hash FROM documents JOIN vectors USING (hash) WHERE space = ? "
            "AND hash NOT IN (SELECT hash FROM vectors WHERE space = ?) "
            "GROUP BY hash ORDER BY min(row)",
            (old, new),
        ).fetchall()
        (at,) = connection.execute("SELECT slots FROM spaces WHERE space = ?", (new,)).fetchone()
    matrix = store.file(old).view(max((slot for slot, _ in lacking), default=-1) + 1)
    file = store.file(new)
    for start in range(0, len(lacking), _PART):
        part = lacking[start : start + _PART]
        data = np.ascontiguousarray(matrix[[slot for slot, _ in part]])
        file.write(at, data)
        with store.record.writing() as connection:
            connection.executemany(
                "INSERT INTO vectors VALUES (?, ?, ?, ?)",
                (
                    (new, hash, at + n, crc)
                    for n, ((_, hash), crc) in enumerate(zip(part, checksums(data)))
                ),
            )
            at += len(part)
            connection.execute("UPDATE spaces SET slots = ? WHERE space = ?", (at, new))


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


def switch(
    store: Store,
    space: int,
    *,
    vectors: str | None = None,
    chroma: str | None = None,
    neighbours: Indexed | None = None,
) -> None:
    """Make a space the one that answers, and drop all else; the lock is held.

    Args:
        store: The corpus.
        space: Its number.
        vectors: How they are searched from now on; None for as they were.
        chroma: The Chroma collection that holds the same vectors; None to make it anew.
        neighbours: The index of the space; None to make it, if there should be one.
    """
    before = store.state()
    kind = vectors or before.vectors
    if chroma is None:
        chroma = _collection(store, space, kind)
    if neighbours is None and space:
        neighbours = approximating.made(store, space, kind)
    with store.record.writing() as connection:
        dropped = [n for (n,) in connection.execute("SELECT space FROM spaces") if n != space]
        connection.executemany("DELETE FROM vectors WHERE space = ?", ((n,) for n in dropped))
        connection.executemany("DELETE FROM spaces WHERE space = ?", ((n,) for n in dropped))
        keep(connection, space=space, vectors=kind, chroma=chroma, unplaced=0)
        keep(connection, neighbours="" if neighbours is None else str(neighbours))
        changed(connection, appended_only=False)
    for n in dropped:
        vectors_path(store.path, n).unlink(missing_ok=True)
    if before.space and before.chroma and chroma != before.chroma:
        discard(store, before.chroma, before.vectors)
    approximating.drop_leftovers(store)


def _collection(store: Store, space: int, kind: str) -> str:
    """The token of a new collection with every vector of a space in it; empty without Chroma."""
    if not by_chroma(kind):
        return ""
    token = token_hex(6)
    if not space:
        return token
    index = store.chroma(token, kind)
    places = store.places(space)
    for start in range(0, len(places.rows), _PART):
        part = slice(start, start + _PART)
        index.add(places.rows[part].tolist(), places.matrix[places.slots[part]])
    return token


def discard(store: Store, token: str, kind: str) -> None:
    """Delete a collection that is no longer used, if it can still be asked."""
    with suppress(CorpusError):
        store.chroma(token, kind).drop()
    shutil.rmtree(chroma_path(store.path, token), ignore_errors=True)
