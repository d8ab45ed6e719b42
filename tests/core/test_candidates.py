from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell import Candidates, ConfigurationError, Document, InputError, Query
from stepwell.candidates import below, check_k, min_max
from stepwell.documents import InMemory

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False, width=32)
MAYBE = st.one_of(st.just(float("nan")), NUMBERS)


@st.composite
def scored_sets(draw: st.DrawFn, least: int = 0) -> Candidates:
    values = draw(st.lists(NUMBERS, min_size=least, max_size=30))
    documents = [Document(f"d{at}", f"text {at}") for at in range(len(values))]
    return Candidates.of("q", documents).scored("first", values)


def brought(n: int) -> Candidates:
    return Candidates.of("q", [Document(f"d{at}", f"text {at}") for at in range(n)])


def test_a_fresh_set_is_empty_and_a_brought_one_is_not_fresh():
    assert Candidates.start("q").fresh
    assert len(Candidates.start("q")) == 0
    assert not brought(2).fresh
    assert not Candidates.of("q", []).fresh


def test_a_brought_set_keeps_the_callers_order_and_scores():
    documents = [Document("b", "x"), Document("a", "y")]
    candidates = Candidates.of("q", documents, scores=[0.1, 0.9])
    assert candidates.ids.tolist() == ["b", "a"]
    assert candidates.scores["given"].tolist() == [0.1, 0.9]
    assert candidates.score.tolist() == [0.0, 0.0]


def test_given_scores_in_falling_order_are_what_a_blend_starts_from():
    documents = [Document(id, "x") for id in "abc"]
    candidates = Candidates.of("q", documents, scores=[0.9, 0.4, 0.1])
    assert candidates.score.tolist() == [0.9, 0.4, 0.1]
    blended = candidates.scored("new", [0.0, 0.0, 1.0], blend=0.4)
    assert blended.ids.tolist() == ["a", "c", "b"]
    assert Candidates.of("q", documents, scores=[0.9, np.nan, 0.1]).score.tolist() == [0.0] * 3


def test_a_brought_set_obeys_the_filter():
    documents = [Document("a", "x", {"lang": "en"}), Document("b", "y", {"lang": "de"})]
    candidates = Candidates.of(Query("q", {"lang": "de"}), documents, scores=[1, 2])
    assert candidates.ids.tolist() == ["b"]
    assert candidates.scores["given"].tolist() == [2]


@pytest.mark.parametrize("scores", [[1.0], [[1.0], [2.0]], [1, 2, 3]])
def test_scores_that_do_not_fit_the_documents_are_refused(scores):
    with pytest.raises(InputError, match="shape"):
        Candidates.of("q", [Document("a", "x"), Document("b", "y")], scores=scores)


def test_two_documents_of_one_id_are_refused():
    with pytest.raises(InputError, match="'a'"):
        Candidates.of("q", [Document("a", "x"), Document("a", "y")])


@given(scored_sets(), st.data(), st.floats(0, 1))
def test_scoring_loses_no_candidate_and_never_lets_scores_increase(candidates, data, blend):
    """Whatever the new values and the blend, the set is the same and its score sorted, finite."""
    values = data.draw(st.lists(MAYBE, min_size=len(candidates), max_size=len(candidates)))
    after = candidates.scored("second", values, blend=blend)
    assert sorted(after.ids) == sorted(candidates.ids)
    assert np.isfinite(after.score).all()
    assert not (np.diff(after.score) > 0).any()


@given(scored_sets(), st.data(), st.floats(0, 1))
def test_columns_follow_their_candidates(candidates, data, blend):
    """Raw scores of this and of earlier stages stay with the id they belong to."""
    values = data.draw(st.lists(MAYBE, min_size=len(candidates), max_size=len(candidates)))
    before = {
        id: (old, new) for id, old, new in zip(candidates.ids, candidates.scores["first"], values)
    }
    after = candidates.scored("second", values, blend=blend)
    for at, id in enumerate(after.ids):
        pair = (after.scores["first"][at], after.scores["second"][at])
        np.testing.assert_array_equal(pair, before[id])


@given(scored_sets(), st.data(), st.floats(0, 1))
def test_what_was_not_scored_is_below_what_was_and_keeps_its_order(candidates, data, blend):
    values = data.draw(st.lists(MAYBE, min_size=len(candidates), max_size=len(candidates)))
    after = candidates.scored("second", values, blend=blend)
    missing = np.isnan(after.scores["second"])
    assert not (np.diff(missing.astype(int)) < 0).any()
    unscored = [id for id, value in zip(candidates.ids, values) if np.isnan(value)]
    assert after.ids[missing].tolist() == unscored


@given(scored_sets(), st.data())
def test_a_blend_of_one_orders_by_the_new_score_alone(candidates, data):
    values = data.draw(st.lists(NUMBERS, min_size=len(candidates), max_size=len(candidates)))
    after = candidates.scored("second", values)
    assert after.score.tolist() == sorted(values, reverse=True)


@given(scored_sets(), st.data())
def test_a_blend_of_nothing_keeps_the_order(candidates, data):
    values = data.draw(st.lists(NUMBERS, min_size=len(candidates), max_size=len(candidates)))
    after = candidates.scored("second", values, blend=0.0)
    assert after.ids.tolist() == candidates.ids.tolist()


def test_equal_scores_keep_the_order_before():
    after = brought(4).scored("s", [1.0, 2.0, 1.0, 2.0])
    assert after.ids.tolist() == ["d1", "d3", "d0", "d2"]


def test_a_blend_mixes_normalised_scores():
    """(1 - b) * old + b * new, each moved to 0..1 over the set."""
    first = brought(3).scored("first", [10.0, 5.0, 0.0])
    after = first.scored("second", [0.0, 1.0, 1.0], blend=0.25)
    assert dict(zip(after.ids, after.score)) == pytest.approx({"d0": 0.75, "d1": 0.625, "d2": 0.25})


@pytest.mark.parametrize("blend", [-0.1, 1.1, float("nan")])
def test_a_blend_outside_zero_to_one_is_refused(blend):
    with pytest.raises(ConfigurationError, match="blend"):
        brought(1).scored("s", [1.0], blend=blend)


@given(scored_sets(), st.integers(1, 40))
def test_a_cut_keeps_the_first_and_notes_the_rest(candidates, k):
    after = candidates.top(k)
    assert after.ids.tolist() == candidates.ids.tolist()[:k]
    noted = [id for dropped in after.dropped for id in dropped.ids]
    assert noted == candidates.ids.tolist()[k:]
    assert all(dropped.cut for dropped in after.dropped)
    if noted:
        assert after.dropped[0].ranks.tolist() == list(range(k + 1, len(candidates) + 1))


@given(scored_sets(), st.data())
def test_keeping_splits_the_set_in_two(candidates, data):
    """Nothing is lost: what is not kept is noted, with its score and rank, as no mere cut."""
    n = len(candidates)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), dtype=bool)
    after = candidates.keep(mask, reason="because")
    gone = [id for dropped in after.dropped for id in dropped.ids]
    assert after.ids.tolist() == candidates.ids[mask].tolist()
    assert gone == candidates.ids[~mask].tolist()
    assert not any(dropped.cut for dropped in after.dropped)
    for dropped in after.dropped:
        assert dropped.scores["first"].tolist() == candidates.scores["first"][~mask].tolist()


@given(scored_sets(least=1))
def test_no_array_can_be_written(candidates):
    """What flows is frozen: arrays of every verb's result are read-only."""
    n = len(candidates)
    mask = np.arange(n) % 2 == 0
    for each in (
        candidates,
        candidates.scored("s", np.zeros(n), blend=0.5),
        candidates.top(1),
        candidates.keep(mask, reason="r"),
        candidates.recalled("r", ["x"], [1.0], source=InMemory()),
    ):
        arrays = [each.ids, each.score, *each.scores.values(), *each.ranks.values()]
        arrays += [dropped.score for dropped in each.dropped]
        for array in arrays:
            with pytest.raises(ValueError, match="read-only"):
                array[:] = array


def test_the_callers_arrays_are_copied():
    values = np.array([1.0, 2.0])
    after = brought(2).scored("s", values)
    values[:] = 7.0
    assert after.scores["s"].tolist() == [2.0, 1.0]
    found = ["a", "b"]
    recalled = Candidates.start("q").recalled("r", found, values, source=InMemory())
    found[0] = "changed"
    assert recalled.ids.tolist() == ["a", "b"]


def test_recall_sorts_and_keeps_the_better_of_an_id_that_comes_twice():
    recalled = Candidates.start("q").recalled(
        "r", ["a", "b", "a", "c", "b"], [1.0, 2.0, 3.0, 0.5, 2.0], source=InMemory()
    )
    assert recalled.ids.tolist() == ["a", "b", "c"]
    assert recalled.score.tolist() == [3.0, 2.0, 0.5]
    assert recalled.scores["r"].tolist() == [3.0, 2.0, 0.5]
    assert not recalled.fresh


def test_texts_are_fetched_and_empty_for_what_is_gone():
    candidates = brought(2)
    gone = candidates.recalled("r", ["d1", "gone"], [2.0, 1.0], source=candidates.source)
    assert gone.texts() == ["text 1", ""]
    assert gone.documents()[1] is None


def test_notes_add_up():
    assert brought(1).noted(a=1).noted(b=2).notes == {"a": 1, "b": 2}


@given(st.lists(NUMBERS))
def test_min_max_moves_to_zero_one_and_keeps_the_order(values):
    moved = min_max(values)
    assert all(0.0 <= value <= 1.0 for value in moved)
    assert not (np.diff(moved[np.argsort(values, kind="stable")]) < 0).any()
    if values:
        assert moved.max() == 1.0


@given(st.lists(NUMBERS, min_size=1), st.lists(NUMBERS, min_size=1))
def test_below_puts_a_tail_under_a_head(tail, head):
    tail = np.sort(np.array(tail))[::-1]
    moved = below(tail, np.array(head))
    assert moved.max() <= min(head)
    assert not (np.diff(moved) > 0).any()


@pytest.mark.parametrize("k", [0, -1, 1.5, "3", True])
def test_a_depth_that_is_none_is_refused(k):
    with pytest.raises(ConfigurationError, match="k must be"):
        check_k(k)


def test_repr_counts_and_shows_no_text():
    assert repr(brought(2)) == "<Candidates n=2 scored_by=[]>"
