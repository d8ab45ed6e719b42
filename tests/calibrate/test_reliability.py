"""Calibration error is what it says, and its interval is over queries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.calibrate import reliability
from stepwell.calibrate.abstaining import abstaining
from stepwell.evaluate.reliability import brier, ece
from stepwell.evaluate.sheets import ECE_NOTE, ERRORS

pytest.importorskip("scipy", reason="intervals need scipy, the extra eval")


def test_the_error_is_the_mean_distance_of_the_bins() -> None:
    """Two bins of equal probabilities, said .8 and .1, true .5 and .1."""
    said = np.array([0.8] * 10 + [0.1] * 10)
    true = np.array([1.0] * 5 + [0.0] * 5 + [1.0] + [0.0] * 9)
    assert ece(said, true) == pytest.approx(0.15)
    assert brier(said, true) == pytest.approx((0.34 * 10 + 0.09 * 10) / 20)


@given(st.permutations(range(40)))
def test_the_order_of_candidates_changes_nothing(order: list[int]) -> None:
    """Equal probabilities are in one bin, so it does not matter which comes first."""
    said = np.repeat([0.1, 0.2, 0.2, 0.9], 10)
    true = np.tile([0.0, 1.0, 0.0, 0.0, 1.0], 8)
    assert ece(said[order], true[order]) == pytest.approx(ece(said, true))


def test_what_is_calibrated_has_a_small_error() -> None:
    """Labels drawn by their own probability: the error is small, and the squared one larger."""
    rng = np.random.default_rng(0)
    said = rng.random(20_000)
    true = rng.random(20_000) < said
    found = reliability(said[:4000], true[:4000], np.arange(4000) // 10)
    assert found.ece < 0.03
    assert 0 < found.ece95[0] < found.ece95[1] < 0.06
    assert found.brier95[0] < found.brier < found.brier95[1]
    wrong = reliability(said[:4000] ** 3, true[:4000], np.arange(4000) // 10)
    assert wrong.ece > 0.2
    assert wrong.brier > found.brier
    assert sum(each.n for each in found.bins) == 4000


def test_queries_are_drawn_whole() -> None:
    """Ten candidates that are always alike weigh as one: the interval is that much wider."""
    rng = np.random.default_rng(1)
    said = np.repeat(rng.random(60), 10)
    true = np.repeat(rng.random(60) < said[::10], 10)
    together = reliability(said, true, np.arange(600) // 10)
    apart = reliability(said, true, np.arange(600))
    wide, narrow = (pair.brier95[1] - pair.brier95[0] for pair in (together, apart))
    assert wide > 2 * narrow


def test_one_query_has_no_interval() -> None:
    """One query says nothing about the next."""
    found = reliability(np.array([0.2, 0.9]), np.array([False, True]), np.array([0, 0]))
    assert found.ece95 == (0.0, 1.0)


def test_thresholds_count_who_is_abstained_from() -> None:
    """Of four queries two have no answer; the best candidate of each decides."""
    said = np.array([0.9, 0.1, 0.15, 0.05, 0.6])
    query = np.array([0, 0, 1, 2, 2])
    found = abstaining(said, query, np.array([True, True, False, False]), at_least=0.55)
    assert found is not None
    assert found.unanswerable == 2
    rows = {each.at_least: each for each in found.thresholds}
    assert (rows[0.1].abstained, rows[0.1].rightly) == (1, 1)  # the fourth has no candidate
    assert (rows[0.2].abstained, rows[0.2].precision, rows[0.2].recall) == (2, 0.5, 0.5)
    assert rows[0.7].recall == 1.0
    assert rows[0.7].kept == 0.5
    assert rows[0.55].passed == 0.5
    assert found.auc == 0.75


def test_nothing_is_said_where_all_have_an_answer() -> None:
    """Without a query that lacks an answer there is nothing to tell apart."""
    assert abstaining(np.array([0.5]), np.array([0]), np.array([True])) is None


def test_the_range_of_the_error_is_not_called_an_interval() -> None:
    """Perfect probabilities have a range above 0, the truth, so the tables name it otherwise."""
    rng = np.random.default_rng(0)
    said = rng.beta(0.5, 4, 1000)
    found = reliability(said, rng.random(1000) < said, np.arange(1000) // 10)
    assert found.ece95[0] > 0
    assert ERRORS[:2] == ("ECE", "95% resampled")
    assert "no confidence interval" in ECE_NOTE
