"""Whether two systems differ on the same queries, or by chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stepwell.errors import import_extra
from stepwell.evaluate.measures import Values, interval95

RESAMPLES = 9999


@dataclass(frozen=True, slots=True)
class Difference:
    """How much one mean is above another, over the same queries.

    Attributes:
        mean: Of the differences.
        interval95: Where that mean lies with 95% confidence, by bootstrap over the queries.
        p: Probability of a difference this large if both were alike.
        p_holm: The same, corrected for all comparisons that were made together.
        better: Queries whose value rose.
        worse: Queries whose value fell.
    """

    mean: float
    interval95: tuple[float, float]
    p: float
    p_holm: float
    better: int
    worse: int

    @property
    def significant(self) -> bool:
        """Whether the corrected p is below .05."""
        return self.p_holm < 0.05

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "mean": self.mean,
            "interval95": list(self.interval95),
            "p": self.p,
            "p_holm": self.p_holm,
            "better": self.better,
            "worse": self.worse,
        }


def differences(
    new: Mapping[str, Values], old: Mapping[str, Values], *, seed: int = 0
) -> dict[str, Difference]:
    """Compare values of the same queries in the same order, by name, corrected together.

    The test is the paired randomisation test, two-sided: Smucker, Allan and Carterette, A
    Comparison of Statistical Significance Tests for Information Retrieval Evaluation (CIKM 2007).
    """
    deltas = {name: new[name] - old[name] for name in new}
    ps = {name: p_value(delta, seed=seed) for name, delta in deltas.items()}
    corrected = dict(zip(ps, holm(list(ps.values()))))
    return {
        name: Difference(
            mean=round(float(delta.mean()), 6),
            interval95=_rounded(interval95(delta, seed=seed, unknown=(-1.0, 1.0))),
            p=round(ps[name], 6),
            p_holm=round(corrected[name], 6),
            better=int((delta > 0).sum()),
            worse=int((delta < 0).sum()),
        )
        for name, delta in deltas.items()
    }


def p_value(delta: Values, *, seed: int = 0) -> float:
    """The chance of a mean this far from 0 if every sign were as likely; 1 where nothing differs.

    One query proves nothing: its p is 1.
    """
    moved = delta[delta != 0]
    if len(moved) < 2:
        return 1.0
    stats = import_extra("scipy.stats", extra="eval")
    test = stats.permutation_test(
        (moved,),
        lambda values, axis: values.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=500,
        rng=np.random.default_rng(seed),
    )
    return float(test.pvalue)


def holm(ps: Sequence[float]) -> list[float]:
    """The p values corrected so that one false alarm among all of them stays as unlikely.

    Source: Holm, A Simple Sequentially Rejective Multiple Test Procedure (1979).
    """
    order = np.argsort(ps)
    steps = np.asarray(ps)[order] * np.arange(len(ps), 0, -1)
    corrected = np.empty(len(ps))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(p) for p in corrected]


def _rounded(pair: tuple[float, float]) -> tuple[float, float]:
    return round(pair[0], 6), round(pair[1], 6)
