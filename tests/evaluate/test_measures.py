import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.evaluate import interval95, measure
from stepwell.evaluate.measures import as_run, recall

IDS = [f"d{n}" for n in range(12)]
rankings = st.lists(st.sampled_from(IDS), unique=True, max_size=12)
grades = st.dictionaries(st.sampled_from(IDS), st.integers(0, 3), min_size=1)


def by_hand(judged: dict[str, int], ranking: list[str]) -> dict[str, float]:
    """The measures from their definitions, with linear gains as in trec_eval."""
    gains = [judged.get(id, 0) for id in ranking[:10]]
    ideal = sorted(judged.values(), reverse=True)[:10]
    discount = [1 / math.log2(at + 2) for at in range(10)]
    best = sum(g * d for g, d in zip(ideal, discount))
    ndcg = sum(g * d for g, d in zip(gains, discount)) / best if best else 0.0
    firsts = [at for at, gain in enumerate(gains, start=1) if gain > 0]
    relevant = [id for id, grade in judged.items() if grade > 0]
    found = sum(id in ranking for id in relevant)
    return {
        "nDCG@10": ndcg,
        "MRR@10": 1 / firsts[0] if firsts else 0.0,
        "R@100": found / len(relevant) if relevant else 0.0,
    }


@given(st.lists(st.tuples(grades, rankings), min_size=1, max_size=5))
def test_measures_are_what_their_definitions_say(queries: list[tuple[dict, list]]) -> None:
    """Every measure of every query agrees with its definition, empty answers included."""
    qrels = {str(n): judged for n, (judged, _) in enumerate(queries)}
    run = as_run({str(n): ranking for n, (_, ranking) in enumerate(queries)})
    values = measure(qrels, run)
    for n, (judged, ranking) in enumerate(queries):
        expected = by_hand(judged, ranking)
        assert {name: each[n] for name, each in values.items()} == pytest.approx(expected)
        assert recall(judged, ranking) == pytest.approx(expected["R@100"])


def test_a_query_without_an_answer_counts_nothing() -> None:
    """A judged query that the run lacks is measured as 0, and no other query is measured."""
    values = measure({"a": {"d1": 1}, "b": {"d1": 1}}, as_run({"b": ["d1"], "c": ["d1"]}))
    assert set(values) == {"nDCG@10", "MRR@10", "R@100"}
    assert all(each.tolist() == [0.0, 1.0] for each in values.values())


def test_an_interval_covers_the_mean_as_often_as_it_says() -> None:
    """Over many samples of a known mean, about 95 of 100 intervals hold it."""
    random = np.random.default_rng(7)
    samples = [random.beta(2, 3, size=150) for _ in range(200)]
    held = sum(low <= 0.4 <= high for low, high in map(interval95, samples))
    assert 180 <= held <= 199


def test_an_interval_depends_on_its_seed_alone() -> None:
    """The same seed gives the same interval, so that two runs of one evaluation agree."""
    values = np.random.default_rng(1).random(50)
    assert interval95(values, seed=5) == interval95(values, seed=5)
    assert interval95(values, seed=5) != interval95(values, seed=6)


def test_an_interval_of_little_data() -> None:
    """One query says nothing of the next; queries that all agree leave no doubt."""
    assert interval95(np.array([0.7])) == (0.0, 1.0)
    assert interval95(np.full(10, 0.5)) == (0.5, 0.5)
