"""Compaction in the background: what is kept in vain is left behind while everybody goes on.

The process that wrote last sees to it, in a thread of its own, when a quarter of an index or of the
record is kept in vain. New files are made beside the old ones from a snapshot, which blocks nobody;
what was written meanwhile is added, and the switch made, as one writer among others. Readers keep
the files that they look at. Killed at any moment, the old files are there, or the new ones.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from pathlib import Path

import filelock

from stepwell.corpus import approximating, rebuilding
from stepwell.corpus.index_record import Indexed
from stepwell.corpus.lexical import Lexical
from stepwell.corpus.rebuilding import adopt, copy_vectors, new_space, switch
from stepwell.corpus.record import fact, keep
from stepwell.corpus.store import Store
from stepwell.corpus.upkeep import COMPACT_LOCK, MAKING, fit, sign
from stepwell.corpus.writing import changed, locked
from stepwell.errors import CorpusError

log = logging.getLogger("stepwell")

_SHARE, _AT_LEAST = 0.25, 1000  # in vain: of all, and rows, vectors or pages
_PAGES = 500  # given back at a time, about 2 MB
_TURN = 30.0  # seconds to wait for the writer before; who writes last begins again


class Compaction:
    """The thread of one opened corpus, when there is one.

    Args:
        path: The corpus.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def begin(self, store: Store) -> None:
        """Compact what needs it, unless that is under way here already."""
        if not any(_overdue(store)) and not approximating.overdue(store):
            return
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=_compact, args=(self._path, store.spoilt), name="stepwell-compacts"
                )
                self._thread.start()

    def wait(self) -> None:
        """Until it is done, if it was begun."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()


def _compact(path: Path, spoilt: str) -> None:
    try:
        # Of several processes one does it.
        with filelock.FileLock(path / COMPACT_LOCK, timeout=0, is_singleton=False):
            store = Store(path)
            store.spoilt = spoilt
            try:
                terms, vectors, record = _overdue(store)
                if terms:
                    _renew_terms(store)
                if vectors:
                    _renew_vectors(store)
                if record or vectors:
                    _shrink(store)
                if approximating.overdue(store):
                    _renew_neighbours(store)
            finally:
                store.close()
    except filelock.Timeout:
        pass
    except (CorpusError, OSError, ValueError, RuntimeError, MemoryError) as error:
        log.warning("corpus %s: its compaction is put off: %s", path, error)


def _overdue(store: Store) -> tuple[bool, bool, bool]:
    """Whether too much is kept in vain: in the term index, the vector file, the record."""
    with store.record.reading() as connection:
        count, swept = fact(connection, "count"), fact(connection, "swept")
        found = connection.execute(
            "SELECT slots FROM spaces WHERE space = ?", (fact(connection, "space"),)
        ).fetchone()
        slots = found[0] if found else 0
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (steps,) = connection.execute("PRAGMA auto_vacuum").fetchone()
    return (
        swept > max(_SHARE * count, _AT_LEAST),
        # Equal texts share a vector, so that this is the least that is in vain.
        slots - count > max(_SHARE * slots, _AT_LEAST),
        steps == 2 and free > max(_SHARE * pages, _AT_LEAST),
    )


def _renew_terms(store: Store) -> None:
    making = store.path / MAKING
    shutil.rmtree(making, ignore_errors=True)
    lexical = Lexical.create(making, analyzer=store.analyzer)
    before = store.state().lexical
    with store.record.held() as connection:
        rebuilding.fill(lexical, connection)
    with locked(store.path, timeout=_TURN):
        if store.state().lexical != before:  # somebody rebuilt it meanwhile
            shutil.rmtree(making, ignore_errors=True)
            return
        lexical.reload()
        fit(store, lexical)
        del lexical  # it has files open, and Windows moves no folder with such
        adopt(store, making)
        sign(store)


def _renew_vectors(store: Store) -> None:
    old = store.state().space
    new = new_space(store, old)
    copy_vectors(store, old, new)
    indexed = approximating.made(store, new, store.state().vectors)
    with locked(store.path, timeout=_TURN):
        with store.record.reading() as connection:
            there = connection.execute("SELECT 1 FROM spaces WHERE space = ?", (new,)).fetchone()
        if store.state().space != old or there is None:  # it was encoded again meanwhile
            return
        copy_vectors(store, old, new)
        if indexed is not None and not (store.path / indexed.file).exists():
            indexed = None  # somebody cleaned up: it is made again
        switch(store, new, chroma=store.state().chroma, neighbours=indexed)
        sign(store)


def _renew_neighbours(store: Store) -> None:
    """The index of neighbours, longer or anew: only to name it takes a turn as a writer."""
    state, losses = store.state(), store.record.fact("losses")
    before = Indexed.parse(state.neighbours)
    indexed = approximating.made(store, state.space, state.vectors, before=before)
    if indexed is None:
        return
    with locked(store.path, timeout=_TURN):
        now = store.state()
        # Slots that were lost hold other vectors now than those that it knows.
        same = (now.space, now.vectors, now.neighbours, store.record.fact("losses")) == (
            state.space,
            state.vectors,
            state.neighbours,
            losses,
        )
        if same and (store.path / indexed.file).exists():
            with store.record.writing() as connection:
                keep(connection, neighbours=str(indexed))
                changed(connection)
        approximating.drop_leftovers(store)
        sign(store)


def _shrink(store: Store) -> None:
    """Give free pages back, a few at a time, so that who writes comes in between."""
    with store.record.reading() as connection:
        while connection.execute("PRAGMA freelist_count").fetchone()[0]:
            connection.execute(f"PRAGMA incremental_vacuum({_PAGES})").fetchall()
            time.sleep(0.001)
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
