"""`tune`: the best setting within a budget, and whether it is better on held-out queries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stepwell.candidates import Scores
from stepwell.errors import InputError
from stepwell.evaluate.measures import interval95
from stepwell.tune.measuring import Measure
from stepwell.tune.recording import Recording, Values
from stepwell.tune.setting import Setting

FOLDS, REPEATS = 5, 10
"""Of the cross-validation: one division of the queries says much about that division."""
# Means that differ by less are equal: then the faster is chosen.
EQUAL = 1e-9


@dataclass(frozen=True, slots=True)
class Choice:
    """A setting and what it is worth.

    Attributes:
        setting: Its options.
        value: Mean of the measure over all queries, those it was chosen by.
        ms_p50: Median of the predicted milliseconds of a query.
        ms_p95: Their 95th percentile.
    """

    setting: Setting
    value: float
    ms_p50: float
    ms_p95: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            **self.setting.to_dict(),
            "value": round(self.value, 6),
            "predicted_ms": {"p50": round(self.ms_p50, 3), "p95": round(self.ms_p95, 3)},
        }


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What choosing is worth on queries that had no part in it, by cross-validation.

    Attributes:
        value: Mean of the measure, each query answered by what the other folds chose, over ten
            divisions of the queries.
        present: That of the cascade as it was given.
        interval95: Where the mean of the difference lies with 95% confidence, paired by query.
    """

    value: float
    present: float
    interval95: tuple[float, float]

    @property
    def difference(self) -> float:
        """Chosen minus present."""
        return self.value - self.present

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        low, high = self.interval95
        return {
            "value": round(self.value, 6),
            "present": round(self.present, 6),
            "difference": round(self.difference, 6),
            "interval95": [round(low, 6), round(high, 6)],
        }


@dataclass(frozen=True, slots=True)
class Tuned:
    """What tuning found.

    Attributes:
        measure: What was maximised.
        budget_ms: What the predicted 95th percentile might be; None for any.
        queries: How many.
        settings: How many were replayed.
        present: The cascade as it was given.
        best: The best within the budget.
        front: No setting is faster and as good, from the fastest to the best.
        held_out: Whether choosing so is better than the present setting.
        values: (settings,) the mean of each.
        ms_p95: (settings,) the predicted 95th percentile of each.
    """

    measure: str
    budget_ms: float | None
    queries: int
    settings: int
    present: Choice
    best: Choice
    front: tuple[Choice, ...]
    held_out: HeldOut
    values: Scores
    ms_p95: Scores

    @property
    def verdict(self) -> Literal["better", "within budget", "not better"]:
        """Whether the best setting is recommended, and why.

        "better" than the given one on held-out queries beyond chance; if it is not, "within budget"
        where the given one is too slow, and "not better" where the given one should stay.
        """
        if self.held_out.interval95[0] > 0.0:
            return "better"
        slow = self.budget_ms is not None and self.present.ms_p95 > self.budget_ms
        return "within budget" if slow else "not better"

    @property
    def recommended(self) -> Choice:
        """The best setting, or the present one where the best was not shown to be better."""
        return self.present if self.verdict == "not better" else self.best

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "measure": self.measure,
            "budget_ms": self.budget_ms,
            "queries": self.queries,
            "settings": self.settings,
            "verdict": self.verdict,
            "present": self.present.to_dict(),
            "best": self.best.to_dict(),
            "recommended": self.recommended.to_dict(),
            "held_out": self.held_out.to_dict(),
            "front": [choice.to_dict() for choice in self.front],
        }


def tune(
    recording: Recording,
    *,
    measure: str = "nDCG@10",
    budget_ms: float | None = None,
    folds: int = FOLDS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Tuned:
    """Replay the settings of a recording and choose.

    Args:
        recording: Made by `record`.
        measure: "nDCG@k", "MRR@k" or "R@k".
        budget_ms: The most that the predicted 95th percentile of a query may be.
        folds: Of the cross-validation over queries.
        seed: Of the folds and of the bootstrap.
        progress: Called with the number of queries replayed, and of how many.

    Raises:
        InputError: There is no such measure, fewer queries than folds, or no setting is within the
            budget; the message says what the fastest takes.
        MissingExtraError: The extra `eval` is not installed.
    """
    name = str(Measure.parse(measure))
    if budget_ms is not None and not budget_ms > 0:
        raise InputError(f"the budget must be above 0 milliseconds, not {budget_ms}")
    if not 2 <= folds <= len(recording):
        raise InputError(
            f"choosing is checked on held-out queries in {folds} folds, which {len(recording)} "
            "judged queries do not fill; judge more queries"
        )
    latencies = recording.latencies()
    p95 = np.percentile(latencies, 95, axis=1)
    _check_budget(recording, p95, budget_ms)
    values = recording.values(measure, progress=progress)
    means = values.mean(axis=1)
    p50 = np.median(latencies, axis=1)

    def choice(at: int) -> Choice:
        setting = recording.settings[at]
        return Choice(setting, float(means[at]), float(p50[at]), float(p95[at]))

    return Tuned(
        measure=name,
        budget_ms=budget_ms,
        queries=len(recording),
        settings=len(recording.settings),
        present=choice(0),
        best=choice(_best(means, p95, budget_ms)),
        front=tuple(choice(at) for at in _front(means, p95)),
        held_out=_held_out(values, latencies, budget_ms, folds, seed),
        values=means,
        ms_p95=p95,
    )


def _check_budget(recording: Recording, p95: Scores, budget_ms: float | None) -> None:
    fastest = int(np.argmin(p95))
    if budget_ms is not None and p95[fastest] > budget_ms:
        raise InputError(
            f"no setting answers 95% of the queries within {budget_ms:g} ms on this machine; the "
            f"fastest, {recording.settings[fastest]}, takes {p95[fastest]:.1f} ms"
        )


def _best(means: Scores, p95: Scores, budget_ms: float | None) -> int:
    """The best within the budget, the fastest of equals; the fastest of all where none is."""
    within = np.ones(len(p95), dtype=bool) if budget_ms is None else p95 <= budget_ms
    if not within.any():
        return int(np.argmin(p95))
    top = means[within].max()
    equal = np.flatnonzero(within & (means >= top - EQUAL))
    return int(equal[np.argmin(p95[equal])])


def _front(means: Scores, p95: Scores) -> list[int]:
    """The settings that no other beats in both, the fastest first."""
    front: list[int] = []
    for at in np.lexsort((-means, p95)).tolist():
        if not front or means[at] > means[front[-1]] + EQUAL:
            front.append(at)
    return front


def _held_out(
    values: Values, latencies: Values, budget_ms: float | None, folds: int, seed: int
) -> HeldOut:
    queries = values.shape[1]
    draw = np.random.default_rng(seed)
    chosen = np.zeros(queries)
    for _ in range(REPEATS):
        shuffled = draw.permutation(queries)
        for fold in np.array_split(shuffled, folds):
            rest: NDArray[np.intp] = np.setdiff1d(shuffled, fold)
            p95 = np.percentile(latencies[:, rest], 95, axis=1)
            best = _best(values[:, rest].mean(axis=1), p95, budget_ms)
            chosen[fold] += values[best, fold] / REPEATS
    gained = chosen - values[0]
    return HeldOut(
        value=float(chosen.mean()),
        present=float(values[0].mean()),
        interval95=interval95(gained, seed=seed) if np.abs(gained).max() > EQUAL else (0.0, 0.0),
    )
