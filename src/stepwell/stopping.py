"""When a stage stops for the deadline, and what it says of what it left."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepwell.candidates import Candidates

# Of a measure, at each new one: a batch twice as long as usual is expected for a few more.
KEEP = 0.8
# Of it, at each query that was refused for it: nothing was measured, so it is soon tried again.
KEEP_UNTRIED = 0.5
# Times the measure before: one batch that stalled is not believed at once.
GROWTH = 4.0
# Measures of which the middle one is usual.
LATEST = 9


class Pace:
    """How long a batch takes, remembered from one query to the next; the longest counts for long.

    Safe among threads: at worst one of two measures is forgotten.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._latest: deque[float] = deque(maxlen=LATEST)

    @property
    def usual(self) -> float:
        """What a batch takes as a rule, in seconds; a few that stalled do not count."""
        return median(self._latest.copy()) if self._latest else 0.0

    def heard(self, seconds: float) -> None:
        """Tell what a batch took."""
        self._latest.append(seconds)
        believed = min(seconds, GROWTH * self.seconds) if self.seconds else seconds
        self.seconds = max(believed, KEEP * self.seconds)

    def refused(self) -> None:
        """Tell that none was begun, so that one slow batch is not believed for ever."""
        self.seconds *= KEEP_UNTRIED


class Stop:
    """Whether to stop for a deadline, as a question to ask before each batch.

    A batch that would end too late, if it takes as long as others did, is not begun.

    Args:
        deadline: `time.monotonic()` seconds; what waits for others waits no longer than that.
        pace: Of the stage; None if it begins anew with each query.

    Attributes:
        said: Whether it has said so.
    """

    def __init__(self, deadline: float, pace: Pace | None = None) -> None:
        self.deadline = deadline
        self.said = False
        self._pace = pace or Pace()
        self._asked: float | None = None

    def __call__(self) -> bool:
        """Whether it is over, or would be before the next batch is done."""
        now = time.monotonic()
        if self._asked is not None:
            self._pace.heard(now - self._asked)
        self._asked = now
        if not self.said and now + self._pace.seconds >= self.deadline:
            self.said = True
            if now < self.deadline:
                self._pace.refused()
        return self.said

    def end(self) -> None:
        """Say so from now on: what was asked for ended before this was asked again."""
        self.said = True


def is_over(stop: Callable[[], bool] | None) -> bool:
    """Whether the time is over, for one who only waits.

    Asking a `Stop` itself would tell it how long a batch takes.
    """
    if stop is None:
        return False
    deadline: float | None = getattr(stop, "deadline", None)
    return stop() if deadline is None else time.monotonic() >= deadline


def stop_at(deadline: float | None, pace: Pace | None = None) -> Stop | None:
    """The question for this deadline; None without one."""
    return None if deadline is None else Stop(deadline, pace)


def late(
    values: NDArray[np.floating[Any]],
    candidates: Candidates,
    stop: Stop | None,
    *,
    there: Sequence[int] | None = None,
) -> dict[str, int]:
    """The note of a stage that left candidates unscored at the deadline; empty if it left none.

    Args:
        values: (n,) one a candidate, NaN where unscored.
        candidates: A document that is gone was not left by the deadline.
        stop: What was asked before each batch; None without a deadline.
        there: Which candidates were to be scored and are there, if that is known already.
    """
    unscored = np.isnan(values)
    if stop is None or not unscored.any() or not (stop.said or stop()):
        return {}
    if there is None:
        documents = candidates.source.get_many(candidates.ids[unscored].tolist())
        left = sum(document is not None for document in documents)
    else:
        left = int(unscored[there].sum())
    return {"unscored": left} if left else {}
