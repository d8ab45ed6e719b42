"""Calibrate a cascade on judged queries, and say how far its probabilities can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stepwell.calibrate.abstaining import Abstaining, abstaining
from stepwell.calibrate.fitting import METHODS, Method, fit
from stepwell.calibrate.scored import Pool, gather, without_probability
from stepwell.calibrator import Calibrator, Curve
from stepwell.cascade import Cascade
from stepwell.errors import ConfigurationError, InputError
from stepwell.evaluate.dataset import Dataset
from stepwell.evaluate.reliability import Reliability, reliability
from stepwell.meaning import WITHIN_A_QUERY
from stepwell.stages.probability import Probability

Choice: TypeAlias = Literal["platt", "isotonic", "auto"]
Values: TypeAlias = NDArray[np.float64]
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Calibration:
    """What calibrating found.

    Attributes:
        dataset: Its name.
        calibrator: Fitted to all queries, or the one that was checked.
        cascade: With a `Probability` stage at its end.
        queries: How many were asked.
        before: The scores read as probabilities as they are; None for a kind without a reading.
        after: The probabilities. Of a fit, each by a curve that did not see its query.
        by_method: `after` of each method that was tried; empty where nothing was fitted.
        abstaining: What thresholds do; None where no query lacks an answer.
        folds: Parts that the queries were divided into; 0 where nothing was fitted.
        remarks: What a reader must know of the numbers.
    """

    dataset: str
    calibrator: Calibrator
    cascade: Cascade = field(repr=False)
    queries: int
    before: Reliability | None
    after: Reliability
    by_method: Mapping[str, Reliability]
    abstaining: Abstaining | None
    folds: int
    remarks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "dataset": self.dataset,
            "calibrator": self.calibrator.to_dict(),
            "queries": self.queries,
            "folds": self.folds,
            "before": None if self.before is None else self.before.to_dict(),
            "after": self.after.to_dict(),
            "by_method": {name: each.to_dict() for name, each in self.by_method.items()},
            "abstaining": None if self.abstaining is None else self.abstaining.to_dict(),
            "remarks": list(self.remarks),
        }


def calibrate(
    cascade: Cascade,
    dataset: Dataset,
    *,
    stage: str | None = None,
    method: Choice = "auto",
    at_least: float | None = None,
    judged_only: bool = False,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Calibration:
    """Fit probabilities of relevance to the candidates that a cascade answers.

    A probability is that of a candidate of this cascade at its depths, on queries like these:
    calibrate again when either changes. It is measured by cross-validation over queries: no curve
    is measured on a query that it was fitted to.

    Args:
        cascade: Its last stage decides how many candidates of a query there are.
        dataset: Judged queries; those without a relevant document count too.
        stage: Whose scores; by default the last stage's that scores.
        method: "platt", "isotonic", or "auto" for the one with the lower Brier score.
        at_least: Leave out what is less probable; None leaves all.
        judged_only: Whether candidates that nobody judged are left out, in place of counting as not
            relevant.
        seed: Of the folds and the bootstrap.
        progress: Called with the number of queries done.

    Raises:
        ConfigurationError: The method, the stage or `at_least` is none.
        InputError: The labels, or the scores, do not suffice; the message says what is missing.
        MissingExtraError: The extra `eval` is not installed.
    """
    if method not in (*METHODS, "auto"):
        raise ConfigurationError(f"method must be platt, isotonic or auto, not {method!r}")
    pool = gather(cascade, dataset, stage=stage, judged_only=judged_only, progress=progress)
    fold = _folds(pool, seed)
    tried: tuple[Method, ...] = METHODS if method == "auto" else (method,)
    unseen = {each: _unseen(pool, fold, each) for each in tried}
    found: dict[str, Reliability] = {
        each: reliability(values, pool.relevant, pool.query, seed=seed)
        for each, values in unseen.items()
    }
    best = min(tried, key=lambda each: found[each].brier)
    calibrator = _calibrator(pool, dataset, fit(pool.scores, pool.relevant, method=best))
    return Calibration(
        dataset=dataset.name,
        calibrator=calibrator,
        cascade=calibrated(cascade, calibrator, at_least=at_least),
        queries=len(pool.ids),
        before=_before(pool, seed),
        after=found[best],
        by_method=found,
        abstaining=abstaining(unseen[best], pool.query, pool.answerable, at_least=at_least),
        folds=int(fold.max()) + 1,
        remarks=_remarks(pool, judged_only),
    )


def check(
    cascade: Cascade,
    dataset: Dataset,
    *,
    judged_only: bool = False,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Calibration:
    """Measure the calibrator that a cascade has, on other queries than it was fitted to.

    Args:
        cascade: With a `Probability` stage; candidates below its threshold are measured too.
        dataset: As in `calibrate`.
        judged_only: As in `calibrate`.
        seed: Of the bootstrap.
        progress: As in `calibrate`.

    Raises:
        ConfigurationError: The cascade has no `Probability` stage.
        InputError: As in `calibrate`.
        MissingExtraError: The extra `eval` is not installed.
    """
    last = next((each for each in reversed(cascade.stages) if isinstance(each, Probability)), None)
    if last is None:
        raise ConfigurationError("the cascade is not calibrated: it has no Probability stage")
    fitted = last.calibrator
    pool = gather(cascade, dataset, stage=fitted.stage, judged_only=judged_only, progress=progress)
    values = fitted.probabilities(pool.scores)
    after = reliability(values, pool.relevant, pool.query, seed=seed)
    return Calibration(
        dataset=dataset.name,
        calibrator=fitted,
        cascade=cascade,
        queries=len(pool.ids),
        before=_before(pool, seed),
        after=after,
        by_method={},
        abstaining=abstaining(values, pool.query, pool.answerable, at_least=last.at_least),
        folds=0,
        remarks=_remarks(pool, judged_only),
    )


def calibrated(
    cascade: Cascade, calibrator: Calibrator, *, at_least: float | None = None
) -> Cascade:
    """The cascade with these probabilities at its end, in place of any it had."""
    bare = without_probability(cascade)
    last = Probability(calibrator, at_least=at_least)
    return Cascade(
        [*bare.stages, last], name=bare.name, on_failure=bare.on_failure, shadow=cascade.shadow
    )


def _folds(pool: Pool, seed: int) -> NDArray[np.intp]:
    """(n,) the part that each candidate's query is in."""
    asked, at = np.unique(pool.query, return_inverse=True)
    hits = np.bincount(at, weights=pool.relevant)
    if len(asked) < 2 or np.count_nonzero(hits) < 2:
        raise InputError(
            f"{len(asked)} queries have candidates, and {np.count_nonzero(hits)} a relevant one: "
            "it takes two, as none is measured by a curve that was fitted to it"
        )
    parts = min(FOLDS, int(np.count_nonzero(hits)))
    part = np.empty(len(asked), dtype=np.intp)
    rng = np.random.default_rng(seed)
    # Those with a relevant candidate are dealt out first, so that every part has some.
    dealt = [*rng.permutation(np.flatnonzero(hits)), *rng.permutation(np.flatnonzero(hits == 0))]
    part[dealt] = np.arange(len(asked)) % parts
    return part[at]


def _unseen(pool: Pool, fold: NDArray[np.intp], method: Method) -> Values:
    """(n,) each candidate's probability by a curve fitted to the other parts."""
    values = np.empty(len(pool))
    for part in range(int(fold.max()) + 1):
        held = fold == part
        try:
            curve: Curve = fit(pool.scores[~held], pool.relevant[~held], method=method)
        except InputError as error:
            fit(pool.scores, pool.relevant, method=method)  # its error, where all cannot be either
            asked, found = len(np.unique(pool.query[~held])), int(pool.relevant[~held].sum())
            raise InputError(
                f"the error is measured by cross-validation, and without part {part + 1} of "
                f"{int(fold.max()) + 1} the other {asked} queries, with {found} relevant "
                f"candidates, cannot be fitted: {error}; all queries together can be, so there "
                "are too few: judge more"
            ) from error
        values[held] = curve(pool.scores[held])
    return values


def _before(pool: Pool, seed: int) -> Reliability | None:
    if pool.as_it_is is None:
        return None
    return reliability(pool.as_it_is, pool.relevant, pool.query, seed=seed)


def _calibrator(pool: Pool, dataset: Dataset, curve: Curve) -> Calibrator:
    return Calibrator(
        curve=curve,
        stage=pool.stage,
        kind=pool.kind,
        model=pool.model,
        depth=pool.depth,
        dataset=dataset.name,
        queries=len(pool.ids),
        candidates=len(pool),
        relevant=int(pool.relevant.sum()),
    )


FEW = 30
"""Queries, or candidates of either class; with fewer, other queries would give another curve."""


def _remarks(pool: Pool, judged_only: bool) -> tuple[str, ...]:
    found = []
    relevant = int(pool.relevant.sum())
    if min(len(pool.ids), relevant, len(pool) - relevant) < FEW:
        found.append(
            f"too few to rely on: {len(pool.ids)} queries, {relevant} relevant candidates and "
            f"{len(pool) - relevant} others; judge until there are {FEW} of each, better ten times "
            "as many"
        )
    if pool.unjudged and judged_only:
        found.append(f"{pool.unjudged} candidates left out that nobody judged")
    elif pool.unjudged:
        found.append(
            f"{pool.unjudged} candidates that nobody judged count as not relevant: where judges "
            "saw little, the true probabilities are higher"
        )
    if pool.unscored:
        found.append(f"{pool.unscored} candidates left out that {pool.stage} did not score")
    if pool.degraded:
        found.append(f"{pool.degraded} answers were degraded: not all of the cascade did its work")
    if pool.kind in WITHIN_A_QUERY:
        found.append(
            f"the scores of {pool.stage} compare the candidates of one query: they cannot tell "
            "that nothing is relevant; name a stage whose model scores each candidate by itself"
        )
    return tuple(found)
