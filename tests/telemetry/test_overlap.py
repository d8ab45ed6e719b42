"""Rank-biased overlap, by hand and by its properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell import InputError
from stepwell.telemetry import rank_biased_overlap

ORDERS = st.lists(st.integers(0, 30), unique=True, max_size=25)
PERSISTENCE = st.floats(0.05, 0.98)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("abc", "bac", 0.9),  # (0 + .81 + .729) / 9 + .729
        ("ab", "ba", 0.9),  # .81 / 9 + .81
        ("abcd", "ba", 0.9),  # (.81 + .486 + .32805 + .243 + .32805) / 9 + .6561
        ("abc", "abd", 0.73),  # (.9 + .81 + .486) / 9 + 2/3 * .729
        ("", "", 1.0),
        ("", "a", 0.0),
        ("a", "a", 1.0),
        ("a", "b", 0.0),
    ],
)
def test_values_worked_out_by_hand(a: str, b: str, expected: float) -> None:
    """Short orders give what the formula gives on paper."""
    assert rank_biased_overlap(a, b) == pytest.approx(expected)


@given(ORDERS, ORDERS, PERSISTENCE)
def test_it_is_what_the_paper_sums(a: list[int], b: list[int], p: float) -> None:
    """Against equation 32 written out term by term, with sets."""
    if not a or not b:
        return
    short, long = sorted((a, b), key=len)
    s, size = len(short), len(long)

    def shared(depth: int) -> int:
        return len(set(short[:depth]) & set(long[:depth]))

    first = sum(shared(d) / d * p**d for d in range(1, size + 1))
    second = sum(shared(s) * (d - s) / (s * d) * p**d for d in range(s + 1, size + 1))
    rest = ((shared(size) - shared(s)) / size + shared(s) / s) * p**size
    expected = (1 - p) / p * (first + second) + rest
    assert rank_biased_overlap(a, b, p=p) == pytest.approx(expected, abs=1e-9)


@given(ORDERS, PERSISTENCE)
def test_equal_orders_overlap_wholly(a: list[int], p: float) -> None:
    """An order overlaps with itself by 1, not by a little less."""
    assert rank_biased_overlap(a, tuple(a), p=p) == 1.0


@given(ORDERS.filter(bool), ORDERS.filter(bool), PERSISTENCE)
def test_disjoint_orders_do_not_overlap(a: list[int], b: list[int], p: float) -> None:
    """Orders that share nothing overlap by 0."""
    assert rank_biased_overlap(a, [each + 100 for each in b], p=p) == 0.0


@given(ORDERS, ORDERS, PERSISTENCE)
def test_it_is_symmetric_and_a_share(a: list[int], b: list[int], p: float) -> None:
    """Which order comes first does not matter, and the value is from 0 to 1."""
    value = rank_biased_overlap(a, b, p=p)
    assert value == pytest.approx(rank_biased_overlap(b, a, p=p))
    assert 0.0 <= value <= 1.0


@given(st.integers(3, 25), PERSISTENCE)
def test_a_change_at_the_top_counts_more(n: int, p: float) -> None:
    """Swapping the first two moves it further from 1 than swapping the last two."""
    order = list(range(n))
    top = [1, 0, *order[2:]]
    end = [*order[:-2], n - 1, n - 2]
    assert rank_biased_overlap(order, top, p=p) <= rank_biased_overlap(order, end, p=p) + 1e-12


@pytest.mark.parametrize("p", [0.0, 1.0, -0.1, 2, float("nan")])
def test_a_persistence_that_is_no_share_is_refused(p: float) -> None:
    """p is above 0 and below 1."""
    with pytest.raises(InputError, match="p must be"):
        rank_biased_overlap("ab", "ba", p=p)


@pytest.mark.parametrize("pair", [("aa", "ab"), ("ab", "bb")])
def test_an_item_that_comes_twice_is_refused(pair: tuple[str, str]) -> None:
    """An order names each item once."""
    with pytest.raises(InputError, match="twice"):
        rank_biased_overlap(*pair)
