"""Fit a curve from scores to probabilities.

By scipy, which the extra `eval` brings anyway: its isotonic regression is the whole of that method,
and Platt's is two numbers that its optimiser finds. scikit-learn has both, at four times the size
of all that the extra holds; the tests compare with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stepwell.calibrator import Curve, Isotonic, Platt
from stepwell.errors import ConfigurationError, InputError, import_extra

Method: TypeAlias = Literal["platt", "isotonic"]
METHODS: tuple[Method, ...] = get_args(Method)


def fit(scores: ArrayLike, relevant: ArrayLike, *, method: Method = "platt") -> Curve:
    """The curve that fits best.

    Args:
        scores: (n,) finite.
        relevant: (n,) which of them are of relevant candidates.
        method: "platt" for the logistic function, which needs little data; "isotonic" for steps of
            any shape, which need more.

    Raises:
        ConfigurationError: There is no such method.
        InputError: A score is not finite, all are equal, all or none are relevant, or relevant
            candidates do not score higher than others.
        MissingExtraError: The extra `eval` is not installed.
    """
    if method not in METHODS:
        raise ConfigurationError(f"method must be one of {METHODS}, not {method!r}")
    values = np.asarray(scores, dtype=np.float64)
    true = np.asarray(relevant, dtype=bool)
    _check(values, true)
    made: Curve = _platt(values, true) if method == "platt" else _isotonic(values, true)
    return made


def _check(values: NDArray[np.float64], true: NDArray[np.bool_]) -> None:
    if values.ndim != 1 or values.shape != true.shape:
        raise InputError(f"{values.shape} scores came with {true.shape} labels; give one each")
    if not len(values):
        raise InputError("there are no scores to fit")
    if not np.isfinite(values).all():
        raise InputError(f"{int((~np.isfinite(values)).sum())} scores are NaN or infinite")
    if true.all() or not true.any():
        which = "all" if true.all() else "none"
        raise InputError(f"{which} of the {len(true)} candidates are relevant: it takes both kinds")
    if values.min() == values.max():
        raise InputError(f"all {len(values)} scores are {values[0]:g}: they tell nothing apart")


def _platt(values: NDArray[np.float64], true: NDArray[np.bool_]) -> Platt:
    """By Newton's method, with Platt's targets, which keep the slope finite.

    Source: Lin, Lin and Weng, A Note on Platt's Probabilistic Outputs (2007).
    """
    optimize = import_extra("scipy.optimize", extra="eval")
    positive, negative = int(true.sum()), int((~true).sum())
    target = np.where(true, (positive + 1) / (positive + 2), 1 / (negative + 2))
    # Scores of any size, moved to where the optimiser takes even steps.
    middle, width = values.mean(), values.std()
    if not width > 0:
        raise InputError("the scores differ too little to be told apart in float64")
    x = np.column_stack([(values - middle) / width, np.ones_like(values)])
    found = optimize.minimize(
        _loss(x, target),
        np.array([1.0, np.log((positive + 1) / (negative + 1))]),
        jac=True,
        hess=_curvature(x),
        method="trust-exact",
        options={"gtol": 1e-8},
    )
    slope = float(found.x[0] / width)
    if not slope > 0:
        raise _upside_down()
    return Platt(slope, float(found.x[1] - slope * middle))


def _loss(x: NDArray[np.float64], target: NDArray[np.float64]) -> Callable[..., Any]:
    """The mean cross entropy of the logistic function, with its slope."""

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z = x @ weights
        value = float((np.logaddexp(0.0, z) - target * z).mean())
        return value, x.T @ (_sigmoid(z) - target) / len(z)

    return loss


def _curvature(x: NDArray[np.float64]) -> Callable[..., Any]:
    def curvature(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        p = _sigmoid(x @ weights)
        return (x * (p * (1 - p))[:, None]).T @ x / len(x)

    return curvature


def _sigmoid(z: NDArray[np.float64]) -> NDArray[np.float64]:
    made: NDArray[np.float64] = np.exp(-np.logaddexp(0.0, -z))
    return made


def _isotonic(values: NDArray[np.float64], true: NDArray[np.bool_]) -> Isotonic:
    optimize = import_extra("scipy.optimize", extra="eval")
    # Equal scores get one probability, or their order would be made up.
    scores, at, counts = np.unique(values, return_inverse=True, return_counts=True)
    share = np.bincount(at, weights=true) / counts
    level = np.clip(optimize.isotonic_regression(share, weights=counts).x, 0.0, 1.0)
    level = np.maximum.accumulate(level)
    if level[0] == level[-1]:
        raise _upside_down()
    # Of each step only its two ends: all between them lies on the line.
    inner = (np.diff(level, prepend=np.nan) == 0) & (np.diff(level, append=np.nan) == 0)
    return Isotonic(tuple(scores[~inner].tolist()), tuple(level[~inner].tolist()))


def _upside_down() -> InputError:
    return InputError(
        "relevant candidates do not score higher than others: these scores say nothing about "
        "relevance, and no calibration would make them"
    )
