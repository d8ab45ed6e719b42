from __future__ import annotations

import time

import pytest

import stepwell as sw
from stepwell.stopping import Pace, Stop, stop_at

AGES = 1000.0


def test_without_a_deadline_nobody_asks() -> None:
    """No deadline makes no question."""
    assert stop_at(None) is None


def test_it_is_over_when_it_is_over() -> None:
    """A deadline that has passed stops the work, and one in the future does not."""
    assert Stop(time.monotonic() - 1)()
    assert not Stop(time.monotonic() + AGES)()


def test_a_batch_that_would_end_too_late_is_not_begun() -> None:
    """With less time left than a batch takes, the answer is to stop, and it stays so."""
    pace = Pace()
    pace.heard(2 * AGES)
    stop = Stop(time.monotonic() + AGES, pace)
    assert stop()
    assert stop.said
    assert stop()


def test_a_slow_batch_is_not_believed_for_ever() -> None:
    """After a batch as slow as a cold start, queries with little time get their turn again."""
    pace = Pace()
    pace.heard(2 * AGES)
    answers = [Stop(time.monotonic() + AGES, pace)() for _ in range(10)]
    assert answers[0]
    assert not answers[-1]


def test_the_longest_of_late_counts() -> None:
    """One quick batch among slow ones does not shorten what is expected by more than a fifth."""
    pace = Pace()
    pace.heard(1.0)
    pace.heard(0.1)
    assert pace.seconds == pytest.approx(0.8)


def test_a_stage_keeps_its_pace_from_query_to_query() -> None:
    """A later query begins no batch that an earlier one showed to take too long."""
    calls = []

    def slow(query: str, passages: list[str]) -> list[float]:
        calls.append(len(passages))
        time.sleep(0.1)
        return [1.0] * len(passages)

    stage = sw.CrossEncoder(slow, k=None)
    documents = [sw.Document(str(at), "text") for at in range(70)]
    cascade = sw.Cascade([stage])
    assert not cascade.rank("q", documents, deadline=AGES).degraded
    assert len(calls) == 3
    result = cascade.rank("q", documents, deadline=0.05)
    assert result.degraded
    assert result.trace.records[0].notes["unscored"] == 70
    assert len(calls) == 3


def test_what_a_batch_takes_as_a_rule_forgets_a_stall_and_follows_a_change() -> None:
    """One or two that stalled change nothing; five of nine do."""
    pace = Pace()
    assert pace.usual == 0.0
    for seconds in (*[0.01] * 7, 3.0, 3.0):
        pace.heard(seconds)
    assert pace.usual == 0.01
    for _ in range(3):
        pace.heard(3.0)
    assert pace.usual == 3.0
