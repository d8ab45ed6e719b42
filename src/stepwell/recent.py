"""The last few things that were found out, by what they were found for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """What was asked for last is kept, up to a size; safe to use from many threads.

    Args:
        limit: The size of all that is kept.
        size: Of one value; by default each counts 1.
    """

    def __init__(self, limit: int, size: Callable[[T], int] = lambda _: 1) -> None:
        self._limit, self._size, self._held = limit, size, 0
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, key: Hashable, find: Callable[[], T]) -> T:
        """What is kept for a key, or else found now; several threads may find it at once."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        found = find()
        with self._lock:
            if key not in self._kept:
                self._kept[key] = found
                self._held += self._size(found)
            while self._held > self._limit and self._kept:
                self._held -= self._size(self._kept.popitem(last=False)[1])
        return found

    def clear(self) -> None:
        """Keep nothing."""
        with self._lock:
            self._kept.clear()
            self._held = 0
