"""Making a request again, inside what is left of the query's deadline."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from stepwell.watching import watcher

if TYPE_CHECKING:
    from tenacity import AsyncRetrying, RetryCallState

LONGEST_WAIT = 30.0
"""Seconds; a server that asks for more than this is not waited for."""


class Retryable(Exception):  # noqa: N818
    """A failure that may pass.

    Attributes:
        message: What to say if it does not pass.
        status: The server's, 0 if there was none.
        wait: Seconds that the server asks to wait.
        sent: Whether there was a request at all.
    """

    def __init__(
        self, message: str, *, status: int = 0, wait: float = 0.0, sent: bool = True
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.wait, self.sent = message, status, wait, sent


def retrying(attempts: int, deadline: float | None, *, api: str = "") -> AsyncRetrying:
    """Attempts with exponential, jittered pauses; none that ends after the deadline.

    Args:
        attempts: At most.
        deadline: `time.monotonic()` seconds, or None.
        api: Which one is asked; further attempts are counted by it.
    """
    import tenacity

    pause = tenacity.wait_random_exponential(multiplier=0.2, max=5.0)

    def wait(state: RetryCallState) -> float:
        return max(pause(state), _asked(state))

    def stop(state: RetryCallState) -> bool:
        if state.attempt_number >= attempts or _asked(state) > LONGEST_WAIT:
            return True
        return deadline is not None and time.monotonic() + state.upcoming_sleep >= deadline

    return tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(Retryable),
        wait=wait,
        stop=stop,
        before_sleep=lambda _: watcher().count("remote.retries", remote_api=api),
        reraise=True,
    )


def wait_asked(headers: Mapping[str, str]) -> float:
    """Seconds that `Retry-After` asks for, in either of its forms; 0 without one."""
    asked = headers.get("retry-after", "").strip()
    if asked.isascii() and asked.isdigit():
        return float(asked)
    try:
        when = parsedate_to_datetime(asked)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        return max(0.0, (when - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):
        return 0.0


def _asked(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return error.wait if isinstance(error, Retryable) else 0.0
