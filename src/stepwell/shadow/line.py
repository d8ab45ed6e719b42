"""A bounded line of work and the few threads that do it; whoever brings work never waits."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

IDLE = 5.0
"""Seconds that a thread stays without work; while it is there it holds what it works for."""
TICK = 0.01
"""Seconds that a thread which was started or woken leaves the processor, and the interpreter's
lock, to whoever brought the work."""


class Line(Generic[T]):
    """Work that waits, up to a limit, and daemon threads that end when there is none.

    A thread that hangs holds up the others' work at most, and never the end of the process.

    Args:
        do: Does one piece; what it raises is its own affair.
        limit: Pieces that may wait.
        threads: How many at most.

    Attributes:
        closed: Whether nothing is taken any more.
    """

    def __init__(self, do: Callable[[T], None], *, limit: int, threads: int) -> None:
        self._do, self._limit, self._most = do, limit, threads
        self._lock = threading.Lock()
        self._came, self._settled = threading.Condition(self._lock), threading.Condition(self._lock)
        self._line: deque[T] = deque()
        self._threads = self._running = 0
        self.closed = False

    def add(self, piece: T) -> bool:
        """Take a piece of work, if there is room and a thread to do it; whether it was taken."""
        with self._lock:
            if self.closed or len(self._line) >= self._limit:
                return False
            self._line.append(piece)
            idle = self._threads - self._running
            if idle < len(self._line) and self._threads < self._most:
                self._start()
            if not self._threads:
                self._line.pop()
                return False
            self._came.notify()
        return True

    def state(self) -> dict[str, int]:
        """What waits and what runs at this moment."""
        with self._lock:
            return {"waiting": len(self._line), "running": self._running}

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing waits or runs, for so many seconds; whether it came to that."""
        with self._lock:
            return self._settled.wait_for(lambda: not (self._line or self._running), timeout)

    def close(self, timeout: float) -> int:
        """Take nothing more, forget what waits, give what runs so many seconds.

        Returns:
            How much was forgotten.
        """
        with self._lock:
            self.closed = True
            forgotten = len(self._line)
            self._line.clear()
            self._came.notify_all()
        self.wait(timeout)
        return forgotten

    def _start(self) -> None:
        thread = threading.Thread(target=self._work, name="stepwell-shadow", daemon=True)
        self._threads += 1
        try:
            thread.start()
        except (RuntimeError, MemoryError):  # no more threads; those that are there go on
            self._threads -= 1

    def _work(self) -> None:
        try:
            while self._stays():
                time.sleep(TICK)
                while self._one():
                    pass
        except BaseException:
            with self._lock:
                self._threads -= 1
            raise

    def _stays(self) -> bool:
        """Wait for work; False when the thread is to end."""
        with self._lock:
            self._came.wait_for(lambda: bool(self._line) or self.closed, IDLE)
            if not self._line:
                self._threads -= 1
            return bool(self._line)

    def _one(self) -> bool:
        """Do one piece; False where there is none."""
        with self._lock:
            if not self._line:
                return False
            piece = self._line.popleft()
            self._running += 1
        try:
            self._do(piece)
        finally:
            del piece
            with self._lock:
                self._running -= 1
                self._settled.notify_all()
        return True
