"""A circuit breaker: what has failed often enough is left alone for a while."""

from __future__ import annotations

import threading
import time
from typing import Any


class Breaker:
    """Closed at first; opens after so many failures in a row; then lets one try through a while.

    Thread-safe, and no call waits for another. Copies and pickles begin closed.

    Args:
        failures: In a row that open it.
        rest: Seconds that it stays open before one caller may try; a failed try opens it again.
    """

    def __init__(self, failures: int, rest: float) -> None:
        self.failures, self.rest = failures, rest
        self._lock = threading.Lock()
        self._failed = 0
        self._closed_at = 0.0
        self._trying = False

    def __reduce__(self) -> tuple[Any, ...]:
        return Breaker, (self.failures, self.rest)

    def allows(self) -> bool:
        """Whether to try now; where it is open, one caller in every `rest` seconds may."""
        with self._lock:
            if self._failed < self.failures:
                return True
            now = time.monotonic()
            if now < self._closed_at:
                return False
            self._closed_at = now + self.rest
            self._trying = True
            return True

    def unheard(self) -> None:
        """Tell that a try ended and said nothing of the stage: the next caller may try."""
        with self._lock:
            if self._trying:
                self._trying = False
                self._closed_at = 0.0

    def heard(self, *, failed: bool) -> bool:
        """Tell what came of a try.

        Returns:
            Whether this one opened it, or left it open when it might have closed.
        """
        with self._lock:
            self._failed = self._failed + 1 if failed else 0
            tried, self._trying = self._trying, False
            if self._failed >= self.failures:
                self._closed_at = time.monotonic() + self.rest
            return self._failed == self.failures or (self._failed > self.failures and tried)
