from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.models.calibrate import check, rank_correlation, stock_pairs


def test_stock_pairs_are_real_and_repeatable() -> None:
    """Two hundred pairs of prose come out, each question new, the same each time."""
    pairs = stock_pairs(200)
    assert pairs == stock_pairs(200)
    assert len({question for question, _ in pairs}) > 180
    lengths = [len(passage.split()) for _, passage in pairs]
    assert np.median(lengths) > 60
    assert max(lengths) > 200


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=3, max_size=40))
def test_rank_correlation_is_spearmans(points: list[tuple[int, int]]) -> None:
    """It agrees with scipy's, ties included."""
    stats = pytest.importorskip("scipy.stats")
    a, b = ([float(point[side]) for point in points] for side in (0, 1))
    if len(set(a)) > 1 and len(set(b)) > 1:
        assert math.isclose(rank_correlation(a, b), stats.spearmanr(a, b)[0], abs_tol=1e-9)


def test_rank_correlation_of_constants() -> None:
    """Two constant lists agree; a constant and a varying one do not."""
    assert rank_correlation([1, 1], [2, 2]) == 1
    assert rank_correlation([1, 1], [2, 3]) == 0


def test_the_check_tells_a_copy_from_noise() -> None:
    """Scores off by little pass; shuffled ones, one far off, and NaN do not."""
    chance = np.random.default_rng(0)
    original = chance.normal(size=60).astype(np.float32)
    near = original + chance.normal(size=60).astype(np.float32) * 0.01
    assert check(original, near).passed
    assert not check(original, chance.permutation(original)).passed
    outlier = near.copy()
    outlier[3] += 3
    assert not check(original, outlier).passed
    assert not check(original, np.full_like(near, np.nan)).passed
    assert "rank correlation" in str(check(original, outlier))
