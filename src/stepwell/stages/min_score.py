"""`MinScore`: keep what reaches a score."""

from __future__ import annotations

import math

import numpy as np

from stepwell.candidates import Candidates
from stepwell.errors import ConfigurationError
from stepwell.stages.needs import need_candidates


class MinScore:
    """Keeps the candidates whose score is at least the threshold.

    What a stage did not score does not pass a threshold on that stage's score; when that stage did
    not run at all (it failed, or the deadline was over), nothing is cut and the trace says so.

    Args:
        threshold: The least score that passes.
        of: The stage whose raw score counts; None for the score that orders the candidates, which
            is from 0 to 1 after a blend.
        name: Shown in the trace.

    Raises:
        ConfigurationError: The threshold is not a finite number.
    """

    decides = True
    computes = True
    guards = True

    def __init__(self, threshold: float, *, of: str | None = None, name: str = "min-score") -> None:
        try:
            finite = math.isfinite(threshold)
        except TypeError:
            finite = False
        if not finite:
            raise ConfigurationError(f"a threshold must be a finite number, not {threshold!r}")
        self.name = name
        self.threshold = float(threshold)
        self.of = of

    def __repr__(self) -> str:
        return f"MinScore({self.threshold:g}{f', of={self.of!r}' if self.of else ''})"

    def run(self, candidates: Candidates, /) -> Candidates:
        """Cut."""
        need_candidates(candidates, self.name)
        if self.of is None:
            passes = candidates.score >= self.threshold
            return candidates.keep(passes, reason=f"score below {self.threshold:g}")
        column = candidates.scores.get(self.of)
        if column is None:
            return candidates.noted(not_applied=f"{self.of} did not run")
        scored = candidates.keep(~np.isnan(column), reason=f"not scored by {self.of}")
        left = column[~np.isnan(column)]
        return scored.keep(
            left >= self.threshold, reason=f"{self.of} score below {self.threshold:g}"
        )
