"""`calibrate_depth`: how deep a cross-encoder must read, learnt from questions without judgements.

The order that reading everything gives is the label. Some of the questions say how the rest of a
reading that was begun could go (`stepwell.depth.completions`), the others, chosen at random, are
tests of how much doubt may be left: see `stepwell.depth.promise`.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stepwell.attempt import raised
from stepwell.candidates import Candidates, Scores, blended
from stepwell.cascade import Cascade
from stepwell.depth import Depth, described
from stepwell.depth.calibrated import OnDrift
from stepwell.depth.completions import FEWEST, Completions
from stepwell.depth.promise import check_enough, distinct, interval, last_kept, repeated
from stepwell.errors import ConfigurationError
from stepwell.models.pair_cache import CachedScorer
from stepwell.stages.cross_encoder import CrossEncoder

log = logging.getLogger("stepwell")

MOST, STEP = 100, 5
# Of the queries, those that say how the rest could read; more than this many add nothing.
_TAILS, _SHARE = 64, 1 / 3
# Repeats, as a share, from which on it matters that the promise does not count them.
_MANY = 0.1
# Of the interval of what share of queries is read deep.
_SURE = 0.99


class Curve(NamedTuple):
    """One query, read to the end.

    Attributes:
        prior: (n,) the score before, never increasing.
        values: (n,) the reranker's, in the same order.
    """

    prior: Scores
    values: Scores


def calibrate_depth(
    cascade: Cascade,
    queries: Sequence[str],
    *,
    error_rate: float = 0.05,
    confidence: float = 0.9,
    tolerance: int = 0,
    most: int = MOST,
    step: int = STEP,
    audit: float = 0.02,
    on_drift: OnDrift = "warn",
    seed: int = 0,
    pairs: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Depth:
    """Learn when the cross-encoder of a cascade may stop reading; see `Depth` for what is promised.

    Args:
        cascade: With one CrossEncoder, whose present depth does not matter.
        queries: Like those that will be asked, some hundreds; nobody need have judged them. Each
            counts once, however often it is there.
        error_rate: The most errors, as a share of distinct queries.
        confidence: Of the promise: the chance of an unlucky draw of `queries` is 1 less this.
        tolerance: How many of the top k may be others without that being an error.
        most: The full depth.
        step: Candidates read between two looks; a GPU is fed better by 16 or 32.
        audit: Share of live questions that are read to the end, to see whether the promise holds.
        on_drift: What follows an alarm: "warn", or "full" to read everything from then on.
        seed: Of the draw of queries.
        pairs: An SQLite file that keeps the scores, so that one that was interrupted goes on.
        progress: Called with the number of queries done, and of how many.

    Raises:
        ConfigurationError: There is no CrossEncoder or more than one, or it keeps all (`k=None`).
        InputError: So few queries cannot promise that; the message says what they can.
        StageError: A stage failed.
        MissingExtraError: The extra ``eval`` is missing.
    """
    at, stage = _reader(cascade)
    before, k = cascade.stages[:at], _k(stage)
    asked, again = distinct(queries), repeated(queries)
    if again >= _MANY:
        log.warning(
            "%.0f%% of the queries are repeats, which count once: the promise is of distinct "
            "queries, and says nothing of the share of all searches",
            100 * again,
        )
    check_enough(len(asked) - _tails(len(asked)), error_rate, confidence)
    whole, curves = _full(stage, most, pairs), []
    for done, query in enumerate(asked, start=1):
        curve = _curve(before, whole, query)
        if curve is not None:
            curves.append(curve)
        if progress is not None:
            progress(done, len(asked))
    return fit_depth(
        curves,
        k=k,
        blend=stage.blend,
        error_rate=error_rate,
        confidence=confidence,
        tolerance=tolerance,
        most=most,
        step=step,
        seed=seed,
        made_for=described(stage, before),
        audit=audit,
        on_drift=on_drift,
    )


def with_depth(cascade: Cascade, depth: Depth) -> Cascade:
    """The cascade whose CrossEncoder reads that deep; its stages share models and memory.

    Raises:
        ConfigurationError: The depth was calibrated with another cascade.
    """
    from stepwell.depth import Watch

    at, stage = _reader(cascade)
    reader = copy(stage)
    reader.depth, reader.watch = depth, Watch(depth)
    stages = [*cascade.stages[:at], reader, *cascade.stages[at + 1 :]]
    return Cascade(stages, name=cascade.name, on_failure=cascade.on_failure, shadow=cascade.shadow)


def fit_depth(
    curves: Sequence[Curve],
    *,
    k: int,
    blend: float,
    error_rate: float = 0.05,
    confidence: float = 0.9,
    tolerance: int = 0,
    most: int = MOST,
    step: int = STEP,
    seed: int = 0,
    made_for: dict[str, str | int | float | bool] | None = None,
    audit: float = 0.02,
    on_drift: OnDrift = "warn",
) -> Depth:
    """`calibrate_depth` from readings that are there; its arguments.

    Raises:
        InputError: They are too few.
    """
    drawn = list(curves)
    random.Random(seed).shuffle(drawn)
    count = _tails(len(drawn))
    tails, tested = drawn[:count], drawn[count:]
    check_enough(len(tested), error_rate, confidence)
    table = np.full((count, most), np.nan, dtype=np.float16)
    for row, curve in zip(table, tails):
        # In standard deviations: only the shape counts, and any reranker's fits into 16 bits.
        spread = curve.values.std()
        away = (curve.values - curve.values.mean()) / (spread if spread > 0 else 1.0)
        row[: len(away)] = away[:most]
    looks = range(k, most, step)
    trials = [
        Trial.of(curve, Completions(table), looks, k=k, blend=blend, tolerance=tolerance)
        for curve in tested
    ]
    bars = np.arange(count + 1) / count
    last, wrong = last_kept(
        (np.array([trial.wrong_at(bar) for trial in trials]) for bar in bars),
        error_rate=error_rate,
        confidence=confidence,
    )
    bar = float(bars[last]) if last >= 0 else -1.0
    read = np.array([trial.read_at(bar) for trial in trials])
    deep = int(np.median(read))
    low, high = interval(int((read > deep).sum()), len(read), _SURE)
    return Depth(
        k=k,
        most=most,
        step=step,
        tolerance=tolerance,
        error_rate=error_rate,
        confidence=confidence,
        bar=bar,
        queries=len(trials),
        errors=0 if wrong is None else int(wrong.sum()),
        read=float(read.mean()),
        deep=deep,
        deep_low=low,
        deep_high=high,
        curves=table,
        made_for=dict(made_for or {}),
        audit=audit,
        on_drift=on_drift,
    )


class Trial(NamedTuple):
    """What stopping would do to one query, at every look.

    Attributes:
        n: Candidates.
        looks: (m,) after how many it looks.
        doubt: (m,) how much doubt there is.
        wrong: (m,) whether stopping there is an error.
    """

    n: int
    looks: NDArray[np.intp]
    doubt: Scores
    wrong: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        curve: Curve,
        completions: Completions,
        looks: Sequence[int],
        *,
        k: int,
        blend: float,
        tolerance: int,
    ) -> Trial:
        """Look as often as a stage would."""
        n = len(curve.values)
        whole, _ = blended(curve.prior, curve.values, blend)
        at = [look for look in looks if look < n]
        doubt, wrong = np.ones(len(at)), np.zeros(len(at), dtype=np.bool_)
        for row, look in enumerate(at):
            outlook = completions.outlook(
                curve.prior, curve.values[:look], k=k, blend=blend, tolerance=tolerance
            )
            doubt[row] = outlook.doubt
            wrong[row] = (~np.isin(whole[:k], outlook.order[:k])).sum() > tolerance
        return cls(n, np.array(at, dtype=np.intp), doubt, wrong)

    def read_at(self, bar: float) -> int:
        """How many are read."""
        sure = np.flatnonzero(self.doubt <= bar)
        return int(self.looks[sure[0]]) if sure.size else self.n

    def wrong_at(self, bar: float) -> bool:
        """Whether the stop is an error; reading all is none."""
        sure = np.flatnonzero(self.doubt <= bar)
        return bool(sure.size and self.wrong[sure[0]])


def _tails(queries: int) -> int:
    return max(min(int(queries * _SHARE), _TAILS), min(queries, FEWEST))


def _reader(cascade: Cascade) -> tuple[int, CrossEncoder]:
    found = [(at, each) for at, each in enumerate(cascade.stages) if isinstance(each, CrossEncoder)]
    if len(found) != 1:
        raise ConfigurationError(
            f"the cascade must have one CrossEncoder among its stages, not {len(found)}, "
            "to calibrate its depth"
        )
    return found[0]


def _k(stage: CrossEncoder) -> int:
    if stage.k is None:
        raise ConfigurationError(f"stage {stage.name!r} keeps all: give it k=, the top that counts")
    return stage.k


def _full(stage: CrossEncoder, most: int, pairs: str | Path | None) -> CrossEncoder:
    whole = copy(stage)
    whole.k, whole.depth, whole.watch = None, most, None
    if pairs is not None:
        inner = stage.scorer.scorer if isinstance(stage.scorer, CachedScorer) else stage.scorer
        whole.scorer = CachedScorer(inner, path=pairs)
    return whole


def _curve(before: Sequence[object], stage: CrossEncoder, query: str) -> Curve | None:
    """A query read to the end; None where nothing was found."""
    try:
        given = Cascade(before).run(Candidates.start(query))  # type: ignore[arg-type]
        if not len(given):
            return None
        after = stage.run(given)
    except Exception as error:
        wrapped = raised(stage.name, error)
        raise wrapped from (wrapped.__cause__ or error.__cause__)
    made = dict(zip(after.ids.tolist(), after.scores[stage.name].tolist()))
    values = np.array([made[id] for id in given.ids.tolist()])
    there = np.flatnonzero(~np.isnan(values))
    return Curve(given.score[there], values[there])
