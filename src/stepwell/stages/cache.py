"""Arrays that were made from a text, kept by its content."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.floating[Any]]
BATCH = 32


class ContentCache:
    """Thread-safe and bounded by bytes; what was not used for longest goes first.

    Copies and pickles are empty: a cache is no part of what a stage is.

    Args:
        limit: Bytes of array data to keep.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._bytes = 0
        self._kept: OrderedDict[bytes, Array] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def __reduce__(self) -> tuple[Any, ...]:
        return ContentCache, (self.limit,)

    def fetch(
        self,
        texts: Sequence[str],
        make: Callable[[list[str]], Sequence[Array]],
        *,
        stop: Callable[[], bool] | None = None,
    ) -> list[Array | None]:
        """The array of each text, made in batches where it is not kept.

        Args:
            texts: What to look up; equal texts are made once.
            make: Makes the arrays of some texts, in order.
            stop: Asked before each batch; what is left then stays None.
        """
        keys = [_key(text) for text in texts]
        found = self._lookup(keys)
        missing = {key: text for key, text in zip(keys, texts) if key not in found}
        left = list(missing.items())
        while left and not (stop is not None and stop()):
            batch, left = left[:BATCH], left[BATCH:]
            made = make([text for _, text in batch])
            for (key, _), array in zip(batch, made, strict=True):
                found[key] = array
                self._keep(key, array)
        return [found.get(key) for key in keys]

    def _lookup(self, keys: Sequence[bytes]) -> dict[bytes, Array]:
        found = {}
        with self._lock:
            for key in keys:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    found[key] = self._kept[key]
        return found

    def _keep(self, key: bytes, array: Array) -> None:
        # A row of a batch is a view: kept as it is, it would hold the whole batch.
        array = array if array.base is None else array.copy()
        with self._lock:
            if key not in self._kept:
                self._kept[key] = array
                self._bytes += array.nbytes
            while self._bytes > self.limit:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes


def _key(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
