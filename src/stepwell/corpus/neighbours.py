"""Which stored vectors are near, told by a small index of them all: approximate, and fast.

The index (faiss) has each vector in 4 bits for every two dimensions, in lists of what lies
together; a search looks into the lists nearest to the query. It names slots of the vector file,
from which their scores come. A slot keeps its vector, so an index is right for every state of the
corpus that has the same file: who searches leaves out the slots that the state does not hold, and
adds those that the index does not know yet. The file of an index is never changed.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stepwell.corpus.index_record import Indexed, damage
from stepwell.corpus.refusals import disk
from stepwell.corpus.vectors import Slots
from stepwell.errors import CorpusError, import_extra

EXTRA = "faiss"
# Of the exact first so many, what stored vectors must find when an index is made. Questions lie
# farther from passages than passages from each other, so it is more than the .95 that is promised.
_MEASURED, _AIM, PROMISED = (10, 100, 1000), 0.98, 0.95
# So many are named at least, and that many times: 4 bits alone order too roughly.
_FIRST, _WIDER = 1000, (2, 4, 8)
_SHARES = (1 / 32, 1 / 16, 1 / 8, 3 / 16, 1 / 4, 3 / 8, 1 / 2, 1)  # of the lists
# Lists looked into besides for each that what a search must not name would fill: that may be all
# that is near, and what is far lies in more lists.
_FOR_HIDDEN = 4
_ASKED = 64  # stored vectors asked for to measure recall
_SLACK = 1e-5  # two float32 sums of the same products differ by less
_PER_LIST = 50  # vectors of a list that its centre is learnt from
_PART = 16_384
# Vectors, and the scores of the stored ones that are nearest to each, best first.
_Asked: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32]]


def installed() -> bool:
    """Whether faiss is there; it is not imported."""
    return find_spec("faiss") is not None


class Neighbours:
    """An index, opened.

    Args:
        index: Of faiss.
        probes: Lists that a search looks into.
        wider: How many times as many as are wanted it names.
        mapped: The file that it looks at, if it does.
    """

    def __init__(self, index: Any, *, probes: int, wider: int, mapped: Any = None) -> None:
        self._index = index
        self._mapped = mapped
        self.probes, self.wider = probes, wider

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
            OSError: It cannot be read now, whole or not.
        """
        faiss = import_extra("faiss", extra=EXTRA)
        if problem := damage(folder, indexed):
            raise CorpusError(f"the index of neighbours cannot be used: {problem}")
        data = np.memmap(folder / indexed.file, np.uint8, mode="r")
        if to_extend:
            index = faiss.deserialize_index(np.array(data))
        else:
            index = faiss.read_index(faiss.ZeroCopyIOReader(faiss.swig_ptr(data), len(data)))
        mapped = None if to_extend else data
        return cls(index, probes=indexed.probes, wider=indexed.wider, mapped=mapped)

    @classmethod
    def learnt(cls, matrix: NDArray[np.float16]) -> Neighbours:
        """An index without vectors whose lists suit these."""
        faiss = import_extra("faiss", extra=EXTRA)
        count, dimension = matrix.shape
        lists = max(1, min(int(2 * math.sqrt(count)), count // _PER_LIST))
        pairs = dimension // 2 if dimension % 2 == 0 else dimension
        # "r": the codes are of what a vector has beside the centre of its list.
        index = faiss.index_factory(
            dimension, f"IVF{lists},PQ{pairs}x4fsr", faiss.METRIC_INNER_PRODUCT
        )
        rng = np.random.default_rng(0)
        sample = np.sort(rng.permutation(count)[: max(_PER_LIST * lists, 20_000)])
        # So few that faiss would complain are repeated: it makes no difference to the centres.
        rows = np.resize(_clean(matrix[sample]), (max(len(sample), 1000), dimension))
        with _one_thread():
            index.train(rows)
        return cls(index, probes=lists, wider=_WIDER[0])

    def extend(self, matrix: NDArray[np.float16], *, trained: int) -> float:
        """Know the slots of a vector file that it does not know yet, and how many to name.

        Args:
            matrix: The vectors.
            trained: How many there were when the lists were made. Later ones are asked for apart,
                too: they may be unlike those, and would not show in the mean.

        Returns:
            Recall of the exact first 10, 100 and 1,000 of stored vectors, the least of them.
        """
        with _one_thread():
            for start in range(self.slots, len(matrix), _PART):
                self._index.add(_clean(matrix[start : start + _PART]))
        return self._calibrated(matrix, trained)

    def _calibrated(self, matrix: NDArray[np.float16], trained: int) -> float:
        """Choose how many lists to look into and slots to name, unless what is chosen will do."""
        asked = _asked(matrix[: self.slots], trained)
        if trained < self.slots and (recall := self._recall(matrix, asked)) >= _AIM:
            return recall
        self.probes = self.lists
        for self.wider in _WIDER:
            if self._recall(matrix, asked) >= (1 + _AIM) / 2:
                break
        for share in _SHARES:
            self.probes = math.ceil(share * self.lists)
            recall = self._recall(matrix, asked)
            if recall >= _AIM:
                break
        return recall

    def _recall(self, matrix: NDArray[np.float16], asked: list[_Asked]) -> float:
        """The least of any group's mean share of its exact first 10, 100 and 1,000."""
        shares = [1.0]
        for queries, best in asked:
            for k in sorted({min(k, best.shape[1]) for k in _MEASURED}):
                cuts = best[:, k - 1] - _SLACK
                found = [_clean(matrix[self.near(query, k)]) @ query for query in queries]
                # Each finds itself, too. Others with the score of the last are as good.
                hits = [np.count_nonzero(f >= cut) - 1 for f, cut in zip(found, cuts)]
                shares.append(float(np.minimum(hits, k).mean()) / k)
        return min(shares)

    def near(
        self, query: NDArray[np.float32], k: int, *, live: NDArray[np.uint8] | None = None
    ) -> Slots:
        """Slots near a vector, ascending: nearly all of the first k, and many others.

        There are k at least, where so many may be named.

        Args:
            query: (d,) of any length.
            k: How many are wanted.
            live: One bit for each slot that may be named, lowest first; None for all.
        """
        there = self.slots
        if live is not None:
            there = int.from_bytes(live[: self.slots // 8 + 1].tobytes(), "little").bit_count()
        more = min(1.0, _FOR_HIDDEN * max(0.0, 1 - there / self.slots))
        names = int(self.wider * max(k, _FIRST) * (1 + more))
        probes = math.ceil(self.probes * max(1.0, k / _FIRST) + more * self.lists)
        found = self._named(query, names, probes, live)
        if len(found) < min(self.wider * k, there) and probes < self.lists:
            found = self._named(query, names, self.lists, live)
        return found

    def _named(
        self,
        query: NDArray[np.float32],
        names: int,
        probes: int,
        live: NDArray[np.uint8] | None,
    ) -> Slots:
        faiss = import_extra("faiss", extra=EXTRA)
        length = float(np.linalg.norm(query)) or 1.0
        options: dict[str, Any] = {"nprobe": min(probes, self.lists)}
        if live is not None:
            options["sel"] = faiss.IDSelectorBitmap(live)
        with _one_thread():
            _, found = self._index.search(
                np.ascontiguousarray(query[None] / length, np.float32),
                min(names, self.slots),
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


def _asked(matrix: NDArray[np.float16], trained: int) -> list[_Asked]:
    """Some of the vectors, and the exact best scores of each, its own left out; so, too, of those
    from slot `trained` on. One pass over the file."""
    k = min(_MEASURED[-1], len(matrix) // 10)
    if not k:
        return []
    rng = np.random.default_rng(1)
    starts = [start for start in (0, trained) if start < len(matrix)]
    slots = [start + rng.permutation(len(matrix) - start)[:_ASKED] for start in starts]
    groups = [_clean(matrix[np.sort(each)]) for each in slots]
    queries = np.concatenate(groups)
    best = np.full((len(queries), k + 1), -np.inf, np.float32)
    for start in range(0, len(matrix), _PART):
        scores = np.concatenate([best, queries @ _clean(matrix[start : start + _PART]).T], axis=1)
        best = -np.partition(-scores, k, axis=1)[:, : k + 1]
    best = -np.sort(-best, axis=1)[:, 1:]
    return list(zip(groups, np.split(best, np.cumsum([len(g) for g in groups])[:-1])))


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
