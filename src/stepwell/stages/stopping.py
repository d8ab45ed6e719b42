"""When a stage stops for the deadline, and what it says of what it left."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepwell.candidates import Candidates


class Stop:
    """Whether to stop for a deadline, as a question to ask before each batch.

    A batch that would take as long as the one before, and so end too late, is not begun.

    Attributes:
        deadline: `time.monotonic()` seconds; what waits for others waits no longer than that.
        said: Whether it has said so.
    """

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.said = False
        self._asked: float | None = None

    def __call__(self) -> bool:
        """Whether it is over, or would be before the next batch is done."""
        now = time.monotonic()
        batch = 0.0 if self._asked is None else now - self._asked
        self._asked = now
        self.said = self.said or now + batch >= self.deadline
        return self.said


def stop_at(deadline: float | None) -> Stop | None:
    """The question for this deadline; None without one."""
    return None if deadline is None else Stop(deadline)


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
