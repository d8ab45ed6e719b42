"""One deadline over all stages: what each may spend, from what the stages took before."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from statistics import median
from typing import Any

from stepwell.candidates import Candidates
from stepwell.stage import Stage

# A median of this many forgives a cold start and follows a change of load.
REMEMBERED = 32
# Of the time that is left a recall stage may take this much: without it there is nothing to rank.
RECALL_FLOOR = 0.5
# A stage may take this much longer than usual before it is cut short.
SLACK = 2.0


class Budget:
    """Learns what the stages of a cascade take, and splits a query's deadline by it.

    Thread-safe. Copies and pickles know nothing yet.
    """

    def __init__(self) -> None:
        self._took: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Budget, ()

    def learn(self, stage: Stage, before: Candidates, after: Candidates, seconds: float) -> None:
        """Remember what a stage took; one that scored only some would have taken longer."""
        unscored = int(after.notes.get("unscored", 0))
        if unscored >= len(before) > 0:
            return
        whole = seconds * len(before) / (len(before) - unscored) if unscored else seconds
        with self._lock:
            self._took.setdefault(stage.name, deque(maxlen=REMEMBERED)).append(whole)

    def of(self, stages: Sequence[Stage], candidates: Candidates) -> float | None:
        """Seconds that the first of these stages may spend; None where there is no deadline.

        What a stage does not need is there for those after it: each is asked about when its turn
        comes. As long as a stage has not been timed, all that is left is the budget.
        """
        if candidates.deadline is None:
            return None
        left = max(candidates.deadline - time.monotonic(), 0.0)
        needs = [self._need(stage) for stage in stages]
        known = [need for need in needs if need is not None]
        if len(known) < len(needs):
            return left
        share = split(left, [SLACK * known[0], *known[1:]])
        if candidates.fresh:
            share = max(share, min(left, SLACK * known[0]), RECALL_FLOOR * left)
        return share

    def _need(self, stage: Stage) -> float | None:
        with self._lock:
            took = self._took.get(stage.name)
            return median(took) if took else None


def split(left: float, needs: Sequence[float]) -> float:
    """What the first may spend so that the others get their fair part.

    Max-min fairness (Bertsekas and Gallager, Data Networks, 1992, 6.5.2): where there is too
    little, nobody gets more than it needs, and the dearest give way first, so that cheap stages are
    whole.

    Args:
        left: Seconds for all.
        needs: Seconds that each would take, the first one's first; at least one.

    Returns:
        Seconds from 0 to `left`. What nobody needs is the first one's too.
    """
    level, rest = 0.0, left
    for waiting, need in zip(range(len(needs), 0, -1), sorted(needs)):
        level = rest / waiting
        if need > level:
            break
        rest -= need
    else:
        level = left  # enough for all
    kept = sum(min(need, level) for need in needs[1:])
    return min(max(left - kept, 0.0), left)
