"""Where the core says what it does: to OpenTelemetry, where the program has loaded its API.

`stepwell.telemetry` listens. The API is never imported from here first: a program that exports
anything has loaded it to say where to, and one that has not pays a look into `sys.modules`.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from stepwell.ask import Ask
    from stepwell.candidates import Candidates
    from stepwell.trace import StageRecord

log = logging.getLogger("stepwell")

T = TypeVar("T")

# With these the API itself loads an SDK, as soon as anybody asks for it.
_TOLD = ("OTEL_PYTHON_TRACER_PROVIDER", "OTEL_PYTHON_METER_PROVIDER")


class Seen(Protocol):
    """Told what came of something; gives it back."""

    def __call__(self, value: T, /) -> T:
        """Take note, and return the value."""
        ...


class Watcher(Protocol):
    """Who is told."""

    def searching(self, cascade: str, asks: Sequence[Ask], /) -> AbstractContextManager[Seen]:
        """Around a call of a cascade, for one query or many; each `Result` or error is seen."""
        ...

    def running(self, stage: str, many: Sequence[Candidates], /) -> AbstractContextManager[Seen]:
        """Around one run of a stage, for one query or many together; each `Outcome` is seen."""
        ...

    def passed(self, record: StageRecord, /) -> None:
        """A stage did not run."""
        ...

    def count(self, what: str, amount: int = 1, /, **attributes: str) -> None:
        """Something happened that no trace tells, such as a retry."""
        ...

    def record(self, what: str, value: float, /, **attributes: str) -> None:
        """Something was measured that no trace tells."""
        ...


def watcher() -> Watcher:
    """Who watches at this moment."""
    if "opentelemetry.trace" in sys.modules or "opentelemetry.metrics" in sys.modules or _told():
        return _telemetry()
    return _NOBODY


class _Unseen:
    """A context that is entered for nobody; without state, so one serves all."""

    def __enter__(self) -> Seen:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, value: T, /) -> T:
        return value


class _Nobody:
    def searching(self, cascade: str, asks: Sequence[Ask], /) -> _Unseen:
        return _UNSEEN

    def running(self, stage: str, many: Sequence[Candidates], /) -> _Unseen:
        return _UNSEEN

    def passed(self, record: StageRecord, /) -> None:
        pass

    def count(self, what: str, amount: int = 1, /, **attributes: str) -> None:
        pass

    def record(self, what: str, value: float, /, **attributes: str) -> None:
        pass


_UNSEEN = _Unseen()
_NOBODY = _Nobody()


@cache
def _told() -> bool:
    return any(name in os.environ for name in _TOLD)


@cache
def _telemetry() -> Watcher:
    try:
        from stepwell.telemetry.watch import Telemetry

        return Telemetry()
    except (ImportError, TypeError) as error:
        # Part of it is missing, or it is older than the extra `telemetry` asks for.
        log.warning("OpenTelemetry is not used: %s: %s", type(error).__name__, error)
        return _NOBODY
