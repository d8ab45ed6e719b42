"""`MinScore`: keep what reaches a score."""

from __future__ import annotations

import math

import numpy as np

from stepwell.candidates import Candidates
from stepwell.errors import ConfigurationError
from stepwell.meaning import Meaning
from stepwell.stages.needs import need_candidates


class MinScore:
    """Keeps the candidates whose score is at least the threshold.

    What a stage did not score does not pass a threshold on that stage's score; when that stage did
    not run at all (it failed, or the deadline was over), nothing is cut and the trace says so. An
    answer that is empty while some were not scored says how many (`Result.empty_because`).

    What a threshold means depends on the score's kind (`stepwell.meaning`): one that is relative to
    the query's candidates, as after a blend or a fusion, is high for the best even where nothing is
    relevant. A threshold for all queries goes on a probability, see `Probability`.

    Args:
        threshold: The least score that passes.
        of: The stage whose raw score counts; None for the score that orders the candidates, which
            is from 0 to 1 after a blend.
        name: Shown in the trace.

    Raises:
        ConfigurationError: The threshold is not a finite number, or, with a query, is above 1 where
            scores are from 0 to 1.
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

    def _check(self, kind: Meaning | None) -> None:
        if kind in ("probability", "relative") and self.threshold > 1.0:
            whose = "the score" if self.of is None else f"the score of {self.of}"
            raise ConfigurationError(
                f"{whose} is a {kind} one, from 0 to 1: none reaches {self.threshold:g}"
            )

    def run(self, candidates: Candidates, /) -> Candidates:
        """Cut."""
        need_candidates(candidates, self.name)
        self._check(candidates.kind if self.of is None else candidates.kinds.get(self.of))
        if self.of is None:
            passes = candidates.score >= self.threshold
            return candidates.keep(passes, reason=f"score below {self.threshold:g}")
        column = candidates.scores.get(self.of)
        if column is None:
            return candidates.noted(not_applied=f"{self.of} did not run")
        scored = ~np.isnan(column)
        why = f"{self.of} score below {self.threshold:g}"
        kept = candidates.keep(scored, reason=f"not scored by {self.of}")
        kept = kept.keep(column[scored] >= self.threshold, reason=why)
        if len(kept) or scored.all():
            return kept
        return kept.noted(
            nothing=f"none of those read passed: {why}", not_read=int((~scored).sum())
        )
