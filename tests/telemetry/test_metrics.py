"""Metrics: what each one counts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stepwell import Cascade, CrossEncoder, Hybrid, StageError, TopK
from stepwell.stages.guarded import Guarded
from stepwell.telemetry import configure
from stepwell.telemetry.metrics import COUNTERS, HISTOGRAMS
from tests.telemetry.cascades import DOCUMENTS, SECRET, Awaited, Fail, Recall, Score
from tests.telemetry.conftest import Kept

RISING = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


def test_each_answer_and_each_stage_is_timed(sdk: Kept) -> None:
    """However it is asked: one measure a query, and one a stage and query."""
    cascade = Cascade([Recall(), Awaited(RISING, k=4), TopK(2)], name="mine")
    cascade.search("q")
    asyncio.run(cascade.asearch("q"))
    cascade.search_many(["q", "r"])
    assert sdk.total("stepwell.cascade.duration", cascade_name="mine") == 4
    assert sdk.total("stepwell.cascade.duration", cascade_degraded=False) == 4
    for stage in ("recall", "score", "top-k"):
        told = {"cascade_name": "mine", "stage_name": stage}
        assert sdk.total("stepwell.stage.duration", **told, stage_status="ok") == 4
        assert sdk.total("stepwell.stage.candidates.in", **told) == 4
    (out,) = [
        point
        for point in sdk.points("stepwell.stage.candidates.out")
        if point.attributes["stepwell.stage.name"] == "score"
    ]
    assert (out.sum, out.min, out.max) == (16, 4, 4)


def test_a_duration_is_in_seconds_and_falls_into_a_bucket(sdk: Kept) -> None:
    """The buckets are for seconds, not the SDK's own, which are for milliseconds."""
    Cascade([Recall()]).search("q")
    (point,) = sdk.points("stepwell.cascade.duration")
    assert 0 < point.sum < 5
    assert point.explicit_bounds[0] == 0.001


def test_arms_are_timed_too(sdk: Kept) -> None:
    """The arms of a hybrid are stages of the same cascade."""
    Cascade([Hybrid([Recall("one"), Recall("two")])]).search("q")
    for stage in ("hybrid", "one", "two"):
        assert sdk.total("stepwell.stage.duration", stage_name=stage) == 1


@pytest.mark.parametrize(
    ("stage", "deadline", "status", "reason"),
    [
        (Fail("last"), None, "failed", "TimeoutError"),
        (Score(RISING, "last"), 1e-9, "skipped", "deadline"),
        (Score([1.0, *[float("nan")] * 5], "last", unscored=5), 30, "partial", "deadline"),
        (Hybrid([Recall("one"), Fail("last")]), None, "failed", "TimeoutError"),
    ],
    ids=["failed", "skipped", "partial", "an arm"],
)
def test_what_degrades_an_answer_is_counted(
    sdk: Kept, stage: Any, deadline: float | None, status: str, reason: str
) -> None:
    """By stage, status and reason, of which there are few."""
    stages = [stage] if isinstance(stage, Hybrid) else [Recall(), stage]
    Cascade(stages).search("q", deadline=deadline)
    told = {"stage_name": "last", "stage_status": status, "stage_reason": reason}
    assert sdk.total("stepwell.stage.degraded", **told) == 1
    assert sdk.total("stepwell.stage.degraded") == 1
    assert sdk.total("stepwell.cascade.duration", cascade_degraded=True) == 1


def test_an_answer_after_its_deadline_is_late(sdk: Kept) -> None:
    """Whole or not; one in time is not late."""
    cascade = Cascade([Recall()])
    cascade.search("q", deadline=1e-9)
    cascade.search("q", deadline=30)
    assert sdk.total("stepwell.cascade.late") == 1


def test_a_search_that_raises_is_timed_with_its_error(sdk: Kept) -> None:
    """And the stage that failed is counted, once."""
    for way in (lambda c: c.search("q"), lambda c: asyncio.run(c.asearch("q"))):
        with pytest.raises(StageError):
            way(Cascade([Fail()]))
    points = sdk.points("stepwell.cascade.duration")
    assert [(p.attributes["error.type"], p.count) for p in points] == [("StageError", 2)]
    assert sdk.total("stepwell.stage.degraded", stage_reason="TimeoutError") == 2


def test_of_many_queries_each_failure_counts(sdk: Kept) -> None:
    """Two that raise beside one that answers are two errors and one answer."""

    class Picky(Recall):
        def run(self, candidates: Any) -> Any:
            if candidates.query.text != "q":
                raise TimeoutError(SECRET)
            return super().run(candidates)

    Cascade([Picky()]).search_each(["q", "r", "s"])
    counts = {
        dict(p.attributes).get("error.type"): p.count
        for p in sdk.points("stepwell.cascade.duration")
    }
    assert counts == {None: 1, "StageError": 2}


def test_notes_of_a_model_are_counted(sdk: Kept) -> None:
    """Passages cut off, and candidates left at the deadline."""
    late = Score([2.0, 1.0, *[float("nan")] * 4], truncated=3, unscored=4)
    Cascade([Recall(), late]).search("q", deadline=30)
    assert sdk.total("stepwell.stage.truncated", stage_name="score") == 3
    assert sdk.total("stepwell.stage.unscored", stage_name="score") == 4


def test_hits_and_misses_of_the_pair_cache(sdk: Kept) -> None:
    """The first question misses all its pairs, the same one again hits them."""
    read = CrossEncoder(lambda query, texts: [len(text) for text in texts], cache=True)
    cascade = Cascade([read])
    cascade.rank("q", DOCUMENTS)
    cascade.rank("q", DOCUMENTS[:4])
    assert sdk.total("stepwell.cache.pairs", cache_result="miss") == 6
    assert sdk.total("stepwell.cache.pairs", cache_result="hit") == 4


def test_retries_and_the_breaker(sdk: Kept) -> None:
    """Each further try counts, and the breaker's opening once, though it stays open."""
    pytest.importorskip("tenacity", reason="the extra remote is not installed")
    guarded = Guarded(Fail(), attempts=2, failures=2, rest=60)
    cascade = Cascade([Recall(), guarded])
    for _ in range(4):
        cascade.search("q")
    assert sdk.total("stepwell.stage.retries", stage_name="fail") == 2
    assert sdk.total("stepwell.stage.breaker.opened", stage_name="fail") == 1
    assert sdk.total("stepwell.stage.degraded", stage_reason="StageError") == 2


def test_a_breaker_that_opens_again_counts_again(sdk: Kept) -> None:
    """Each try that might have closed it and failed: what is down shows as long as it is."""
    guarded = Guarded(Fail(), failures=2, rest=0)
    for _ in range(5):
        Cascade([Recall(), guarded]).search("q")
    assert sdk.total("stepwell.stage.breaker.opened", stage_name="fail") == 4


def test_failures_beside_the_one_that_opened_it_do_not_count(sdk: Kept) -> None:
    """Queries that were under way when it opened fail as well, and open nothing."""
    breaker = Guarded(Fail(), failures=2, rest=60).breaker
    assert breaker is not None
    assert [breaker.heard(failed=True) for _ in range(4)] == [False, True, False, False]


def test_the_signals_are_recorded(sdk: Kept) -> None:
    """Overlap by stage, a rank for each hit, the margin; and a verdict where a least is set."""
    cascade = Cascade([Recall(), Score(RISING)])
    cascade.search("q", k=2)
    assert sdk.points("stepwell.signal.judged") == []
    configure(good={"score": 6.0})
    cascade.search("q", k=2)
    configure(good={"score": 7.0})
    cascade.search("q", k=2)
    assert sdk.total("stepwell.signal.overlap", stage_name="score") == 3
    (ranks,) = sdk.points("stepwell.signal.recall_rank")
    assert (ranks.count, ranks.min, ranks.max) == (6, 5, 6)
    (margin,) = sdk.points("stepwell.signal.margin")
    assert margin.sum == pytest.approx(3 / 5)
    assert sdk.total("stepwell.signal.judged", good=True) == 1
    assert sdk.total("stepwell.signal.judged", good=False) == 1


def test_a_degraded_answer_gives_no_signals(sdk: Kept) -> None:
    """Where the last stage was skipped, hits come from the ranks 1, 2, 3: that is no news."""
    Cascade([Recall(), Score(RISING)]).search("q", deadline=1e-9)
    assert sdk.total("stepwell.cascade.duration") == 1
    for signal in ("overlap", "recall_rank", "margin"):
        assert sdk.points(f"stepwell.signal.{signal}") == []


def test_no_text_is_in_a_metric(sdk: Kept) -> None:
    """Nor an id, nor the message of an error."""
    Cascade([Recall(), Fail(), Score(RISING, remark=SECRET)]).search(SECRET)
    said = sdk.reader.get_metrics_data().to_json()  # type: ignore[union-attr]
    assert "stepwell.cascade.duration" in said
    assert not any(word in said for word in ("basilisk", "codename", "key-", "no answer"))


def test_each_instrument_has_one_kind_a_unit_and_a_sentence() -> None:
    """Units are UCUM: seconds, 1, or what is counted in braces."""
    assert not HISTOGRAMS.keys() & COUNTERS.keys()
    for unit, *_, text in (*HISTOGRAMS.values(), *COUNTERS.values()):
        assert unit in ("s", "1") or (unit[0], unit[-1]) == ("{", "}")
        assert text.endswith(".")
