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
        ece95: Where the ECE of 95% of bootstrap resamples of the queries lies. No confidence
            interval: noise raises every ECE, a resample's by more than the sample's, so that it may
            lie above both the true error and `ece`, and hardly ever holds 0.
        brier: Mean squared distance of a probability from 0 or 1.
        brier95: Where that lies with 95% confidence, by bootstrap over the queries.
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
    _, of = np.unique(query, return_inverse=True)
    at = _bin_of(probabilities)
    square = (probabilities - true) ** 2
    by_bin = [_by_query(of, each, at) for each in (None, probabilities, true)]
    by_query = [_by_query(of, each) for each in (None, square)]
    return Reliability(
        ece=round(ece(probabilities, true), 6),
        ece95=_interval(np.stack(by_bin, axis=-2), _ece_of, seed),
        brier=round(brier(probabilities, true), 6),
        brier95=_interval(np.stack(by_query, axis=-2), _brier_of, seed),
        brier_of_rate=round(rate * (1 - rate), 6),
        bins=tuple(_bins(probabilities, true)),
    )


def ece(probabilities: Values, true: Values) -> float:
    """Expected calibration error, over bins of equal mass.

    Naeini, Cooper and Hauskrecht, Obtaining Well Calibrated Probabilities Using Bayesian Binning
    (AAAI 2015); equal mass after Nixon et al., Measuring Calibration in Deep Learning (2019).
    """
    return float(_ece_of(np.stack(_sums(probabilities, true))))


def brier(probabilities: Values, true: Values) -> float:
    """Mean squared error. Brier, Verification of Forecasts Expressed in Terms of Probability."""
    return float(((probabilities - true) ** 2).mean())


def _bin_of(probabilities: Values) -> NDArray[np.intp]:
    """(n,) the bin of each; equal probabilities are in one, whatever their order."""
    edges = np.quantile(probabilities, np.linspace(0, 1, BINS + 1)[1:-1])
    return np.searchsorted(edges, probabilities, side="left")


def _sums(probabilities: Values, true: Values) -> tuple[Values, Values, Values]:
    """By bin that is not empty: how many, the sum of their probabilities, how many relevant."""
    at = _bin_of(probabilities)
    n, said, came = (np.bincount(at, each, BINS) for each in (None, probabilities, true))
    filled = n > 0
    counts, sums, hits = (np.asarray(each[filled], np.float64) for each in (n, said, came))
    return counts, sums, hits


def _bins(probabilities: Values, true: Values) -> list[Bin]:
    return [
        Bin(round(float(said / n), 6), round(float(came / n), 6), int(n))
        for n, said, came in zip(*_sums(probabilities, true))
    ]


def _by_query(
    of: NDArray[np.intp], values: Values | None, at: NDArray[np.intp] | None = None
) -> Values:
    """(queries, bins) the sums of values, or counts; one bin where none are told."""
    bins = 1 if at is None else BINS
    cell = of * bins + (0 if at is None else at)
    sums = np.bincount(cell, values, bins * (int(of.max()) + 1))
    return sums.astype(np.float64).reshape(-1, bins)


def _ece_of(sums: Values) -> Values:
    n, said, came = (sums[..., row, :] for row in range(3))
    made: Values = np.abs(said - came).sum(axis=-1) / n.sum(axis=-1)
    return made


def _brier_of(sums: Values) -> Values:
    made: Values = sums[..., 1, 0] / sums[..., 0, 0]
    return made


def _interval(
    parts: Values, statistic: Callable[[Values], Values], seed: int
) -> tuple[float, float]:
    """Where a statistic of sums over queries lies, by percentiles.

    The bins are those of the whole sample. A resample's calibration error is too high by its
    noise on top of the sample's, so that this is no confidence interval of it.

    Args:
        parts: (queries, ...) what each query adds to the sums.
        statistic: Of the sums.
        seed: Of the draws.
    """
    if len(parts) < 2:
        return 0.0, 1.0  # one query says nothing about the next
    stats = import_extra("scipy.stats", extra="eval")

    def drawn(at: NDArray[np.intp], axis: int) -> Values:
        return statistic(parts[at].sum(axis=at.ndim - 1))

    low, high = stats.bootstrap(
        (np.arange(len(parts)),),
        drawn,
        n_resamples=RESAMPLES,
        batch=100,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return round(float(low), 6), round(float(high), 6)
