"""One state of a corpus, kept while it is read: nothing that is written meanwhile shows."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from stepwell.corpus.fetching import ids_by_row, rows_by_id
from stepwell.corpus.matching import matching_rows
from stepwell.corpus.places import Places, read_places
from stepwell.corpus.record import Rows
from stepwell.corpus.terms import Terms
from stepwell.errors import CorpusError
from stepwell.filters import Filter

if TYPE_CHECKING:
    from stepwell.corpus.chroma import ChromaIndex
    from stepwell.corpus.neighbours import Neighbours

_FACTS = ("version", "epoch", "count", "lexical", "space", "vectors", "chroma", "neighbours")


@dataclass(frozen=True, slots=True)
class State:
    """Where the record stands; a change of it, by any process, changes `version`.

    Attributes:
        version: Counts every change.
        epoch: Counts the changes that did more than append.
        count: Documents held.
        lexical: Name of the folder of the term index.
        space: Number of the encoder's vectors; 0 for none.
        vectors: How they are searched, see `stepwell.corpus.kinds`.
        chroma: Token of the Chroma collection that holds them too; empty for none.
        neighbours: Of the index of neighbours, see `stepwell.corpus.neighbours`; empty for none.
    """

    version: int
    epoch: int
    count: int
    lexical: str
    space: int
    vectors: str
    chroma: str
    neighbours: str = ""  # a corpus of an older version has no such fact

    @classmethod
    def read(cls, connection: sqlite3.Connection) -> State:
        """What the record says of itself."""
        marks = ",".join("?" * len(_FACTS))
        return cls(
            **dict(
                connection.execute(f"SELECT key, value FROM meta WHERE key IN ({marks})", _FACTS)
            )
        )


class Remembers(Protocol):
    """What snapshots of one corpus share, so that the next need not find it out again."""

    def index(self, state: State) -> ChromaIndex | None:
        """The Chroma collection of a state."""
        ...

    def neighbours(self, state: State) -> Neighbours | None:
        """The index of neighbours of a state."""
        ...

    def state(self) -> State:
        """Where the record stands now."""
        ...

    def rows(self) -> Rows:
        """Every row that the record holds now."""
        ...

    def filtered(self, version: int, filter: Filter, find: Callable[[], Rows]) -> Rows:
        """The rows of a filter in that version."""
        ...

    def among(self, version: int, filter: Filter, find: Callable[[], Places]) -> Places:
        """The places of a filter in that version."""
        ...

    def placed(self, state: State, find: Callable[[Places | None], Places]) -> Places:
        """The places of a state."""
        ...

    def recalled(self, version: int) -> dict[str, int]:
        """The rows of the ids that were recalled in that version."""
        ...


class Snapshot:
    """A corpus as it was at one moment; safe to use from many threads; `close` it.

    Args:
        memory: What it shares with other snapshots of the corpus.
        connection: To the record, in a transaction that began at that moment.
        release: Takes the connection back.
        state: Where the record stood.
        terms: The term index; it may hold rows that the record does not.
        matrix: The vectors that there were.
    """

    def __init__(
        self,
        memory: Remembers,
        connection: sqlite3.Connection,
        release: Callable[[sqlite3.Connection], None],
        *,
        state: State,
        terms: Terms,
        matrix: NDArray[np.float16],
    ) -> None:
        self.state = state
        self.terms = terms
        self.matrix = matrix
        self._memory = memory
        self._connection = connection
        self._release = release
        self._lock = threading.Lock()
        self._places: Places | None = None
        self._closed = self._released = False

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for a moment one's own.

        Raises:
            CorpusError: The snapshot is closed.
        """
        with self._lock:
            if self._closed:
                raise CorpusError("the search that this belonged to is over")
            yield self._connection
        self._let_go()

    def close(self) -> None:
        """Let go of it; one that still reads in another thread is not waited for."""
        self._closed = True
        self._let_go()

    def _let_go(self) -> None:
        if not self._closed or not self._lock.acquire(blocking=False):
            return
        try:
            released, self._released = self._released, True
        finally:
            self._lock.release()
        if not released:
            self._release(self._connection)

    # -- what it holds ---------------------------------------------------------------------

    def places(self) -> Places:
        """Which documents have vectors, and where."""
        if self._places is None:
            self._places = self._memory.placed(self.state, self._found_places)
        return self._places

    def _found_places(self, before: Places | None) -> Places:
        with self.reading() as connection:
            return read_places(connection, self.state.space, self.matrix, before)

    def allowed(self, filter: Filter | None) -> Rows | None:
        """The rows that a filter allows; None when there is no filter."""
        if filter is None:
            return None

        def found() -> Rows:
            with self.reading() as connection:
                return matching_rows(connection, filter)

        return self._memory.filtered(self.state.version, filter, found)

    def among(self, filter: Filter | None) -> Places:
        """Which of the documents that a filter allows have vectors, and where."""
        places, allowed = self.places(), self.allowed(filter)
        if filter is None or allowed is None:
            return places
        return self._memory.among(self.state.version, filter, lambda: places.among(allowed))

    def ids_of(self, rows: Rows) -> list[str | None]:
        """The ids of rows, in order; None for one that the record does not hold."""
        wanted = rows.tolist()
        with self.reading() as connection:
            ids = ids_by_row(connection, wanted)
        self._memory.recalled(self.state.version).update(
            (id, row) for id, row in zip(ids, wanted) if id is not None
        )
        return ids

    def rows_of(self, ids: Sequence[str]) -> Rows:
        """(n,) int64 rows of ids; -1 where there is none.

        A stage asks for what the stage before it recalled: those are known without the record.
        """
        known = self._memory.recalled(self.state.version)
        found = np.array([known.get(id, -1) for id in ids], np.int64)
        lacking = np.flatnonzero(found < 0)
        if len(lacking):
            wanted = [ids[at] for at in lacking.tolist()]
            with self.reading() as connection:
                rows = rows_by_id(connection, wanted)
            found[lacking] = [rows.get(id, -1) for id in wanted]
        return found

    def index(self) -> ChromaIndex | None:
        """The Chroma collection that holds the vectors too; None where they are searched exactly.

        It changes with the corpus: see `gone`.
        """
        return self._memory.index(self.state) if self.state.space else None

    def neighbours(self) -> Neighbours | None:
        """The index that names near slots; None where all vectors are looked at.

        It may know of fewer slots than the snapshot has, and of more.
        """
        return self._memory.neighbours(self.state) if self.state.space else None

    def gone(self) -> Rows:
        """Rows with vectors that the corpus holds no more, so that Chroma may not find them."""
        if self._memory.state().epoch == self.state.epoch:
            return np.empty(0, np.int64)
        return np.setdiff1d(self.places().rows, self._memory.rows(), assume_unique=True)
