"""Indexes kept in step with the record: caught up before a write, swept and signed after it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from stepwell.corpus import index_record
from stepwell.corpus.approximating import drop_leftovers, is_missing
from stepwell.corpus.index_record import Indexed
from stepwell.corpus.lexical import Lexical, LexicalWriter
from stepwell.corpus.placing import Placer
from stepwell.corpus.rebuilding import rebuild_index, rebuild_lexical
from stepwell.corpus.record import fact, keep
from stepwell.corpus.refusals import DiskError
from stepwell.corpus.store import Store, chroma_path, vectors_path
from stepwell.corpus.verifying import damage, difference, lost_vectors
from stepwell.corpus.writing import Writer, changed, is_held
from stepwell.errors import CorpusError

log = logging.getLogger("stepwell")

# Held by who compacts in the background, and the folder of the term index that it makes.
COMPACT_LOCK, MAKING = "compact.lock", "lexical.new"


@contextmanager
def session(store: Store, placer: Placer | None, repaired: list[str]) -> Iterator[Writer]:
    """Write to a corpus whose lock is held."""
    catch_up(store, placer, repaired)
    with _lexical_writer(store) as lexical:
        writer = Writer(store, lexical, placer)
        yield writer
        # Everything is acknowledged: that the rest must wait is no failure of the call.
        with later(store):
            writer.sweep()
    with later(store):
        sign(store)


@contextmanager
def later(store: Store) -> Iterator[None]:
    """What the disk refuses here is done by the next writer."""
    try:
        yield
    except DiskError as error:
        log.warning("corpus %s: its upkeep is put off: %s", store.path, error)


def catch_up(store: Store, placer: Placer | None, repaired: list[str]) -> None:
    """Bring every index into step with the record; the lock is held.

    What was cut off by a kill is finished or undone without a word. What is missing or damaged is
    made anew, which is logged as a warning and noted in `repaired`.

    Args:
        store: The corpus.
        placer: Encodes again what the vector file lost; without one it stays lost for now.
        repaired: One sentence for each index made anew is appended.
    """
    said = len(repaired)
    if store.record.fact("signature") != signature(store):
        _check_lexical(store, repaired)
        _check_vectors(store, placer, repaired)
        _check_neighbours(store, repaired)
        _drop_leftovers(store)
    elif is_missing(store):
        _check_neighbours(store, repaired)
    _mend_lexical(store)
    _place_lost(store, placer)
    _mend_index(store, repaired)
    for sentence in repaired[said:]:
        log.warning("corpus %s: %s", store.path, sentence)
    sign(store)


def sign(store: Store) -> None:
    """Remember how the index files look, so that who opens them next need not read them all."""
    now = signature(store)
    if store.record.fact("signature") != now:
        with store.record.writing() as connection:
            keep(connection, signature=now)


def signature(store: Store) -> str:
    """Names, sizes and times of the index files."""
    state = store.state()
    files = sorted((store.path / state.lexical).glob("[!.]*.*"))
    if state.space:
        files.append(vectors_path(store.path, state.space))
    if (indexed := Indexed.parse(state.neighbours)) is not None:
        files.append(store.path / indexed.file)
    looks = [(file.name, file.stat()) for file in files if file.exists()]
    return "\n".join(f"{name} {look.st_size} {look.st_mtime_ns}" for name, look in looks)


# -- the term index ------------------------------------------------------------------------------


def _check_lexical(store: Store, repaired: list[str]) -> None:
    problem = damage(store.path / store.state().lexical)
    if problem:
        rebuild_lexical(store)
        repaired.append(f"the term index was rebuilt from the record: {problem}")


def _mend_lexical(store: Store) -> None:
    """Remove from the term index what the record does not hold, and add what it lacks."""
    with store.record.reading() as connection:
        extent = fact(connection, "count"), fact(connection, "row_sum")
        waiting = connection.execute("SELECT 1 FROM tombstones LIMIT 1").fetchone()
    lexical = store.lexical(store.state())
    lexical.reload()
    if not waiting and lexical.terms().extent() == extent:
        return
    fit(store, lexical)
    with _lexical_writer(store) as writer:
        Writer(store, writer, None).sweep()
    with store.record.writing() as connection:
        changed(connection)


def fit(store: Store, lexical: Lexical) -> None:
    """Make a term index hold the rows that the record holds; the lock is held."""
    surplus, lacking = difference(store, lexical.terms())
    if not len(surplus) and not len(lacking):
        return
    writer = lexical.writer()
    try:
        writer.remove(surplus.tolist())
        with store.record.reading() as connection:
            for row in lacking.tolist():
                (text,) = connection.execute(
                    "SELECT text FROM contents WHERE row = ?", (row,)
                ).fetchone()
                writer.add((row,), (text,))
        writer.commit()
    finally:
        writer.close()


@contextmanager
def _lexical_writer(store: Store) -> Iterator[LexicalWriter]:
    writer = store.lexical(store.state()).writer()
    try:
        yield writer
    finally:
        writer.close()


# -- vectors -------------------------------------------------------------------------------------


def _check_vectors(store: Store, placer: Placer | None, repaired: list[str]) -> None:
    """Take vectors whose bytes are not what was written out of the record."""
    space = store.state().space
    if not space:
        return
    held = store.file(space).held
    with store.record.reading() as connection:
        lost = lost_vectors(connection, space, store.file(space).view(held))
    if not lost:
        return
    with store.record.writing() as connection:
        connection.executemany(
            "DELETE FROM vectors WHERE space = ? AND slot = ?", ((space, at) for at in lost)
        )
        connection.execute("UPDATE spaces SET slots = min(slots, ?) WHERE space = ?", (held, space))
        # Their slots may come to hold others than the index of neighbours knows.
        losses = (fact(connection, "losses") or 0) + 1
        keep(connection, unplaced=1, neighbours="", losses=losses)
        changed(connection, appended_only=False)
    store.forget_vectors()
    remedy = "are encoded again" if placer else "are gone until it is opened with its encoder"
    repaired.append(f"{len(lost)} vectors were damaged and {remedy}")


def _place_lost(store: Store, placer: Placer | None) -> None:
    """Encode what has no vector, if something was lost before."""
    if placer is None or not store.record.fact("unplaced"):
        return
    for texts in placer.unplaced():
        fresh = placer.encoded(texts)
        with store.record.writing() as connection:
            placer.place(connection, fresh)
            changed(connection, appended_only=False)
    with store.record.writing() as connection:
        keep(connection, unplaced=0)


def _check_neighbours(store: Store, repaired: list[str]) -> None:
    """Leave an index of neighbours that is damaged: who compacts makes another."""
    indexed = Indexed.parse(store.state().neighbours)
    try:
        problem = index_record.damage(store.path, indexed) if indexed is not None else ""
    except OSError:  # that may pass, and readers do without it
        return
    if problem:
        with store.record.writing() as connection:
            keep(connection, neighbours="")
            changed(connection)
        repaired.append(
            f"the index of neighbours was given up: {problem}; vectors are searched exactly until "
            "another is made, after the next search by vector or write"
        )


def _mend_index(store: Store, repaired: list[str]) -> None:
    """Bring Chroma's copy into step with the vector file."""
    state = store.state()
    try:
        index = store.index(state)
        if index is None:
            return
        places = store.places(state.space)
        if len(index) == len(places.rows):
            return
        held = index.rows()
        lacking = np.setdiff1d(places.rows, held)
        index.remove(np.setdiff1d(held, places.rows).tolist())
        index.add(lacking.tolist(), places.matrix[places.slots_of(lacking)])
    except CorpusError as error:
        if state.vectors != "chroma":
            raise  # a server that is away is no damage
        rebuild_index(store)
        repaired.append(f"the Chroma index was rebuilt from the vector file: {error.__cause__}")


def _drop_leftovers(store: Store) -> None:
    """Delete folders that a rebuild was killed over."""
    state = store.state()
    used = {store.path / state.lexical, chroma_path(store.path, state.chroma)}
    compacted = is_held(store.path / COMPACT_LOCK)
    if compacted:
        used.add(store.path / MAKING)
    for folder in (*store.path.glob("lexical[-.]*"), *store.path.glob("chroma-*")):
        if folder not in used:
            shutil.rmtree(folder, ignore_errors=True)
    if not compacted:  # who compacts may have one that is not named yet
        drop_leftovers(store)
