"""Spans: their tree, what they tell, and what they never tell."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from stepwell import Cascade, CrossEncoder, Hybrid, StageError, TopK
from stepwell.stages.guarded import Guarded
from stepwell.telemetry import configure
from tests.telemetry.cascades import (
    DOCUMENTS,
    SECRET,
    Awaited,
    Call,
    Fail,
    Recall,
    Score,
    Together,
)
from tests.telemetry.conftest import Kept

RISING = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


def tracer() -> trace.Tracer:
    return trace.get_tracer("the framework")


def told(span: ReadableSpan) -> dict[str, Any]:
    return {key.removeprefix("stepwell."): value for key, value in (span.attributes or {}).items()}


def ways(cascade: Cascade) -> dict[str, Callable[[], Any]]:
    return {
        "search": lambda: cascade.search("q"),
        "asearch": lambda: asyncio.run(cascade.asearch("q")),
        "rank": lambda: cascade.rank("q", DOCUMENTS),
        "arank": lambda: asyncio.run(cascade.arank("q", DOCUMENTS)),
        "search_many": lambda: cascade.search_many(["q", "r", "s"]),
        "asearch_many": lambda: asyncio.run(cascade.asearch_many(["q", "r", "s"])),
        "to_thread": lambda: asyncio.run(in_thread(cascade)),
    }


async def in_thread(cascade: Cascade) -> Any:
    return await asyncio.to_thread(cascade.search, "q")


WAYS = list(ways(Cascade([TopK(1)])))


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_ask_makes_one_tree(sdk: Kept, way: str) -> None:
    """The cascade's span is a child of the caller's, and each stage's one of the cascade's."""
    stages = [Recall(), Awaited(RISING, "awaited"), Together(RISING, "together", k=3)]
    if "rank" in way:
        stages = stages[1:]
    with tracer().start_as_current_span("the framework's") as above:
        ways(Cascade(stages, name="mine"))[way]()
    (cascade,) = sdk.children(above)
    assert cascade.name == "stepwell.cascade"
    assert told(cascade)["cascade.name"] == "mine"
    names = {f"stepwell.stage {stage.name}" for stage in stages}
    assert {span.name for span in sdk.children(cascade)} == names
    assert len(sdk.spans) == 1 + 1 + len(sdk.children(cascade))
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_tasks_keep_to_their_own_parents(sdk: Kept) -> None:
    """Fifty searches at once, each under a span of its own task, mix up nothing."""
    cascade = Cascade([Recall(), Awaited(RISING), Score(RISING, "last")])

    async def one(number: int) -> None:
        with tracer().start_as_current_span(f"task {number}"):
            await cascade.asearch(f"q{number}")

    async def all_of_them() -> None:
        await asyncio.gather(*(one(number) for number in range(50)))

    asyncio.run(all_of_them())
    for number in range(50):
        (own,) = sdk.children(sdk.one(f"task {number}"))
        assert [span.name for span in sdk.children(own)] == [
            "stepwell.stage recall",
            "stepwell.stage score",
            "stepwell.stage last",
        ]


@pytest.mark.parametrize("way", ["search", "asearch", "search_many"])
def test_what_a_stage_calls_is_its_child(sdk: Kept, way: str) -> None:
    """A span made inside a stage, such as that of an HTTP request, lies below the stage's."""

    def request() -> None:
        with tracer().start_as_current_span("POST"):
            pass

    ways(Cascade([Recall(), Call(request)]))[way]()
    parents = {span.get_span_context().span_id: span for span in sdk.spans}
    for inside in sdk.named("POST"):
        assert inside.parent is not None
        assert parents[inside.parent.span_id].name == "stepwell.stage call"


@pytest.mark.parametrize("way", ["search", "asearch", "search_many"])
def test_stages_inside_stages(sdk: Kept, way: str) -> None:
    """The arms of a hybrid, which run in threads, and a cascade's own stages are below them."""
    inner = Cascade([Score(RISING, "deep"), TopK(2)], name="inner")
    ways(Cascade([Hybrid([Recall("one"), Recall("two")]), inner]))[way]()
    for span in sdk.named("stepwell.stage hybrid"):
        names = {child.name for child in sdk.children(span)}
        assert names == {"stepwell.stage one", "stepwell.stage two"}
    for span in sdk.named("stepwell.stage inner"):
        names = {child.name for child in sdk.children(span)}
        assert names == {"stepwell.stage deep", "stepwell.stage top-k"}
    assert len(sdk.children(sdk.one("stepwell.cascade"))) >= 2


def test_a_search_for_many_is_one_call(sdk: Kept) -> None:
    """One span for the call and one for each run of a stage, with how many queries it served."""
    Cascade([Recall(), Together(RISING, k=2)]).search_many(["q", "r", "s"], k=1)
    assert told(sdk.one("stepwell.cascade"))["cascade.batch.size"] == 3
    assert told(sdk.one("stepwell.cascade"))["cascade.hits"] == 3
    run = told(sdk.one("stepwell.stage score"))
    assert (run["stage.batch.size"], run["stage.candidates.in"]) == (3, 18)
    assert run["stage.candidates.out"] == 6
    assert len(sdk.named("stepwell.stage recall")) == 3


def test_a_batch_that_fails_is_seen_and_each_query_again(sdk: Kept) -> None:
    """The run for all is a failed span, and the runs one by one stand beside it."""

    class Together2(Together):
        def run_many(self, many: Any) -> Any:
            raise TimeoutError(SECRET)

    Cascade([Recall(), Together2(RISING)]).search_many(["q", "r"])
    statuses = [told(span)["stage.status"] for span in sdk.named("stepwell.stage score")]
    assert statuses == ["failed", "ok", "ok"]


def test_what_is_told_of_a_search(sdk: Kept) -> None:
    """Counts, budgets and notes of each stage; k, deadline and the number of hits of the whole."""
    cascade = Cascade([Recall(), Score(RISING, k=4, truncated=3), TopK(3)])
    cascade.search("q", k=2, deadline=30)
    whole = told(sdk.one("stepwell.cascade"))
    assert whole == {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.retrieval.top_k": 2,
        "cascade.name": "cascade",
        "cascade.deadline": 30,
        "cascade.degraded": False,
        "cascade.hits": 2,
    }
    stage = told(sdk.one("stepwell.stage score"))
    assert 0 < stage.pop("stage.budget") <= 30
    assert stage == {
        "stage.name": "score",
        "stage.status": "ok",
        "stage.candidates.in": 6,
        "stage.candidates.out": 4,
        "stage.notes.truncated": 3,
    }
    assert sdk.one("stepwell.stage score").status.status_code is StatusCode.UNSET


def test_a_stage_that_did_not_run_has_a_span_that_says_why(sdk: Kept) -> None:
    """Skipped at the deadline and idle without candidates; neither is an error."""
    nothing = Score([], "nothing")
    Cascade([Recall(), Score(RISING)]).search("q", deadline=1e-9)
    Cascade([Recall(documents=[]), nothing]).search("q")
    late, idle = told(sdk.one("stepwell.stage score")), told(sdk.one("stepwell.stage nothing"))
    assert (late["stage.status"], late["stage.reason"]) == ("skipped", "deadline")
    assert (idle["stage.status"], idle["stage.reason"]) == ("idle", "no candidates")
    assert told(sdk.named("stepwell.cascade")[0])["cascade.degraded"] is True
    assert told(sdk.named("stepwell.cascade")[1])["cascade.degraded"] is False


def test_a_stage_cut_short_is_partial(sdk: Kept) -> None:
    """Its span says how many it left, and why."""
    late = Score([2.0, 1.0, *[float("nan")] * 4], unscored=4)
    Cascade([Recall(), late]).search("q", deadline=30)
    stage = told(sdk.one("stepwell.stage score"))
    assert (stage["stage.status"], stage["stage.reason"]) == ("partial", "deadline")
    assert stage["stage.notes.unscored"] == 4


def test_a_failure_is_told_by_its_type_alone(sdk: Kept) -> None:
    """A stage that failed and was skipped is an error; the search, which went on, is none."""
    Cascade([Recall(), Fail()]).search("q")
    failed = sdk.one("stepwell.stage fail")
    assert told(failed)["error.type"] == "TimeoutError"
    assert failed.status.status_code is StatusCode.ERROR
    assert sdk.one("stepwell.cascade").status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("way", ["search", "asearch", "search_many"])
def test_a_search_that_raises_ends_its_spans(sdk: Kept, way: str) -> None:
    """The cascade's span is an error of the type that was raised, and nothing stays current."""
    with pytest.raises(StageError):
        ways(Cascade([Fail()]))[way]()
    whole = sdk.one("stepwell.cascade")
    assert told(whole)["error.type"] == "StageError"
    assert whole.status.status_code is StatusCode.ERROR
    assert trace.get_current_span() is trace.INVALID_SPAN


async def test_a_search_that_is_cancelled_ends_its_spans(sdk: Kept) -> None:
    """Both the stage that waited and the search say so."""

    class Forever(Awaited):
        async def arun(self, candidates: Any) -> Any:
            waiting.set()
            await asyncio.sleep(60)

    waiting = asyncio.Event()
    task = asyncio.ensure_future(Cascade([Recall(), Forever(RISING)]).asearch("q"))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told(sdk.one("stepwell.stage score"))["stage.status"] == "cancelled"
    assert told(sdk.one("stepwell.cascade"))["error.type"] == "CancelledError"


def everything(sdk: Kept) -> str:
    return "\n".join(span.to_json() for span in sdk.spans)


def test_no_text_no_id_and_no_message_is_in_a_span(sdk: Kept) -> None:
    """Whatever happens: failures that quote a text, notes that are one, filters, fallbacks."""
    quoting = Score(RISING, "quoting", remark=SECRET, truncated=1)
    guarded = Guarded(Fail("first"), Score(RISING, "second"))
    encoder = CrossEncoder(lambda query, texts: [len(text) for text in texts], name="encoder")
    cascade = Cascade([Recall(), quoting, guarded, Fail(), encoder])
    cascade.search(SECRET, filter={"secret": {"$exists": False}})
    cascade.search_many([SECRET, "q"])
    with pytest.raises(StageError):
        Cascade([Fail()]).search(SECRET)
    said = everything(sdk)
    assert len(sdk.spans) > 10
    assert not any(word in said for word in ("basilisk", "codename", "key-", "no answer"))


def test_texts_are_told_when_switched_on(sdk: Kept) -> None:
    """Then the query, and ids and scores of the hits, in the attributes that GenAI spans have."""
    configure(texts=True)
    Cascade([Recall(), TopK(1)]).search("what is it?")
    attributes = sdk.one("stepwell.cascade").attributes or {}
    assert attributes["gen_ai.retrieval.query.text"] == "what is it?"
    hits = json.loads(str(attributes["gen_ai.retrieval.documents"]))
    assert hits == [{"id": "key-0", "score": 6.0}]
    assert "basilisk" not in everything(sdk)
