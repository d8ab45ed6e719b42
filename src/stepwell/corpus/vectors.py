"""Vectors in an append-only float16 file, mapped into memory and searched exactly.

A vector belongs to a text, not to a document: its slot in the file is found by content hash, so
identical texts share one. What the record does not count is not there, so that a write that was
cut off leaves nothing behind.
"""

from __future__ import annotations

import os
import threading
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stepwell.corpus.refusals import disk
from stepwell.corpus.terms import Scores
from stepwell.models.protocols import Vectors

Slots = NDArray[np.int64]

_CHUNK = 256  # rows converted at a time: they stay in the processor's cache
# A float32 sum is this far from the exact one at most, so that much beyond the cut is looked at.
_SLACK = 1e-4
# Moves a float16's exponent and fraction into place in a float32, see `_approximate`.
_SIGN_AND_REST = np.int32(-0x70002000)
_RESCALE = np.float32(2.0**112)


class VectorFile:
    """The file of one encoder's vectors.

    Args:
        path: The file; it need not exist while nothing was written.
        dimension: Length of one vector.
    """

    def __init__(self, path: Path, *, dimension: int) -> None:
        self.path = path
        self.dimension = dimension
        self._map: NDArray[np.float16] = np.empty((0, dimension), np.float16)
        self._lock = threading.Lock()

    @property
    def held(self) -> int:
        """How many whole vectors the file has room for, counted or not."""
        return self.path.stat().st_size // self._width if self.path.exists() else 0

    @property
    def _width(self) -> int:
        return 2 * self.dimension

    def view(self, count: int) -> NDArray[np.float16]:
        """(count, d) the first vectors, without reading them yet.

        Raises:
            ValueError: The file is shorter than that.
        """
        with self._lock:
            if len(self._map) < count:
                held = self.held
                if held < count:
                    raise ValueError(f"{self.path} holds {held} vectors, not {count}")
                self._map = np.memmap(self.path, np.float16, mode="r", shape=(held, self.dimension))
            return self._map[:count]

    def write(self, at: int, vectors: NDArray[np.float16]) -> list[int]:
        """Write vectors from slot `at` on and make them durable; the checksum of each.

        Raises:
            CorpusError: The disk is full, or may not be written to.
        """
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        data = np.ascontiguousarray(vectors, np.float16)
        with disk(self.path.parent), os.fdopen(os.open(self.path, flags, 0o644), "r+b") as file:
            file.seek(at * self._width)
            file.write(data.tobytes())
            file.flush()
            os.fsync(file.fileno())
        return checksums(data)


def checksums(vectors: NDArray[np.float16]) -> list[int]:
    """(n,) the CRC-32 of each vector's bytes."""
    data = np.ascontiguousarray(vectors, np.float16)
    return [zlib.crc32(row) for row in data.view(np.uint8)] if data.size else []


def halved(vectors: Vectors) -> NDArray[np.float16]:
    """Unit-length float16 rows of these; a row of zeros stays one."""
    rows = np.asarray(vectors, np.float32)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(length > 0, length, 1.0), np.float16)


def widened(rows: NDArray[np.float16]) -> Vectors:
    """The same finite numbers as float32, by shifting bits: three times numpy's speed."""
    bits = np.left_shift(rows.view(np.int16), 13, dtype=np.int32)
    np.bitwise_and(bits, _SIGN_AND_REST, out=bits)
    numbers = bits.view(np.float32)
    numbers *= _RESCALE
    return numbers


def search_exact(
    matrix: NDArray[np.float16], query: ArrayLike, slots: Slots, k: int
) -> tuple[NDArray[np.intp], Scores]:
    """The k nearest of some slots by cosine, exactly.

    All are scored in float32; those that can be among the first k are scored again in float64, so
    that neither chunks, threads nor a filter change a score or an order.

    Args:
        matrix: (m, d) unit-length vectors.
        query: (d,) of any length.
        slots: (n,) int64 slots to choose from, in the order that breaks ties.
        k: How many at most.

    Returns:
        Positions in `slots`, best first, and their cosines, float64.
    """
    if not len(slots) or k < 1:
        return np.empty(0, np.intp), np.empty(0)
    unit = _unit(query)
    rough = _approximate(matrix, unit, slots)
    at = np.arange(len(rough))
    if k < len(rough):
        cut = np.partition(rough, len(rough) - k)[len(rough) - k]
        at = np.flatnonzero(rough >= cut - _SLACK)
    scores = cosines(matrix, query, slots[at])
    order = np.argsort(-scores, kind="stable")[:k]
    return at[order], scores[order]


def cosines(matrix: NDArray[np.float16], query: ArrayLike, slots: Slots) -> Scores:
    """(n,) float64 cosine of the query with each of these slots."""
    rows = np.asarray(matrix[slots], np.float64)
    # Rounded to float32, the order of a float64 sum no longer shows.
    return np.asarray(np.asarray(rows @ _unit(query), np.float32), np.float64)


def _unit(query: ArrayLike) -> Scores:
    vector = np.asarray(query, np.float64)
    length = float(np.linalg.norm(vector))
    return vector / length if length > 0 else vector


def _approximate(matrix: NDArray[np.float16], unit: Scores, slots: Slots) -> NDArray[np.float32]:
    """Dot products in float32, converting chunks by shifting bits: three times numpy's speed.

    A float16 shifted left by 13 has its fields where a float32 has them, its exponent too small by
    112, for which the query makes up.
    """
    bits = matrix.view(np.int16)
    query = np.asarray(unit, np.float32) * _RESCALE
    out = np.empty(len(slots), np.float32)
    buffer = np.empty((_CHUNK, matrix.shape[1]), np.int32)
    whole = len(slots) == len(matrix) and bool((slots == np.arange(len(matrix))).all())
    for start in range(0, len(slots), _CHUNK):
        stop = min(start + _CHUNK, len(slots))
        part = bits[start:stop] if whole else bits[slots[start:stop]]
        wide = buffer[: stop - start]
        np.left_shift(part, 13, out=wide, dtype=np.int32, casting="unsafe")
        np.bitwise_and(wide, _SIGN_AND_REST, out=wide)
        np.dot(wide.view(np.float32), query, out=out[start:stop])
    return out
