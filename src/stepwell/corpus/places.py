"""Which documents have vectors, and where in the file: read from the record in bulk."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stepwell.corpus.record import Rows
from stepwell.corpus.vectors import Slots

_HASH = 16  # bytes of a content hash


@dataclass(frozen=True, eq=False)
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
        slots = self.slots_of(allowed)
        there = slots >= 0
        return Places(allowed[there], slots[there], self.matrix)

    def having(self, slots: Slots) -> Places:
        """Only those with one of the (ascending) slots; equal texts have the same."""
        order, held = self._by_slot
        first = np.searchsorted(held, slots, "left")
        counts = np.searchsorted(held, slots, "right") - first
        # Each first place, and as many after it as share its slot.
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        at = np.sort(order[np.repeat(first, counts) + within])
        return Places(self.rows[at], self.slots[at], self.matrix)

    @cached_property
    def bits(self) -> NDArray[np.uint8]:
        """One bit for each slot of the matrix, lowest first: whether a document has it."""
        has = np.zeros(len(self.matrix), np.bool_)
        has[self.slots] = True
        return np.packbits(has, bitorder="little")

    @cached_property
    def _by_slot(self) -> tuple[NDArray[np.intp], Slots]:
        order = np.argsort(self.slots, kind="stable")
        return order, self.slots[order]


def read_places(
    connection: sqlite3.Connection,
    space: int,
    matrix: NDArray[np.float16],
    before: Places | None = None,
) -> Places:
    """Which documents have vectors of an encoder, and where.

    Args:
        connection: To the record.
        space: The encoder's number.
        matrix: Its vectors.
        before: What was known of it before documents were appended.
    """
    if before is None or not len(before.rows):
        return Places(*(_packed(connection, space) or _joined(connection, space, 0)), matrix)
    rows, slots = _joined(connection, space, int(before.rows[-1]))
    return Places(
        np.concatenate([before.rows, rows]), np.concatenate([before.slots, slots]), matrix
    )


def _joined(connection: sqlite3.Connection, space: int, after: int) -> tuple[Rows, Slots]:
    """Rows after one and their slots, looked up one by one: about 2 us each."""
    pairs = np.array(
        connection.execute(
            "SELECT row, slot FROM documents JOIN vectors USING (hash) "
            "WHERE space = ? AND row > ? ORDER BY row",
            (space, after),
        ).fetchall(),
        np.int64,
    ).reshape(-1, 2)
    rows, slots = np.ascontiguousarray(pairs.T)
    return rows, slots


def _packed(connection: sqlite3.Connection, space: int) -> tuple[Rows, Slots] | None:
    """All rows and their slots, joined here: a third of the time. None where that is not sure."""
    try:
        documents = _columns(connection, "row", "documents")
        vectors = _columns(connection, "slot", "vectors WHERE space = ?", space)
    except sqlite3.DataError:  # longer than SQLite's longest string, from 60 million on
        return None
    if documents is None or vectors is None:
        return None
    (rows, wanted), (slots, held) = documents, vectors
    # Both tables are read in the order of their keys; half a hash tells nearly all texts apart.
    sought, keys = wanted[:, 0].astype(np.uint64), held[:, 0].astype(np.uint64)
    if (rows[1:] <= rows[:-1]).any() or (keys[1:] <= keys[:-1]).any():
        return None
    order = np.argsort(sought)  # neighbours are found in the cache
    at = np.empty(len(rows), np.int64)
    at[order] = np.minimum(np.searchsorted(keys, sought[order]), len(keys) - 1)
    there = (held[at] == wanted).all(axis=1)
    return rows[there], slots[at[there]]


def _columns(
    connection: sqlite3.Connection, number: str, source: str, *values: int
) -> tuple[NDArray[np.int64], NDArray[np.uint64]] | None:
    """A column of numbers, and that of hashes as two big-endian words each; None for no rows.

    Each column comes as one string, since a Python object for each value would take most of the
    time.
    """
    numbers, packed = connection.execute(
        f"SELECT group_concat({number}), CAST(group_concat(hash, '') AS BLOB) FROM {source}", values
    ).fetchone()
    if not numbers:
        return None
    found = np.fromstring(numbers, np.int64, sep=",")
    if len(packed) != len(found) * _HASH:
        return None
    return found, np.frombuffer(packed, ">u8").reshape(-1, 2)
