"""A corpus' folder, opened: the record, the indexes, and snapshots of all of them together."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from stepwell.corpus.analyzers import analyzer
from stepwell.corpus.chroma import ChromaIndex
from stepwell.corpus.index_record import Indexed
from stepwell.corpus.kinds import by_chroma, crossover
from stepwell.corpus.lexical import Lexical
from stepwell.corpus.matching import every_row
from stepwell.corpus.neighbours import EXTRA, Neighbours, installed
from stepwell.corpus.places import Places, read_places
from stepwell.corpus.record import Record, Rows
from stepwell.corpus.snapshot import Snapshot, State
from stepwell.corpus.terms import Terms
from stepwell.corpus.vectors import VectorFile
from stepwell.errors import CorpusError
from stepwell.filters import Filter
from stepwell.recent import Recent

log = logging.getLogger("stepwell")

_FILTERS = 32  # filters whose rows are remembered
_AMONG = 4  # filters whose places are: some 16 bytes for each document allowed, and 8 to search
_RECALLED = 100_000  # ids whose rows are remembered

_PATIENCE = 30.0  # seconds in which a state must last for as long as it takes to look at it

Looked: TypeAlias = tuple[Terms, NDArray[np.float16]]


class Store:
    """A corpus' folder, opened; safe to use from many threads.

    Args:
        path: The folder, which holds a record.
        read_only: Whether nothing may be written.
        exact: Whether vectors are searched exactly, whatever indexes there are.

    Attributes:
        missed: Called with the store when a search lacks an index of neighbours.
        spoilt: What the record says of an index of neighbours that was found damaged.
    """

    missed: Callable[[Store], object] | None = None
    spoilt: str = ""

    def __init__(self, path: Path, *, read_only: bool = False, exact: bool = False) -> None:
        self.path = path
        self.record = Record(path, read_only=read_only)
        self.read_only = read_only
        self.analyzer = analyzer(str(self.record.fact("analyzer")))
        self.exact = exact
        self._lock = threading.Lock()
        self._lexical: tuple[str, int, Lexical] | None = None
        self._places: tuple[State, Places] | None = None
        self._file: tuple[int, VectorFile] | None = None
        self._index: ChromaIndex | None = None
        self._opening = threading.Lock()  # apart, because an index is read for its checksum
        self._neighbours: tuple[State, Neighbours | None] | None = None
        self._said = False
        self._looked: tuple[int, Looked] | None = None
        self._filters = Recent[Rows](_FILTERS)
        self._among = Recent[Places](_AMONG)
        self._recalled: tuple[int, dict[str, int]] = (-1, {})

    def close(self) -> None:
        """Let go of every file."""
        self.record.close()
        with self._lock:
            if self._index is not None:
                self._index.close()
            self._lexical = self._places = self._file = self._index = self._looked = None
            self._neighbours = None
        self._filters.clear()
        self._among.clear()

    # -- states ----------------------------------------------------------------------------

    def state(self) -> State:
        """Where the record stands now."""
        with self.record.reading() as connection:
            return State.read(connection)

    def rows(self) -> Rows:
        """Every row that the record holds now."""
        with self.record.reading() as connection:
            return every_row(connection)

    def pin(self) -> Snapshot:
        """The present state, kept until it is closed.

        Raises:
            CorpusError: An index is damaged, or the corpus changes faster than it can be read.
        """
        give_up = time.monotonic() + _PATIENCE
        while True:
            connection = self.record.hold()
            try:
                state = State.read(connection)
                looked = self._looked_at(connection, state)
            except BaseException:
                self.record.release(connection)
                raise
            if looked is not None:
                terms, matrix = looked
                release = self.record.release
                return Snapshot(self, connection, release, state=state, terms=terms, matrix=matrix)
            self.record.release(connection)
            if time.monotonic() > give_up:
                raise CorpusError(
                    f"corpus {str(self.path)!r} changes faster than it can be read; write larger "
                    "batches"
                )

    def _looked_at(self, connection: sqlite3.Connection, state: State) -> Looked | None:
        """The indexes, with all that this state holds; None where it has passed meanwhile.

        A row leaves an index only after a state without it: what the indexes held before the next
        state is whole.
        """
        with self._lock:
            if self._looked is not None and self._looked[0] == state.version:
                return self._looked[1]
        try:
            looked = self.lexical(state).terms(), self._matrix(connection, state.space)
        except (OSError, ValueError) as error:
            # A folder that was replaced meanwhile is gone; one that was not is damaged.
            if self.state() != state:
                return None
            raise CorpusError(
                f"an index of corpus {str(self.path)!r} cannot be read ({error}); open the corpus "
                "again, without read_only=True, to have it made anew"
            ) from error
        if self.state().version != state.version:
            return None
        with self._lock:
            self._looked = (state.version, looked)
        return looked

    def _matrix(self, connection: sqlite3.Connection, space: int) -> NDArray[np.float16]:
        if not space:
            return np.empty((0, 0), np.float16)
        return self.file(space).view(_slots(connection, space))

    # -- what snapshots share --------------------------------------------------------------

    def filtered(self, version: int, filter: Filter, find: Callable[[], Rows]) -> Rows:
        """The rows of a filter in that version, found at most once."""
        return self._filters.get((version, filter), find)

    def among(self, version: int, filter: Filter, find: Callable[[], Places]) -> Places:
        """The places of a filter in that version, found at most once."""
        return self._among.get((version, filter), find)

    def placed(self, state: State, find: Callable[[Places | None], Places]) -> Places:
        """The places of a state, found from those of an earlier one where documents were added."""
        with self._lock:
            known = self._places
        if known is not None and known[0].version == state.version:
            return known[1]
        grown = (
            known is not None
            and (known[0].epoch, known[0].space) == (state.epoch, state.space)
            and known[0].version < state.version
        )
        places = find(known[1] if known is not None and grown else None)
        with self._lock:
            # A snapshot of old must not drive out what new ones need.
            if self._places is None or self._places[0].version < state.version:
                self._places = (state, places)
        return places

    def recalled(self, version: int) -> dict[str, int]:
        """The rows of the ids that were recalled in that version."""
        with self._lock:
            known = self._recalled
            if known[0] != version or len(known[1]) > _RECALLED:
                known = self._recalled = (version, {})
            return known[1]

    # -- indexes ---------------------------------------------------------------------------

    def lexical(self, state: State) -> Lexical:
        """The term index with everything of that state in it."""
        with self._lock:
            name, version, lexical = self._lexical or ("", -1, None)
            moved = name != state.lexical or version != state.version
            if lexical is None or name != state.lexical or (moved and lexical.copied):
                lexical = Lexical.existing(self.path / state.lexical, analyzer=self.analyzer)
            elif moved:
                lexical.reload()
            self._lexical = (state.lexical, state.version, lexical)
            return lexical

    def file(self, space: int) -> VectorFile:
        """The vectors of one encoder."""
        with self._lock:
            if self._file is None or self._file[0] != space:
                _, dimension = self.encoder_of(space)
                self._file = (
                    space,
                    VectorFile(vectors_path(self.path, space), dimension=dimension),
                )
            return self._file[1]

    def places(self, space: int) -> Places:
        """Which documents have vectors of an encoder, for who holds the lock."""
        with self.record.reading() as connection:
            return read_places(connection, space, self._matrix(connection, space))

    def index(self, state: State) -> ChromaIndex | None:
        """The Chroma collection that holds the vectors too; None when they are searched exactly.

        None also for a collection that was replaced: to ask for it would make it again.
        """
        now = self.state() if by_chroma(state.vectors) and state.space else None
        if now is None or (state.vectors, state.chroma) != (now.vectors, now.chroma):
            return None
        with self._lock:
            if self._index is None or self._index.token != state.chroma:
                if self._index is not None:
                    self._index.close()
                self._index = self.chroma(state.chroma, state.vectors)
            return self._index

    def chroma(self, token: str, kind: str) -> ChromaIndex:
        """A Chroma collection of this corpus, made if there is none."""
        return ChromaIndex(kind, folder=chroma_path(self.path, token), token=token)

    def neighbours(self, state: State) -> Neighbours | None:
        """The index of neighbours of a state; None where all vectors are looked at.

        Why one cannot be used is logged once.
        """
        above = crossover(state.vectors)
        if self.exact or above is None or state.count <= above:
            return None
        if not installed():
            self._say_once(
                f"{state.count} vectors are searched exactly, which takes longer with each; for "
                f"approximate search: pip install 'stepwell[{EXTRA}]'"
            )
            return None
        with self._opening:
            known = self._neighbours
            if known is not None and _serves(known[0], state):
                return known[1]
            try:
                found = self._opened(state)
            except OSError as error:  # it may pass: the next search tries again
                self._say_once(f"vectors are searched exactly: {error}")
                return None
            # A snapshot of old must not drive out what new ones need.
            if known is None or known[0].version < state.version:
                self._neighbours = (state, found)
        if (not state.neighbours or state.neighbours == self.spoilt) and self.missed is not None:
            self.missed(self)
        return found

    def _opened(self, state: State) -> Neighbours | None:
        indexed = Indexed.parse(state.neighbours)
        if indexed is None or indexed.space != state.space:
            return None
        try:
            return Neighbours.open(self.path, indexed)
        except CorpusError as error:
            # One that was replaced since this state is gone; the next search has the new one.
            if self.state().neighbours == state.neighbours:
                self.spoilt = state.neighbours
                self._say_once(f"vectors are searched exactly: {error}; rebuild the corpus")
            return None

    def _say_once(self, sentence: str) -> None:
        if not self._said:
            self._said = True
            log.warning("corpus %s: %s", self.path, sentence)

    def slots(self, space: int) -> int:
        """How many vectors of an encoder the file holds, in use or not."""
        with self.record.reading() as connection:
            return _slots(connection, space)

    def encoder_of(self, space: int) -> tuple[str, int]:
        """Name and dimension of the encoder of a space."""
        with self.record.reading() as connection:
            name, dimension = connection.execute(
                "SELECT encoder, dimension FROM spaces WHERE space = ?", (space,)
            ).fetchone()
        return str(name), int(dimension)

    def forget_vectors(self) -> None:
        """Map the vector file anew when it is next asked for."""
        with self._lock:
            self._file = self._places = None


def _serves(known: State, state: State) -> bool:
    """Whether the index of one state is right for another: a slot keeps its vector."""
    return known.space == state.space and (
        known.neighbours == state.neighbours or known.version > state.version
    )


def _slots(connection: sqlite3.Connection, space: int) -> int:
    found = connection.execute("SELECT slots FROM spaces WHERE space = ?", (space,)).fetchone()
    return int(found[0]) if found else 0


def vectors_path(folder: Path, space: int) -> Path:
    """Where the vectors of one encoder are kept."""
    return folder / f"vectors-{space}.f16"


def chroma_path(folder: Path, token: str) -> Path:
    """Where an embedded Chroma keeps one collection."""
    return folder / f"chroma-{token}"
