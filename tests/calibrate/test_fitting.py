"""Curves are fitted as other libraries fit them, and not to what cannot be fitted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stepwell.calibrate import METHODS, fit
from stepwell.calibrator import Isotonic, Platt
from stepwell.errors import ConfigurationError, InputError

pytest.importorskip("scipy", reason="fitting needs scipy, the extra eval")


def drawn(seed: int = 0, n: int = 400, scale: float = 1.0) -> tuple[Any, Any]:
    """Logits of a known slope and intercept, and what came true."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 2, n)
    true = rng.random(n) < 1 / (1 + np.exp(-(1.5 * scores - 1.0)))
    return scores * scale, true


def test_platt_finds_the_curve_that_made_the_labels() -> None:
    """With many labels, slope and intercept are those that they were drawn with."""
    made = fit(*drawn(n=40_000))
    assert isinstance(made, Platt)
    assert (made.slope, made.intercept) == pytest.approx((1.5, -1.0), abs=0.05)


def test_platt_is_scikit_learns_logistic_regression() -> None:
    """The same probabilities as its, which has no penalty; Platt's targets move them little."""
    linear = pytest.importorskip("sklearn.linear_model", reason="the oracle is scikit-learn")
    scores, true = drawn(n=4000)
    other = linear.LogisticRegression(C=1e9).fit(scores[:, None], true)
    expected = other.predict_proba(scores[:, None])[:, 1]
    assert fit(scores, true)(scores) == pytest.approx(expected, abs=2e-3)


def test_isotonic_is_scikit_learns() -> None:
    """The same probability at each score, between them and beyond."""
    isotonic = pytest.importorskip("sklearn.isotonic", reason="the oracle is scikit-learn")
    scores, true = drawn()
    scores = scores.round(1)  # with ties
    other = isotonic.IsotonicRegression(out_of_bounds="clip").fit(scores, true)
    made = fit(scores, true, method="isotonic")
    asked = np.linspace(-9, 9, 500)
    assert made(asked) == pytest.approx(other.predict(asked), abs=1e-9)
    assert isinstance(made, Isotonic)
    assert len(made.scores) < len(np.unique(scores))


def test_scores_of_any_size_are_fitted() -> None:
    """A score times a million, or divided by it, has the same probability."""
    scores, true = drawn()
    for method in METHODS:
        expected = fit(scores, true, method=method)(scores)
        for scale in (1e-6, 1e6):
            made = fit(scores * scale + scale, true, method=method)
            assert made(scores * scale + scale) == pytest.approx(expected, abs=1e-6)


def test_a_perfect_score_stays_short_of_certain() -> None:
    """Platt's targets keep the slope finite where relevant and others do not overlap."""
    made = fit([0, 1, 2, 3], [False, False, True, True])
    assert 0.5 < made(np.array([3.0]))[0] < 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-50, 50), st.booleans()), min_size=4, max_size=60),
    st.sampled_from(METHODS),
)
def test_what_is_fitted_never_reorders(pairs: list[tuple[int, bool]], method: Any) -> None:
    """Whatever the labels: a curve from 0 to 1 that never falls, or an error that says why."""
    scores, true = np.array([a / 7 for a, _ in pairs]), np.array([b for _, b in pairs])
    try:
        made = fit(scores, true, method=method)
    except InputError:
        assume(False)
        return
    found = made(np.linspace(-10, 10, 200))
    assert (np.diff(found) >= 0).all()
    assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.parametrize(
    ("scores", "relevant", "said"),
    [
        ([], [], "no scores"),
        ([1.0, 2.0], [True], "give one each"),
        ([1.0, 2.0], [True, True], "all of the 2 candidates are relevant"),
        ([1.0, 2.0], [False, False], "none of the 2 candidates are relevant"),
        ([3.0, 3.0, 3.0], [True, False, True], "all 3 scores are 3: they tell nothing apart"),
        ([1.0, float("nan")], [True, False], "1 scores are NaN or infinite"),
        ([1.0, float("inf")], [True, False], "1 scores are NaN or infinite"),
        ([1.0, 2.0, 3.0, 4.0], [True, True, False, False], "say nothing about relevance"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_what_cannot_be_fitted_is_refused(
    scores: list[float], relevant: list[bool], said: str, method: Any
) -> None:
    """One sentence says what is missing."""
    with pytest.raises(InputError, match=said):
        fit(scores, relevant, method=method)


def test_an_unknown_method_is_refused() -> None:
    """It says which there are."""
    with pytest.raises(ConfigurationError, match="platt"):
        fit([0, 1], [False, True], method="beta")  # type: ignore[arg-type]
