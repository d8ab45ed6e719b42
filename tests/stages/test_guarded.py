from __future__ import annotations

import asyncio
import copy
import pickle
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stepwell as sw
from stepwell.stages.breaker import Breaker
from stepwell.testing import check_stage

pytest.importorskip("tenacity", reason="the extra remote is not installed")

DOCUMENTS = [sw.Document(str(at), text) for at, text in enumerate(("b b", "a", "a a", "c"))]


class Flaky:
    """A scorer that counts the letter a, and fails as often as it is told to, as servers do."""

    name, kind = "flaky", "logit"

    def __init__(self, fails: int = 0, error: type[Exception] = ConnectionError) -> None:
        self.fails, self.error, self.calls = fails, error, 0
        self._lock = threading.Lock()

    def __call__(self, query: str, passages: list[str]) -> list[float]:
        with self._lock:
            self.calls += 1
            if self.fails > 0:
                self.fails -= 1
                raise self.error("the server is away")
        return [float(text.count("a")) for text in passages]


def reads(scorer: Any, name: str = "first", **options: Any) -> sw.CrossEncoder:
    return sw.CrossEncoder(scorer, k=None, blend=1.0, name=name, cache=False, **options)


def letters_b(query: str, passages: list[str]) -> list[float]:
    return [float(text.count("b")) for text in passages]


SECOND = reads(letters_b, "second")


def ask(stage: Any, awaited: bool = False, **options: Any) -> sw.Result:
    cascade = sw.Cascade([stage])
    if awaited:
        return asyncio.run(cascade.arank("a", DOCUMENTS, **options))
    return cascade.rank("a", DOCUMENTS, **options)


@pytest.mark.parametrize("awaited", [False, True])
def test_it_is_tried_again(awaited: bool) -> None:
    """A stage that fails twice and then answers gives its answer, not degraded, with the count."""
    scorer = Flaky(2)
    result = ask(sw.Guarded(reads(scorer), attempts=3), awaited)
    assert result.ids == ["2", "1", "0", "3"]
    assert not result.degraded
    assert result.trace.records[0].notes["attempts"] == 3
    assert scorer.calls == 3


@pytest.mark.parametrize("awaited", [False, True])
def test_another_stage_takes_its_place(awaited: bool) -> None:
    """When every attempt fails the fallback orders the same candidates, and the trace has both."""
    scorer = Flaky(9)
    result = ask(sw.Guarded(reads(scorer), SECOND, attempts=2), awaited)
    assert result.ids == ["0", "1", "2", "3"]
    assert result.hits[0].scores == {"second": 2.0}
    assert result.degraded
    (record,) = result.trace.records
    assert [child.status for child in record.children] == ["failed", "ok"]
    assert record.children[0].reason == "ConnectionError"
    assert record.notes["fallback"] == "second"
    assert scorer.calls == 2


BAD = {
    "NaN": [1.0, float("nan"), 1.0, 1.0],
    "too few": [1.0],
    "words": ["a private text"] * 4,
    "nothing": None,
}


@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("bad", BAD)
def test_a_model_that_answers_nonsense_has_failed(bad: str, awaited: bool) -> None:
    """What a model returns at a query is tried again, replaced, and opens the breaker."""
    answers: list[Any] = [BAD[bad], [4.0, 3.0, 2.0, 1.0]]
    scorer = reads(lambda query, passages: answers.pop(0))
    again = ask(sw.Guarded(scorer, attempts=2), awaited)
    assert not again.degraded
    assert again.trace.records[0].notes["attempts"] == 2
    broken = sw.Guarded(reads(lambda query, passages: BAD[bad]), SECOND, failures=1, rest=60)
    replaced = ask(broken, awaited)
    assert replaced.hits[0].scores == {"second": 2.0}
    assert "private" not in str(replaced.trace.records[0].children[0].error)
    assert "resting" in ask(broken, awaited).trace.records[0].children[0].reason


def test_without_a_fallback_the_cascades_policy_decides() -> None:
    """The last error goes on: a re-scoring stage is skipped, or raised where that is the policy."""
    result = ask(sw.Guarded(reads(Flaky(9))))
    assert result.ids == ["0", "1", "2", "3"]
    assert result.degraded
    strict = sw.Cascade([sw.Guarded(reads(Flaky(9)))], on_failure={"first": "raise"})
    with pytest.raises(sw.StageError, match="the server is away"):
        strict.rank("a", DOCUMENTS)


def test_after_failures_in_a_row_it_rests() -> None:
    """After three queries in a row that failed, the stage is not asked until its rest is over."""
    scorer = Flaky(3)
    stage = sw.Guarded(reads(scorer), SECOND, failures=3, rest=0.3)
    for _ in range(3):
        assert ask(stage).degraded
    resting = ask(stage)
    assert scorer.calls == 3
    assert resting.degraded
    assert resting.trace.records[0].children[0].reason == "resting after 3 failures in a row"
    time.sleep(0.35)
    assert not ask(stage).degraded
    assert scorer.calls == 4


@pytest.mark.parametrize("how", ["cancelled", "the caller's mistake"])
async def test_a_try_that_says_nothing_leaves_the_next_caller_to_try(how: str) -> None:
    """When the one try after the rest is cancelled or called wrongly, the next query is one."""
    begun, rest = asyncio.Event(), 0.3

    class Away:
        name = "away"
        calls = 0

        async def arun(self, candidates: sw.Candidates) -> sw.Candidates:
            self.calls += 1
            if self.calls == 1:
                raise ConnectionError
            if self.calls == 2 and how != "cancelled":
                raise sw.InputError("no")
            if self.calls == 2:
                begun.set()
                await asyncio.sleep(60)
            return candidates

        def run(self, candidates: sw.Candidates) -> sw.Candidates:
            raise AssertionError

    away = Away()
    cascade = sw.Cascade([sw.Guarded(away, failures=1, rest=rest)])
    assert (await cascade.arank("a", DOCUMENTS)).degraded
    await asyncio.sleep(rest + 0.05)
    task = asyncio.create_task(cascade.arank("a", DOCUMENTS))
    if how == "cancelled":
        await begun.wait()
        task.cancel()
    with pytest.raises((asyncio.CancelledError, sw.InputError)):
        await task
    assert not (await cascade.arank("a", DOCUMENTS)).degraded
    assert away.calls == 3


def test_resting_without_a_fallback_is_skipped() -> None:
    """A resting stage without fallback keeps the order so far, and says why."""
    scorer = Flaky(1)
    stage = sw.Guarded(reads(scorer), failures=1, rest=60)
    ask(stage)
    result = ask(stage)
    assert scorer.calls == 1
    assert result.ids == ["0", "1", "2", "3"]
    assert "resting" in str(result.trace.records[0].error)


def test_no_try_begins_after_the_deadline() -> None:
    """With no time left for another pause the stage is given up, though attempts are left."""
    ends, began = time.monotonic() + 0.3, []

    @sw.stage(name="away")
    def away(candidates: sw.Candidates) -> sw.Candidates:
        began.append(time.monotonic())
        raise ConnectionError

    given = sw.Candidates.of("a", DOCUMENTS, deadline=ends)
    with pytest.raises(ConnectionError):
        sw.Guarded(away, attempts=8).run(given)
    assert 1 <= len(began) < 8
    assert max(began) < ends


def test_a_fallback_is_not_begun_after_the_deadline() -> None:
    """A re-scoring fallback whose time is over is not run: the failure itself goes on."""
    ran = []

    @sw.stage(name="slow")
    def slow(candidates: sw.Candidates) -> sw.Candidates:
        time.sleep(0.2)
        raise ConnectionError

    @sw.stage(name="other")
    def other(candidates: sw.Candidates) -> sw.Candidates:
        ran.append(candidates)
        return candidates

    stage = sw.Guarded(slow, other)
    with pytest.raises(ConnectionError):
        stage.run(sw.Candidates.of("a", DOCUMENTS, deadline=time.monotonic() + 0.1))
    assert not ran
    assert stage.run(sw.Candidates.of("a", DOCUMENTS)).ids.tolist() == ["0", "1", "2", "3"]


@pytest.mark.parametrize("error", [sw.InputError, sw.ConfigurationError])
def test_the_callers_mistakes_are_raised_at_once(error: type[Exception]) -> None:
    """A mistake is neither tried again nor hidden by the fallback."""
    scorer = Flaky(9, error)
    with pytest.raises(error):
        ask(sw.Guarded(reads(scorer), SECOND, attempts=3))
    assert scorer.calls == 1


def test_a_recall_with_a_fallback_always_answers() -> None:
    """A recall stage that fails is replaced by another that recalls, awaited and for many too."""

    @sw.stage(name="remote")
    def remote(candidates: sw.Candidates) -> sw.Candidates:
        raise ConnectionError

    with sw.Corpus.temporary(encoder=None) as corpus:
        corpus.add(DOCUMENTS)
        cascade = sw.Cascade([sw.Guarded(remote, sw.BM25(corpus))])
        expected = sw.Cascade([sw.BM25(corpus)]).search("a").ids
        assert expected
        assert cascade.search("a").ids == asyncio.run(cascade.asearch("a")).ids == expected
        assert [each.ids for each in cascade.search_many(["a", "a"])] == [expected] * 2


def test_many_queries_are_given_to_the_stage_together() -> None:
    """Guarding costs a stage none of its batching."""
    sizes = []

    class Batched:
        name = "batched"

        def run(self, candidates: sw.Candidates) -> sw.Candidates:
            return candidates

        def run_many(self, many: Sequence[sw.Candidates]) -> list[sw.Candidates]:
            sizes.append(len(many))
            return list(many)

    many = [sw.Candidates.of(query, DOCUMENTS) for query in "abc"]
    assert sw.Guarded(Batched()).run_many(many) == many
    assert sizes == [3]


def test_a_wrapped_stage_is_still_a_stage() -> None:
    """It keeps the contract of a stage, and copies and pickles begin with a closed breaker."""
    stage = sw.Guarded(sw.TopK(2), sw.TopK(3, name="other"), failures=1, rest=60)
    check_stage(stage)
    assert stage.breaker is not None
    stage.breaker.heard(failed=True)
    assert not stage.breaker.allows()
    for other in (copy.deepcopy(stage), pickle.loads(pickle.dumps(stage))):
        assert other.breaker.allows()
        assert ask(other).ids == ["0", "1"]
    assert stage.guards
    assert repr(stage) == "Guarded('top-k', 'other', attempts=1)"


def test_columns_of_a_fallback_must_be_its_own() -> None:
    """A fallback that shares its name with another stage of the cascade is refused."""
    with pytest.raises(sw.ConfigurationError, match="two stages are named 'second'"):
        sw.Cascade([SECOND, sw.Guarded(reads(Flaky()), SECOND)])


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"attempts": 0}, "attempts is too small"),
        ({"failures": 0}, "failures is too small"),
        ({"rest": -1}, "rest is too small"),
        ({"fallback": "bm25"}, "no stage"),
        ({"fallback": reads(letters_b)}, "two stages are named 'first'"),
    ],
)
def test_what_is_built_wrong_is_refused(options: dict[str, Any], fault: str) -> None:
    """A mistake in building it is told when it is built."""
    with pytest.raises(sw.ConfigurationError, match=fault):
        sw.Guarded(reads(letters_b), **options)


@given(outcomes=st.lists(st.booleans(), max_size=30), failures=st.integers(1, 5))
@settings(deadline=None)
def test_a_breaker_opens_exactly_after_failures_in_a_row(
    outcomes: list[bool], failures: int
) -> None:
    """While its rest lasts a breaker is open if and only if the last so many tries failed."""
    breaker = Breaker(failures, 1000)
    told: list[bool] = []
    for failed in outcomes:
        open_now = len(told) >= failures and all(told[-failures:])
        assert breaker.allows() is not open_now
        if open_now:
            break
        breaker.heard(failed=failed)
        told.append(failed)


def test_one_of_many_callers_tries_after_the_rest() -> None:
    """When the rest is over, of sixteen callers at once exactly one is let through."""
    breaker = Breaker(1, 0.05)
    breaker.heard(failed=True)
    time.sleep(0.06)
    breaker.rest = 60
    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(lambda _: breaker.allows(), range(16))) == 1
