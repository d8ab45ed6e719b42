"""How far probabilities are from what came true."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stepwell.errors import import_extra

Values: TypeAlias = NDArray[np.float64]
BINS = 10
RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Bin:
    """Candidates of about the same probability.

    Attributes:
        said: Mean of the probabilities.
        true: The share that is relevant.
        n: How many candidates.
    """

    said: float
    true: float
    n: int


@dataclass(frozen=True, slots=True)
class Reliability:
    """Probabilities against what came true.

    Attributes:
        ece: Expected calibration error: the mean distance of a bin's probability from its share of
            relevant candidates, over bins of as many candidates each.
        ece95: Where it lies with 95% confidence, by bootstrap over the queries.
        brier: Mean squared distance of a probability from 0 or 1.
        brier95: Where that lies.
        brier_of_rate: The same if all had one probability, the share of relevant candidates: what
            the scores must beat to say anything.
        bins: From the least probable to the most.
    """

    ece: float
    ece95: tuple[float, float]
    brier: float
    brier95: tuple[float, float]
    brier_of_rate: float
    bins: tuple[Bin, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def reliability(
    probabilities: Values, relevant: NDArray[np.bool_], query: NDArray[np.intp], *, seed: int = 0
) -> Reliability:
    """Measure probabilities.

    Args:
        probabilities: (n,) from 0 to 1.
        relevant: (n,) what came true.
        query: (n,) the query that each is of, which the bootstrap draws whole.
        seed: Of the bootstrap.

    Raises:
        MissingExtraError: The extra `eval` is not installed.
    """
    true = relevant.astype(np.float64)
    rate = float(true.mean())
    rows = _rows_of(query)

    def over(measure: Callable[[Values, Values], float]) -> tuple[float, float]:
        def drawn(queries: NDArray[np.intp]) -> float:
            at = np.concatenate([rows[each] for each in queries])
            return measure(probabilities[at], true[at])

        return _interval(len(rows), drawn, seed)

    return Reliability(
        ece=round(ece(probabilities, true), 6),
        ece95=over(ece),
        brier=round(brier(probabilities, true), 6),
        brier95=over(brier),
        brier_of_rate=round(rate * (1 - rate), 6),
        bins=tuple(_bins(probabilities, true)),
    )


def ece(probabilities: Values, true: Values) -> float:
    """Expected calibration error, over bins of equal mass.

    Naeini, Cooper and Hauskrecht, Obtaining Well Calibrated Probabilities Using Bayesian Binning
    (AAAI 2015); equal mass after Nixon et al., Measuring Calibration in Deep Learning (2019).
    """
    n, said, came = _sums(probabilities, true)
    return float(np.abs(said - came).sum() / n.sum())


def brier(probabilities: Values, true: Values) -> float:
    """Mean squared error. Brier, Verification of Forecasts Expressed in Terms of Probability."""
    return float(((probabilities - true) ** 2).mean())


def _sums(probabilities: Values, true: Values) -> tuple[Values, Values, Values]:
    """By bin: how many, the sum of their probabilities, how many are relevant.

    Equal probabilities are in one bin, whatever their order.
    """
    edges = np.quantile(probabilities, np.linspace(0, 1, BINS + 1)[1:-1])
    at = np.searchsorted(edges, probabilities, side="left")
    sums = [np.bincount(at, weights, BINS) for weights in (None, probabilities, true)]
    filled = sums[0] > 0
    n, said, came = (np.asarray(each[filled], dtype=np.float64) for each in sums)
    return n, said, came


def _bins(probabilities: Values, true: Values) -> list[Bin]:
    return [
        Bin(round(float(said / n), 6), round(float(came / n), 6), int(n))
        for n, said, came in zip(*_sums(probabilities, true))
    ]


def _rows_of(query: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    order = np.argsort(query, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(query[order])) + 1)


def _interval(
    queries: int, drawn: Callable[[NDArray[np.intp]], float], seed: int
) -> tuple[float, float]:
    """Bias-corrected and accelerated: a resample's calibration error is too high by its noise.

    Source: Efron, Better Bootstrap Confidence Intervals (1987).
    """
    if queries < 2:
        return 0.0, 1.0  # one query says nothing about the next
    stats = import_extra("scipy.stats", extra="eval")
    options = {"n_resamples": RESAMPLES, "vectorized": False}
    sample = (np.arange(queries),)
    low = high = np.nan
    if len({drawn(np.delete(sample[0], at)) for at in range(queries)}) > 1:
        rng = np.random.default_rng(seed)
        found = stats.bootstrap(sample, drawn, method="BCa", rng=rng, **options)
        low, high = found.confidence_interval
    if not (np.isfinite(low) and np.isfinite(high)):
        rng = np.random.default_rng(seed)
        found = stats.bootstrap(sample, drawn, method="percentile", rng=rng, **options)
        low, high = found.confidence_interval
    return round(float(low), 6), round(float(high), 6)
