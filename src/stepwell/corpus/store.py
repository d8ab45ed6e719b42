"""What readers share: the record and, for each state of it, the indexes that show that state."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from stepwell.corpus.analyzers import analyzer
from stepwell.corpus.chroma import ChromaIndex
from stepwell.corpus.lexical import Lexical
from stepwell.corpus.matching import matching_rows
from stepwell.corpus.record import Record, Rows
from stepwell.corpus.vectors import Slots, VectorFile
from stepwell.filters import Filter

_FILTERS = 32  # filters whose rows are remembered
_TRIES = 8
_RECALLED = 100_000  # ids whose rows are remembered

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class State:
    """Where the record stands; a change of it, by any process, changes `version`.

    Attributes:
        version: Counts every change.
        epoch: Counts the changes that did more than append.
        count: Documents held.
        lexical: Name of the folder of the term index.
        space: Number of the encoder's vectors; 0 for none.
        chroma: Token of the Chroma collection that holds them too; empty for none.
    """

    version: int
    epoch: int
    count: int
    lexical: str
    space: int
    chroma: str


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Which documents have vectors, and where.

    Attributes:
        rows: (n,) int64 ascending.
        slots: (n,) int64, the slot of each in the matrix.
        matrix: (m, d) float16, mapped from the file.
    """

    rows: Rows
    slots: Slots
    matrix: NDArray[np.float16]

    def slots_of(self, rows: Rows) -> Slots:
        """(len(rows),) the slot of each row; -1 where it has none."""
        if not len(self.rows):
            return np.full(len(rows), -1, np.int64)
        at = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        return np.where(self.rows[at] == rows, self.slots[at], -1)

    def among(self, allowed: Rows) -> Places:
        """Only those of the (ascending) rows."""
        at = np.searchsorted(allowed, self.rows)
        keep = (
            allowed[np.minimum(at, len(allowed) - 1)] == self.rows
            if len(allowed)
            else np.zeros(len(self.rows), np.bool_)
        )
        return Places(self.rows[keep], self.slots[keep], self.matrix)


class Store:
    """A corpus' folder, opened; safe to use from many threads.

    Args:
        path: The folder, which holds a record.
        read_only: Whether nothing may be written.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self.record = Record(path, read_only=read_only)
        self.read_only = read_only
        self.analyzer = analyzer(str(self.record.fact("analyzer")))
        self.kind = str(self.record.fact("vectors"))
        self._lock = threading.Lock()
        self._lexical: tuple[str, int, Lexical] | None = None
        self._places: tuple[State, Places] | None = None
        self._file: tuple[int, VectorFile] | None = None
        self._index: ChromaIndex | None = None
        self._filters: OrderedDict[tuple[int, Filter], Rows] = OrderedDict()
        self._recalled: tuple[int, dict[str, int]] = (-1, {})

    def close(self) -> None:
        """Let go of every file."""
        self.record.close()
        with self._lock:
            if self._index is not None:
                self._index.close()
            self._lexical = self._places = self._file = self._index = None
            self._filters.clear()

    # -- states ----------------------------------------------------------------------------

    def state(self) -> State:
        """Where the record stands now."""
        with self.record.reading() as connection:
            facts = dict(
                connection.execute(
                    "SELECT key, value FROM meta "
                    "WHERE key IN ('version', 'epoch', 'count', 'lexical', 'space', 'chroma')"
                )
            )
        return State(**facts)

    def settled(self, answer: Callable[[State], T]) -> T:
        """An answer during which the record did not change.

        Indexes are older or newer than the record for a moment when another thread or process
        writes; an answer that such a moment may have touched is asked for again.
        """
        state = self.state()
        for _ in range(_TRIES):
            try:
                found = answer(state)
            except (OSError, ValueError):
                # A folder that was replaced meanwhile is gone; one that was not is damaged.
                if self.state() == state:
                    raise
                state = self.state()
                continue
            after = self.state()
            if after.version == state.version:
                return found
            state = after
        return answer(self.state())

    def ids_of(self, state: State, rows: Rows) -> list[str | None]:
        """The ids of rows, in order; None for one that was replaced or deleted."""
        wanted = rows.tolist()
        ids = self.record.ids_of(wanted)
        with self._lock:
            version, known = self._recalled
            if version != state.version or len(known) > _RECALLED:
                known = {}
                self._recalled = (state.version, known)
            known.update((id, row) for id, row in zip(ids, wanted) if id is not None)
        return ids

    def rows_of(self, state: State, ids: Sequence[str]) -> Rows:
        """(n,) int64 rows of ids; -1 where there is none.

        A stage asks for what the stage before it recalled: those are known without the record.
        """
        with self._lock:
            version, known = self._recalled
            rows = [known.get(id, -1) for id in ids] if version == state.version else []
        found = np.array(rows or [-1] * len(ids), np.int64)
        lacking = np.flatnonzero(found < 0)
        if len(lacking):
            found[lacking] = self.record.rows_of([ids[at] for at in lacking.tolist()])
        return found

    # -- indexes ---------------------------------------------------------------------------

    def lexical(self, state: State) -> Lexical:
        """The term index with everything of that state in it."""
        with self._lock:
            name, version, lexical = self._lexical or ("", -1, None)
            moved = name != state.lexical or version != state.version
            if lexical is None or name != state.lexical or (moved and lexical.copy is not None):
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

    def places(self, state: State) -> Places:
        """Which documents have vectors, and where, in that state."""
        with self._lock:
            known = self._places
        if known is not None and known[0].version == state.version:
            return known[1]
        grown = known is not None and (known[0].epoch, known[0].space) == (state.epoch, state.space)
        places = self.load_places(state.space, known[1] if known is not None and grown else None)
        with self._lock:
            self._places = (state, places)
        return places

    def load_places(self, space: int, before: Places | None = None) -> Places:
        """Which documents have vectors of an encoder, and where.

        Args:
            space: The encoder's number.
            before: What was known of it before documents were appended.
        """
        last = int(before.rows[-1]) if before is not None and len(before.rows) else 0
        with self.record.reading() as connection:
            pairs = np.array(
                connection.execute(
                    "SELECT row, slot FROM documents JOIN vectors USING (hash) "
                    "WHERE space = ? AND row > ? ORDER BY row",
                    (space, last),
                ).fetchall(),
                np.int64,
            ).reshape(-1, 2)
            (slots,) = connection.execute(
                "SELECT slots FROM spaces WHERE space = ?", (space,)
            ).fetchone()
        rows, at = np.ascontiguousarray(pairs.T)
        if before is not None:
            rows, at = np.concatenate([before.rows, rows]), np.concatenate([before.slots, at])
        return Places(rows, at, self.file(space).view(slots))

    def index(self, state: State) -> ChromaIndex | None:
        """The Chroma collection that holds the vectors too; None when they are searched exactly."""
        if self.kind == "exact" or not state.space:
            return None
        with self._lock:
            if self._index is None or self._index.token != state.chroma:
                if self._index is not None:
                    self._index.close()
                self._index = self.chroma(state.chroma)
            return self._index

    def chroma(self, token: str) -> ChromaIndex:
        """A Chroma collection of this corpus, made if there is none."""
        return ChromaIndex(self.kind, folder=chroma_path(self.path, token), token=token)

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

    def allowed(self, state: State, filter: Filter | None) -> Rows | None:
        """The rows that a filter allows in that state; None when there is no filter."""
        if filter is None:
            return None
        key = (state.version, filter)
        with self._lock:
            if key in self._filters:
                self._filters.move_to_end(key)
                return self._filters[key]
        with self.record.reading() as connection:
            rows = matching_rows(connection, filter)
        with self._lock:
            self._filters[key] = rows
            while len(self._filters) > _FILTERS:
                self._filters.popitem(last=False)
        return rows


def vectors_path(folder: Path, space: int) -> Path:
    """Where the vectors of one encoder are kept."""
    return folder / f"vectors-{space}.f16"


def chroma_path(folder: Path, token: str) -> Path:
    """Where an embedded Chroma keeps one collection."""
    return folder / f"chroma-{token}"
