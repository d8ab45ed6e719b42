import math
from itertools import product

import numpy as np
import pytest

from stepwell.evaluate.significance import differences, holm, p_value


def by_hand(delta: np.ndarray) -> float:
    """The share of all sign flips whose mean is as far from 0."""
    far = abs(delta.mean()) - 1e-12
    flips = [np.mean(np.array(signs) * delta) for signs in product((1, -1), repeat=len(delta))]
    return float(np.mean([abs(mean) >= far for mean in flips]))


@pytest.mark.parametrize("seed", range(4))
def test_p_is_the_share_of_sign_flips_that_are_as_far_off(seed: int) -> None:
    """For few queries the paired randomisation test is exact, and ties change nothing."""
    delta = np.random.default_rng(seed).normal(0.1, 0.2, size=8)
    assert p_value(delta) == pytest.approx(by_hand(delta))
    assert p_value(np.append(delta, [0.0, 0.0])) == pytest.approx(by_hand(delta))


def test_nothing_is_significant_where_nothing_differs() -> None:
    """Equal values, and one query alone, have a p of 1; one query has no interval."""
    assert p_value(np.zeros(20)) == p_value(np.array([0.7])) == 1.0
    lone = differences({"m": np.array([0.9])}, {"m": np.array([0.1])})["m"]
    assert (lone.p_holm, lone.interval95, lone.significant) == (1.0, (-1.0, 1.0), False)


def test_holm_multiplies_by_what_is_left_and_never_falls() -> None:
    """The corrected values are those of Holm's step-down procedure, at most 1."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_false_alarms_are_as_rare_as_promised() -> None:
    """Of many pairs of alike systems, about one in twenty is called different, corrected fewer."""
    random = np.random.default_rng(3)
    alike = [{f"m{n}": random.normal(0, 0.1, size=30) for n in range(3)} for _ in range(40)]
    nothing = {f"m{n}": np.zeros(30) for n in range(3)}
    found = [differences(each, nothing) for each in alike]
    raw = np.mean([each.p < 0.05 for one in found for each in one.values()])
    corrected = np.mean([any(each.significant for each in one.values()) for one in found])
    assert raw <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 120)
    assert corrected <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 40)


def test_a_difference_counts_the_queries_that_moved() -> None:
    """Mean, interval and counts are of the new values less the old ones."""
    old = {"m": np.linspace(0, 0.5, 40)}
    new = {"m": old["m"] + np.array([0.2] * 30 + [-0.1] * 5 + [0.0] * 5)}
    found = differences(new, old)["m"]
    assert (found.better, found.worse) == (30, 5)
    assert found.mean == pytest.approx((30 * 0.2 - 5 * 0.1) / 40)
    assert found.interval95[0] < found.mean < found.interval95[1]
    assert found.significant
