from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell import Candidates, Cascade, ConfigurationError, Document, MinScore, stage

VALUES = st.lists(st.one_of(st.just(math.nan), st.integers(-5, 5)), max_size=12)


def scored(values):
    documents = [Document(f"d{at}", "x") for at in range(len(values))]
    return Candidates.of("q", documents).scored("model", values)


@given(VALUES, st.integers(-5, 5))
def test_it_keeps_what_reaches_the_threshold_of_a_stage(values, threshold):
    """And nothing that the stage did not score."""
    before = scored(values)
    after = MinScore(threshold, of="model").run(before)
    expected = [f"d{at}" for at, value in enumerate(values) if value >= threshold]
    assert sorted(after.ids) == sorted(expected)
    kept = [id for id in before.ids if id in expected]
    assert after.ids.tolist() == kept


@given(st.lists(st.integers(-5, 5), max_size=12), st.integers(-5, 5))
def test_without_a_stage_the_score_that_orders_counts(values, threshold):
    after = MinScore(threshold).run(scored(values))
    assert after.score.tolist() == sorted([v for v in values if v >= threshold], reverse=True)


def test_a_stage_that_no_cascade_holds_is_refused():
    with pytest.raises(ConfigurationError, match="typo"):
        Cascade([MinScore(0.5, of="typo")])


def test_a_stage_that_failed_cuts_nothing_and_the_trace_says_so():
    """A failure must not empty the answer."""

    @stage
    def model(candidates):
        raise OSError("away")

    model.guards = False
    result = Cascade([model, MinScore(0.5, of="model")]).rank("q", ["a", "b"], k=2)
    assert result.ids == ["0", "1"]
    assert result.degraded
    assert result.trace.records[1].notes == {"not_applied": "model did not run"}


def test_an_answer_emptied_with_some_unread_says_how_many():
    """What nobody scored is not said to be below the threshold."""

    @stage
    def model(candidates):
        return candidates.scored("model", [1.0, math.nan, math.nan])

    emptied = Cascade([model, MinScore(2.0, of="model")]).rank("q", ["a", "b", "c"])
    assert emptied.empty_because == "none of those read passed: model score below 2; 2 not read"
    whole = Cascade([model, MinScore(1.0, of="model")]).rank("q", ["a", "b", "c"])
    assert whole.ids == ["0"]
    assert not whole.trace.records[1].notes


def test_what_it_drops_does_not_come_back():
    @stage
    def model(candidates):
        return candidates.scored("model", [3.0, 2.0, 1.0])

    result = Cascade([model, MinScore(2.0, of="model")]).rank("q", ["a", "b", "c"], k=3)
    assert result.ids == ["0", "1"]
    assert result.trace.why("2").reason == "model score below 2"


@pytest.mark.parametrize("threshold", [math.nan, math.inf])
def test_a_threshold_that_is_no_number_is_refused(threshold):
    with pytest.raises(ConfigurationError, match="threshold"):
        MinScore(threshold)


def test_repr():
    assert repr(MinScore(0.5)) == "MinScore(0.5)"
    assert repr(MinScore(2, of="bm25")) == "MinScore(2, of='bm25')"


def test_what_it_never_saw_does_not_come_back():
    """A depth before it cut two that might not have passed."""

    @stage(decides=False)
    def depth(candidates):
        return candidates.top(1)

    result = Cascade([depth, MinScore(0.0)]).rank("q", ["a", "b", "c"], k=3)
    assert result.ids == ["0"]
