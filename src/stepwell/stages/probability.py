"""`Probability`: a calibrated probability of relevance beside a stage's scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from stepwell.calibrator import Calibrator
from stepwell.candidates import Candidates, Scores
from stepwell.errors import ConfigurationError
from stepwell.meaning import Meaning
from stepwell.stage import Stage
from stepwell.stages.needs import need_candidates


class Probability:
    """Says how probable it is that each candidate is relevant, and may leave out the improbable.

    The probabilities are a column of their own: order and score stay as they are. With `at_least`,
    candidates below it, or without a score, are left out; when that is all of them the answer is
    empty and says that nothing was relevant (`Result.empty_because`), or, where some had no score,
    that nothing was among those read, and how many were not. That is an answer, and not `degraded`
    unless a deadline or a failure left them. When the stage that is read did not run, or scored
    nothing, nothing is left out and the trace says so.

    Args:
        calibrator: As `stepwell.calibrate` fits it, or a table of a cascade file.
        at_least: The least probability that passes, 0 to 1; None lets all pass.
        name: The column the probabilities are kept under.

    Raises:
        ConfigurationError: `at_least` is no probability, or, as a cascade is built, the calibrator
            was fitted to another stage, model or kind of score.
    """

    kind: Meaning = "probability"
    computes = True
    guards = True

    def __init__(
        self, calibrator: Calibrator, *, at_least: float | None = None, name: str = "probability"
    ) -> None:
        if not isinstance(calibrator, Calibrator):
            what = type(calibrator).__name__
            raise ConfigurationError(f"stage {name!r} needs a Calibrator, not a {what}")
        if at_least is not None and not (_is_number(at_least) and 0.0 <= at_least <= 1.0):
            raise ConfigurationError(f"at_least must be a probability, 0 to 1, not {at_least!r}")
        self.name = name
        self.calibrator = calibrator
        self.at_least = None if at_least is None else float(at_least)
        self.of = calibrator.stage
        self.decides = at_least is not None

    def __repr__(self) -> str:
        least = "" if self.at_least is None else f", at_least={self.at_least:g}"
        return f"Probability({self.calibrator.method!r}, of={self.of!r}{least})"

    def check_after(self, stages: Sequence[Stage], /) -> None:
        """Refuse scores that the calibrator was not fitted to."""
        found = next((each for each in _all(stages) if each.name == self.of), None)
        if found is None:
            return  # the column came with brought documents, or is refused by the cascade
        fitted = self.calibrator
        model = model_of(found)
        if fitted.model and model and model != fitted.model:
            raise ConfigurationError(
                f"the calibrator was fitted to {fitted.model!r}, but stage {self.of!r} has "
                f"{model!r}; run stepwell calibrate on this cascade"
            )
        self._check_kind(getattr(found, "kind", None))

    def run(self, candidates: Candidates, /) -> Candidates:
        """Add the column, and cut."""
        need_candidates(candidates, self.name)
        column = candidates.scores.get(self.of)
        if column is None or np.isnan(column).all():
            return candidates.noted(not_applied=f"{self.of} did not score")
        self._check_kind(candidates.kinds.get(self.of))
        values = self.calibrator.probabilities(column)
        # Not a new order: the column stands beside the score that there is.
        beside = candidates.with_column(self.name, values, kind=self.kind)
        deeper = int((~np.isnan(column)).sum())
        if 0 < self.calibrator.depth < deeper:
            beside = beside.noted(calibrated_for=self.calibrator.depth, scored=deeper)
        return beside if self.at_least is None else self._cut(beside, values, self.at_least)

    def _cut(self, candidates: Candidates, values: Scores, least: float) -> Candidates:
        scored = ~np.isnan(values)
        kept = candidates.keep(scored, reason=f"not scored by {self.of}")
        passes = values[scored] >= least
        kept = kept.keep(passes, reason=f"probability below {least:g}")
        if passes.any():
            return kept
        best = float(values[scored].max())
        why = f"probability below {least:g} (best {best:.3g})"
        if scored.all():
            return kept.noted(nothing=f"nothing relevant: {why}")
        unread = int((~scored).sum())
        return kept.noted(nothing=f"nothing relevant among those read: {why}", not_read=unread)

    def _check_kind(self, kind: Meaning | None) -> None:
        fitted = self.calibrator.kind
        if fitted is not None and kind is not None and kind != fitted:
            raise ConfigurationError(
                f"the calibrator was fitted to scores of the kind {fitted!r}, but those of "
                f"{self.of!r} are of the kind {kind!r}; run stepwell calibrate on this cascade"
            )


def model_of(stage: Any) -> str:
    """What makes a stage's scores, by name; empty where that is nothing, or not known yet."""
    inner = getattr(stage, "stage", None)
    if inner is not None:
        return model_of(inner)
    if hasattr(stage, "corpus") and stage.corpus is None and hasattr(stage, "encoder"):
        return ""  # read without its corpus, whose encoder it will have
    made_by = getattr(stage, "scorer", None) or getattr(stage, "encoder", None)
    return str(getattr(made_by, "name", ""))


def _all(stages: Sequence[Stage]) -> Iterator[Stage]:
    for stage in stages:
        yield stage
        yield from _all((*getattr(stage, "arms", ()), *getattr(stage, "stages", ())))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
