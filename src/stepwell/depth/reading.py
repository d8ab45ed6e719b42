"""One query's passages, read best first in parts, until it is known what the top will be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepwell.candidates import Candidates, Scores, below, blended
from stepwell.depth.calibrated import Depth
from stepwell.depth.completions import Outlook
from stepwell.models.protocols import PairScores


class Reading:
    """What to read next, and what was made of it.

    Args:
        n: Passages there are.
        depth: Says when to stop; None reads all at once.
        prior: (n,) the score before, of those passages, never increasing.
        blend: Weight of the new score against it.
        through: Whether all is read whatever is found.

    Attributes:
        outlook: Where it stopped, or would have; None where it never was sure enough.
    """

    def __init__(
        self, n: int, depth: Depth | None, prior: Scores, blend: float, *, through: bool = False
    ) -> None:
        self.n, self.depth, self.through = n, depth, through
        self.outlook: Outlook | None = None
        self._prior, self._blend = prior, blend
        self._parts: list[PairScores] = []
        self._at = 0
        self._ended = False

    @property
    def confident(self) -> bool:
        """Whether it stopped because it was sure."""
        return self.outlook is not None and self._at < self.n and not self.through

    @property
    def whole(self) -> bool:
        """Whether every passage was read."""
        return self._at == self.n and not self._ended

    @property
    def read(self) -> int:
        """How many were asked for so far."""
        return self._at

    @property
    def scored(self) -> int:
        """How many have a score."""
        return sum(int((~np.isnan(each.values)).sum()) for each in self._parts)

    @property
    def stopped(self) -> int:
        """After how many it was sure; all where it never was."""
        return self.n if self.outlook is None else len(self.outlook.order)

    def next(self) -> slice | None:
        """The passages to read now; None when it is over."""
        if self._ended or self.confident or (self._parts and self._at >= self.n):
            return None
        if self.depth is None:
            return slice(0, self.n)
        first = self.depth.k if self._at == 0 else self._at + self.depth.step
        return slice(self._at, min(first, self.n))

    def put(self, part: slice, made: PairScores) -> None:
        """Take what a scorer made of them; what it left unscored ends it."""
        self._parts.append(made)
        self._at = part.stop
        if made.failure is not None or np.isnan(made.values).any():
            self._ended = True
        elif self.depth is not None and self._at < self.n and self.outlook is None:
            self._look(self.depth)

    def made(self) -> PairScores:
        """All of it; NaN where nothing was read."""
        if len(self._parts) == 1 and self._at == self.n:
            return self._parts[0]
        rest = self.n - self._at
        return PairScores(
            np.concatenate(
                [
                    *(np.asarray(each.values, np.float32) for each in self._parts),
                    np.full(rest, np.nan, np.float32),
                ]
            ),
            sum(each.truncated for each in self._parts),
            sum(each.windows for each in self._parts),
            cut=_joined([each.cut for each in self._parts], rest),
            passes=_joined([each.passes for each in self._parts], rest),
            failure=self._parts[-1].failure,
        )

    @property
    def wrong(self) -> bool:
        """Whether stopping would have been an error; only where all is read."""
        if self.outlook is None or self.depth is None:
            return False
        order, _ = blended(self._prior, self._values(), self._blend)
        kept = self.outlook.order[: self.depth.k]
        missing = ~np.isin(order[: self.depth.k], kept)
        return int(missing.sum()) > self.depth.tolerance

    def reordered(self, scored: Candidates, given: Candidates, there: Sequence[int]) -> Candidates:
        """The candidates by the scores that are expected once all is read.

        Args:
            scored: With the new column, in any order.
            given: As they came.
            there: Which of those the passages are of.
        """
        if self.outlook is None or not self.confident or self._blend == 1.0:
            return scored
        first = np.asarray(there, dtype=np.intp)[self.outlook.order]
        rest = np.setdiff1d(np.arange(len(given)), first)
        score = self.outlook.score
        place = {id: at for at, id in enumerate(scored.ids.tolist())}
        order = [place[id] for id in given.ids[np.concatenate([first, rest])].tolist()]
        return scored.reordered(order, np.concatenate([score, below(given.score[rest], score)]))

    def _look(self, depth: Depth) -> None:
        outlook = depth.completions.outlook(
            self._prior, self._values(), k=depth.k, blend=self._blend, tolerance=depth.tolerance
        )
        if outlook.doubt <= depth.bar:
            self.outlook = outlook

    def _values(self) -> Scores:
        return np.concatenate([each.values for each in self._parts]).astype(np.float64)


def _joined(parts: Sequence[NDArray[Any] | None], rest: int) -> NDArray[Any] | None:
    known = [each for each in parts if each is not None]
    if len(known) < len(parts):
        return None
    return np.concatenate([*known, np.zeros(rest, dtype=known[0].dtype)])
