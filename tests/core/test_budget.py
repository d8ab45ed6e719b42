from __future__ import annotations

import copy
import pickle
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

import stepwell as sw
from stepwell.budget import REMEMBERED, Budget, split
from stepwell.candidates import Candidates

needs = st.lists(st.floats(0, 10), min_size=1, max_size=6)
LATE = 1000.0


@given(left=st.floats(0, 10), needs=needs)
def test_a_part_is_between_nothing_and_all(left: float, needs: list[float]) -> None:
    """Whatever the needs, the first one's part is no less than 0 and no more than what is left."""
    assert 0 <= split(left, needs) <= left


@given(left=st.floats(0, 10), needs=needs)
def test_who_needs_little_gets_it(left: float, needs: list[float]) -> None:
    """A need below the equal part is met in full, however dear the others are."""
    if needs[0] <= left / len(needs):
        assert split(left, needs) >= needs[0] - 1e-9


@given(left=st.floats(0, 10), needs=needs)
def test_the_parts_together_are_what_is_left(left: float, needs: list[float]) -> None:
    """Spending each part in turn never overspends, and where it is scarce wastes nothing."""
    spent, rest = 0.0, left
    for at in range(len(needs)):
        part = split(rest, needs[at:])
        used = min(part, needs[at])
        spent, rest = spent + used, rest - used
    assert spent <= left + 1e-9
    assert spent == pytest.approx(min(left, sum(needs)), abs=1e-6)


@given(extra=st.floats(0, 5), needs=needs)
def test_what_nobody_needs_is_the_first_ones(extra: float, needs: list[float]) -> None:
    """With enough for all, the first may use everything that the others do not need."""
    left = sum(needs) + extra
    assert split(left, needs) == pytest.approx(needs[0] + extra, abs=1e-6)


def taking(name: str, seconds: float = 0.0) -> sw.Stage:
    @sw.stage(name=name, decides=False)
    def work(candidates: Candidates) -> Candidates:
        time.sleep(seconds)
        return candidates

    return work


def given_a_deadline(*, fresh: bool = False) -> Candidates:
    deadline = time.monotonic() + LATE
    if fresh:
        return Candidates.start("q", deadline=deadline)
    return Candidates.of("q", [sw.Document("a", "x")], deadline=deadline)


def test_without_a_deadline_there_is_no_budget() -> None:
    """No deadline, no budget, in the trace neither."""
    assert Budget().of([taking("a")], Candidates.of("q", [])) is None
    result = sw.Cascade([sw.TopK(1)]).rank("q", ["a"])
    assert result.trace.records[0].budget_ms is None
    assert "budget_ms" not in result.trace.to_dict()["stages"][0]


def test_a_stage_that_was_never_timed_may_use_all() -> None:
    """The first query has nothing to go by, so each stage may use what is left."""
    share = Budget().of([taking("a"), taking("b")], given_a_deadline())
    assert share == pytest.approx(LATE, rel=0.01)


def test_a_dear_stage_leaves_a_cheap_ones_part() -> None:
    """What follows keeps its usual time; a cold first run does not count against it."""
    budget, dear, cheap = Budget(), taking("dear"), taking("cheap")
    asked = given_a_deadline()
    for seconds in (10 * LATE, LATE, LATE):
        budget.learn(dear, asked, asked, seconds)
        budget.learn(cheap, asked, asked, LATE / 10)
    assert budget.of([dear, cheap], asked) == pytest.approx(0.9 * LATE, rel=0.01)
    assert budget.of([cheap, dear], asked) == pytest.approx(0.2 * LATE, rel=0.01)


def test_recall_has_a_floor() -> None:
    """A recall stage may take half of the time, or twice its usual, whatever comes after it."""
    budget, recall, dear = Budget(), taking("recall"), taking("dear")
    asked = given_a_deadline(fresh=True)
    budget.learn(dear, asked, asked, 100 * LATE)
    budget.learn(recall, asked, asked, LATE / 100)
    assert budget.of([recall, dear], asked) == pytest.approx(0.5 * LATE, rel=0.01)
    for _ in range(REMEMBERED):
        budget.learn(recall, asked, asked, 0.4 * LATE)
    assert budget.of([recall, dear], asked) == pytest.approx(0.8 * LATE, rel=0.01)


def test_what_was_cut_short_would_have_taken_longer() -> None:
    """A stage that read half of the candidates in a second needs two for all of them."""
    budget, stage, other = Budget(), taking("a"), taking("b")
    asked = Candidates.of("q", [sw.Document(id, id) for id in "ab"])
    budget.learn(stage, asked, asked.noted(unscored=1), 1.0)
    budget.learn(stage, asked, asked.noted(unscored=2), 0.0)
    assert budget._need(stage) == 2.0
    assert budget._need(other) is None


def test_the_trace_says_budget_spent_and_left() -> None:
    """Under a deadline each stage's record has its budget, and none is above what was left."""
    documents = [sw.Document(str(at), "a " * at) for at in range(6)]
    asked: list[float | None] = []

    @sw.stage(name="look", decides=False)
    def look(candidates: Candidates) -> Candidates:
        asked.append(candidates.deadline)
        return candidates

    cascade = sw.Cascade([look, taking("slow", 0.02), sw.TopK(3)])
    for _ in range(3):
        result = cascade.rank("a", documents, deadline=5.0)
    records = result.trace.records
    assert all(0 < record.budget_ms <= 5000 for record in records if record.budget_ms is not None)
    assert all(record.budget_ms is not None for record in records)
    assert result.trace.to_dict()["stages"][0]["budget_ms"] > 0
    assert "budget=" in str(result.trace)
    last = asked[-1]
    assert last is not None


def test_the_deadline_of_the_whole_comes_back_after_each_stage() -> None:
    """A stage's own share does not shorten the time of those after it."""
    seen: list[float] = []

    @sw.stage(name="see", decides=False)
    def see(candidates: Candidates) -> Candidates:
        assert candidates.deadline is not None
        seen.append(candidates.deadline)
        return candidates

    cascade = sw.Cascade([taking("first", 0.01), see])
    ends = []
    for _ in range(3):
        ends.append(time.monotonic() + LATE)
        cascade.rank("a", ["x"], deadline=LATE)
    # It is the last stage, so all that is left is its own: the deadline of the whole.
    assert seen == pytest.approx(ends, abs=1.0)


def test_copies_begin_anew() -> None:
    """A copied or pickled cascade has learnt nothing, and works."""
    cascade = sw.Cascade([sw.TopK(1)])
    cascade.rank("a", ["x"], deadline=LATE)
    for other in (copy.deepcopy(cascade), pickle.loads(pickle.dumps(cascade))):
        assert other.rank("a", ["x"], deadline=LATE).ids
        assert other._budget is not cascade._budget


def test_many_threads_learn_at_once() -> None:
    """Threads that learn and ask together raise nothing and lose no stage."""
    budget, stages = Budget(), [taking(str(at)) for at in range(4)]
    asked = given_a_deadline()

    def work() -> None:
        for at in range(200):
            budget.learn(stages[at % 4], asked, asked, 0.001)
            budget.of(stages, asked)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(budget._need(stage) == 0.001 for stage in stages)
