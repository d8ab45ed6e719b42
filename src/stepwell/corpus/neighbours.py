"""Which stored vectors are near, told by a small index of them all: approximate, and fast.

The index (faiss) has each vector in 4 bits for every two dimensions, in lists of what lies
together; a search looks into the lists nearest to the query. It names slots of the vector file,
from which their scores come. A slot keeps its vector, so an index is right for every state of the
corpus that has the same file: who searches leaves out the slots that the state does not hold, and
adds those that the index does not know yet. The file of an index is never changed.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepwell.corpus.refusals import disk
from stepwell.corpus.vectors import Slots
from stepwell.errors import CorpusError, import_extra

EXTRA = "faiss"
# Recall of the exact first so many for stored vectors when an index is made. Questions lie farther
# from passages than passages from each other, so it is more than the .95 that is promised.
_AIM, _FIRST = 0.98, 1000
# Twice what is wanted is scored from the vector file: 4 bits alone order too roughly.
_WIDER, _LEAST = 2, 200
_ASKED = 64  # stored vectors asked for to measure recall
_PER_LIST = 50  # vectors of a list that its centre is learnt from
_PART = 16_384
_RETRAIN = 4  # times the vectors that centres were learnt from


@dataclass(frozen=True, slots=True)
class Indexed:
    """What the record says of an index.

    Attributes:
        file: Its name in the corpus' folder.
        space: Number of the encoder's vectors.
        slots: How many slots it knows, from 0 on.
        trained: How many there were when its lists were made.
        probes: Lists that a search looks into.
        recall: Measured when its lists were made.
        crc: Of the file.
    """

    file: str
    space: int
    slots: int
    trained: int
    probes: int
    recall: float
    crc: int

    @classmethod
    def parse(cls, text: str) -> Indexed | None:
        """From the record; None when it is empty."""
        return cls(**json.loads(text)) if text else None

    def __str__(self) -> str:
        return json.dumps(asdict(self))


def installed() -> bool:
    """Whether faiss is there; it is not imported."""
    return find_spec("faiss") is not None


class Neighbours:
    """An index, opened.

    Args:
        index: Of faiss.
        probes: Lists that a search looks into.
        mapped: The file that it looks at, if it does.
    """

    def __init__(self, index: Any, *, probes: int, mapped: Any = None) -> None:
        self._index = index
        self._mapped = mapped
        self.probes = probes

    @property
    def slots(self) -> int:
        """How many slots it knows, from 0 on."""
        return int(self._index.ntotal)

    @property
    def lists(self) -> int:
        """How many lists there are."""
        return int(self._index.nlist)

    @classmethod
    def open(cls, folder: Path, indexed: Indexed, *, to_extend: bool = False) -> Neighbours:
        """The index in a file, mapped into memory unless it is to be extended.

        Raises:
            CorpusError: The file is missing, or not what was written.
            MissingExtraError: faiss is not installed.
        """
        faiss = import_extra("faiss", extra=EXTRA)
        try:
            problem = damage(folder, indexed)
            data = None if problem else np.memmap(folder / indexed.file, np.uint8, mode="r")
        except OSError as error:
            problem, data = str(error), None
        if data is None:
            raise CorpusError(f"the index of neighbours cannot be used: {problem}")
        if to_extend:
            return cls(faiss.deserialize_index(np.array(data)), probes=indexed.probes)
        index = faiss.read_index(faiss.ZeroCopyIOReader(faiss.swig_ptr(data), len(data)))
        return cls(index, probes=indexed.probes, mapped=data)

    @classmethod
    def learnt(cls, matrix: NDArray[np.float16]) -> Neighbours:
        """An index without vectors whose lists suit these."""
        faiss = import_extra("faiss", extra=EXTRA)
        count, dimension = matrix.shape
        lists = max(1, min(int(2 * math.sqrt(count)), count // _PER_LIST))
        pairs = dimension // 2 if dimension % 2 == 0 else dimension
        index = faiss.index_factory(
            dimension, f"IVF{lists},PQ{pairs}x4fs", faiss.METRIC_INNER_PRODUCT
        )
        rng = np.random.default_rng(0)
        sample = np.sort(rng.permutation(count)[: max(_PER_LIST * lists, 20_000)])
        # So few that faiss would complain are repeated: it makes no difference to the centres.
        rows = np.resize(_clean(matrix[sample]), (max(len(sample), 1000), dimension))
        with _one_thread():
            index.train(rows)
        return cls(index, probes=lists)

    def extend(self, matrix: NDArray[np.float16]) -> None:
        """Take up the slots of a vector file that it does not know yet."""
        with _one_thread():
            for start in range(self.slots, len(matrix), _PART):
                self._index.add(_clean(matrix[start : start + _PART]))

    def calibrate(self, matrix: NDArray[np.float16]) -> float:
        """Choose how many lists to look into; the recall with that many."""
        rng = np.random.default_rng(1)
        queries = _clean(matrix[np.sort(rng.permutation(self.slots)[:_ASKED])])
        k = min(_FIRST, max(1, self.slots // 10))
        truth = _nearest(matrix[: self.slots], queries, k)
        recall = 0.0
        for share in (1 / 32, 1 / 16, 1 / 8, 3 / 16, 1 / 4, 3 / 8, 1 / 2, 1):
            self.probes = math.ceil(share * self.lists)
            found = [self.near(query, k) for query in queries]
            recall = float(np.mean([np.isin(t, f).mean() for t, f in zip(truth, found)]))
            if recall >= _AIM:
                break
        return recall

    def near(
        self,
        query: NDArray[np.float32],
        k: int,
        *,
        live: NDArray[np.uint8] | None = None,
        share: float = 1.0,
    ) -> Slots:
        """Slots near a vector, ascending: mostly all of the first k, and about as many others.

        Args:
            query: (d,) of any length.
            k: How many are wanted.
            live: One bit for each slot that may be named; None for all.
            share: How many of the slots that may be, so that fewer are looked for further.
        """
        faiss = import_extra("faiss", extra=EXTRA)
        length = float(np.linalg.norm(query)) or 1.0
        probes = math.ceil(self.probes * max(1.0, k / _FIRST) / max(share, 1e-9))
        options: dict[str, Any] = {"nprobe": min(probes, self.lists)}
        if live is not None:
            options["sel"] = faiss.IDSelectorBitmap(live)
        with _one_thread():
            _, found = self._index.search(
                np.ascontiguousarray(query[None] / length, np.float32),
                min(max(_WIDER * k, _LEAST), self.slots),
                params=faiss.SearchParametersIVF(**options),
            )
        return np.sort(found[0][found[0] >= 0])

    def save(self, folder: Path, file: str) -> int:
        """Write it durably, whole or not at all; the checksum of the file."""
        faiss = import_extra("faiss", extra=EXTRA)
        data = faiss.serialize_index(self._index)
        making = folder / f"{file}.new"
        with disk(folder):
            with making.open("wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            os.replace(making, folder / file)
        return zlib.crc32(data)


def outgrown(indexed: Indexed, slots: int) -> bool:
    """Whether the corpus has grown so much that lists should be made anew."""
    return slots > _RETRAIN * indexed.trained


def damage(folder: Path, indexed: Indexed) -> str:
    """Why the file of an index cannot be trusted; empty when it is what was written."""
    file = folder / indexed.file
    if not file.exists():
        return "it was missing"
    if not file.stat().st_size:
        return "it was empty"
    with file.open("rb") as data, mmap.mmap(data.fileno(), 0, access=mmap.ACCESS_READ) as all:
        return "" if zlib.crc32(all) == indexed.crc else "it was damaged"


def _nearest(
    matrix: NDArray[np.float16], queries: NDArray[np.float32], k: int
) -> list[NDArray[np.int64]]:
    """The exact first k of each query, all of them in one pass over the file."""
    best = np.full((len(queries), k), -np.inf, np.float32)
    slots = np.full((len(queries), k), -1, np.int64)
    for start in range(0, len(matrix), _PART):
        rows = _clean(matrix[start : start + _PART])
        scores = np.concatenate([best, queries @ rows.T], axis=1)
        these = np.broadcast_to(np.arange(start, start + len(rows)), (len(queries), len(rows)))
        named = np.concatenate([slots, these], axis=1)
        top = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        best, slots = (np.take_along_axis(each, top, axis=1) for each in (scores, named))
    return list(slots)


def _clean(rows: NDArray[np.float16]) -> NDArray[np.float32]:
    """float32, with 0 for what a damaged file may hold in slots that nobody uses."""
    return np.nan_to_num(np.asarray(rows, np.float32), nan=0.0, posinf=0.0, neginf=0.0)


@contextmanager
def _one_thread() -> Iterator[None]:
    """A query is too small to share out, and what is built here leaves the other cores alone."""
    faiss = import_extra("faiss", extra=EXTRA)
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
