from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell import Candidates
from stepwell.documents import InMemory
from stepwell.stages.fusion import convex, reciprocal_rank, union

IDS = st.sampled_from([f"d{at}" for at in range(8)])
ENTRIES = st.lists(st.tuples(IDS, st.integers(-5, 5)), max_size=12)
LISTS = st.lists(ENTRIES, min_size=1, max_size=4)
WEIGHTS = st.lists(st.integers(0, 4), min_size=4, max_size=4).filter(any)


def listed(entries) -> Candidates:
    ids, scores = [id for id, _ in entries], [score for _, score in entries]
    return Candidates.start("q").recalled("r", ids, scores, source=InMemory())


def fused(lists, weights, how) -> dict[str, float]:
    table = union([listed(entries) for entries in lists])
    values = (
        convex(table.scores, weights)
        if how == "convex"
        else reciprocal_rank(table.ranks, weights, k=60)
    )
    return dict(zip(table.ids, values.tolist()))


HOW = st.sampled_from(["convex", "rrf"])


@given(LISTS)
def test_a_union_holds_each_id_once_by_best_rank(lists):
    found = [listed(entries) for entries in lists]
    table = union(found)
    assert sorted(table.ids) == sorted({id for each in found for id in each.ids})
    best = [min(row[row > 0]) for row in table.ranks.T] if table.ids else []
    assert best == sorted(best)
    for row, each in enumerate(found):
        for rank, (id, score) in enumerate(zip(each.ids, each.score), start=1):
            at = table.ids.index(id)
            assert (table.ranks[row, at], table.scores[row, at]) == (rank, score)


def test_of_an_id_that_comes_twice_in_a_list_the_better_place_counts():
    twice = listed([("a", 3), ("b", 2)]).reordered([0, 1, 0], [3, 2, 1])
    table = union([twice])
    assert table.ids == ["a", "b"]
    assert table.ranks.tolist() == [[1, 2]]
    assert table.scores.tolist() == [[3, 2]]


@given(LISTS, WEIGHTS, HOW, st.randoms())
def test_the_order_of_the_lists_does_not_matter(lists, weights, how, random):
    pairs = list(zip(lists, weights))
    if not any(weight for _, weight in pairs):
        return
    shuffled = random.sample(pairs, len(pairs))
    one = fused([p[0] for p in pairs], [p[1] for p in pairs], how)
    other = fused([p[0] for p in shuffled], [p[1] for p in shuffled], how)
    assert one == pytest.approx(other)


@given(LISTS, WEIGHTS, HOW)
def test_only_the_proportion_of_the_weights_counts(lists, weights, how):
    weights = weights[: len(lists)]
    if any(weights):
        double = [2 * weight for weight in weights]
        assert fused(lists, weights, how) == pytest.approx(fused(lists, double, how))


@given(LISTS, WEIGHTS, HOW)
def test_a_list_of_no_weight_changes_no_score(lists, weights, how):
    weights = weights[: len(lists)]
    if not any(weights):
        return
    kept = [(entries, weight) for entries, weight in zip(lists, weights) if weight]
    without = fused([k[0] for k in kept], [k[1] for k in kept], how)
    assert {id: s for id, s in fused(lists, weights, how).items() if id in without} == (
        pytest.approx(without)
    )


@given(ENTRIES, HOW)
def test_fusing_one_list_keeps_its_order(entries, how):
    alone = listed(entries)
    values = fused([entries], [1.0], how)
    inverted = [values[id] for id in alone.ids]
    assert inverted == sorted(inverted, reverse=True)


@given(LISTS, HOW)
def test_what_is_better_in_every_list_is_not_worse_fused(lists, how):
    table = union([listed(entries) for entries in lists])
    values = fused(lists, [1.0] * len(lists), how)
    ranks = np.where(table.ranks == 0, 99, table.ranks)
    for a, one in enumerate(table.ids):
        for b, other in enumerate(table.ids):
            if (ranks[:, a] <= ranks[:, b]).all():
                assert values[one] >= values[other] - 1e-12


@given(LISTS, WEIGHTS)
def test_convex_scores_are_from_zero_to_one(lists, weights):
    weights = weights[: len(lists)]
    if any(weights):
        assert all(0 <= score <= 1 + 1e-12 for score in fused(lists, weights, "convex").values())


def test_convex_by_hand():
    """.75 * first + .25 * second, each from 0 to 1; what a list did not find gets its 0."""
    first, second = [("a", 10), ("b", 5), ("c", 0)], [("b", 7), ("d", 3)]
    assert fused([first, second], [3, 1], "convex") == pytest.approx(
        {"a": 0.75, "b": 0.375 + 0.25, "c": 0.0, "d": 0.0}
    )


@given(LISTS, st.floats(-9, 9))
def test_a_floor_is_where_the_scale_begins(lists, floor):
    """What scores the floor or less is worth what was not found, the best is worth 1."""
    table = union([listed(entries) for entries in lists])
    for row in table.scores:
        values = convex(row[None], [1.0], floors=[floor])
        found = ~np.isnan(row)
        expected = np.clip(row[found] - floor, 0, None)
        expected = expected / expected.max() if expected.any() else expected
        assert values[found].tolist() == pytest.approx(expected.tolist())
        assert not values[~found].any()


def test_reciprocal_ranks_by_hand():
    """Ranks count from 1: the first of a list has 1 / 61."""
    first, second = [("a", 10), ("b", 5)], [("b", 7), ("d", 3)]
    assert fused([first, second], [1, 1], "rrf") == pytest.approx(
        {"a": 0.5 / 61, "b": 0.5 / 62 + 0.5 / 61, "d": 0.5 / 62}
    )


def test_nothing_fuses_to_nothing():
    assert fused([[], []], [1, 1], "convex") == {}
    assert fused([[], []], [1, 1], "rrf") == {}
    assert union([]).ids == []
