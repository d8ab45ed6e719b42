"""Points 2, 3, 5, 9, 14, 15, 16, 34 and 35: how it is called, and that every way answers alike."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from blockbuster import blockbuster_ctx
from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore

import stepwell as sw
from stepwell.langchain import CascadeRetriever, as_embeddings, as_stage
from stepwell.models import load_scorer
from tests.conformance.langchain_parts import (
    QUERY,
    Recorder,
    Spy,
    cascade_of,
    documents,
    over_corpus,
    over_store,
    shape,
)

QUESTIONS = [QUERY, "pretty print a JSON file", "wrap a paragraph", "the smallest items of a heap"]
both = pytest.mark.parametrize("make", [over_corpus, over_store])


@both
async def test_02_k_per_call(make: Any) -> None:
    """`k` is honoured by invoke, ainvoke, bind, search_kwargs and batch alike."""
    retriever = make()
    assert len(retriever.invoke(QUERY, k=1)) == 1
    assert len(await retriever.ainvoke(QUERY, k=2)) == 2
    assert len(retriever.bind(k=3).invoke(QUERY)) == 3
    assert len(retriever.invoke(QUERY, search_kwargs={"k": 4})) == 4
    assert [len(found) for found in retriever.batch([QUERY, QUERY], k=2)] == [2, 2]
    assert [len(found) for found in await retriever.abatch([QUERY], k=2)] == [2]


@both
@pytest.mark.parametrize("wrong", [{"top_k": 3}, {"search_kwargs": {"fetch_k": 3}}])
async def test_02_unknown_argument(make: Any, wrong: dict[str, Any]) -> None:
    """An argument that nothing would honour is an error, never dropped."""
    retriever = make()
    name = "top_k" if "top_k" in wrong else "fetch_k"
    with pytest.raises(sw.InputError, match=name):
        retriever.invoke(QUERY, **wrong)
    with pytest.raises(sw.InputError, match=name):
        await retriever.ainvoke(QUERY, **wrong)
    with pytest.raises(sw.InputError, match=name):
        retriever.batch([QUERY], **wrong)


@pytest.mark.parametrize("k", [0, -1, "five", 2.5, True])
def test_02_bad_k(k: Any) -> None:
    """A depth that is none is an error in the constructor and in a call."""
    with pytest.raises(ValueError, match="k must be an integer"):
        CascadeRetriever(cascade=over_store().cascade, k=k)
    with pytest.raises(sw.ConfigurationError, match="k must be an integer"):
        CascadeRetriever.from_documents(documents(), k=k)
    with pytest.raises(sw.ConfigurationError, match="k must be an integer"):
        CascadeRetriever.from_retriever(over_store(), k=k)
    with pytest.raises(sw.InputError, match="k must be an integer"):
        over_store().invoke(QUERY, k=k)


def test_03_unknown_field() -> None:
    """A misspelt field is refused by both constructors."""
    with pytest.raises(ValueError, match="top_k"):
        CascadeRetriever(cascade=over_store().cascade, top_k=3)
    with pytest.raises(ValueError, match="top_k"):
        CascadeRetriever.from_retriever(over_store(), top_k=3)


@both
def test_05_exactly_k(make: Any) -> None:
    """There are min(k, corpus) documents, beyond the depth of the last stage too."""
    retriever = make()
    for k in (1, 7, 20, len(documents()), len(documents()) + 50):
        assert len(retriever.invoke(QUERY, k=k)) == min(k, len(documents()))


@both
def test_05_deterministic(make: Any) -> None:
    """Two calls give the same order, ties included."""
    retriever = make()
    first = retriever.invoke("function", k=30)
    assert shape(first) == shape(retriever.invoke("function", k=30))


@both
@pytest.mark.parametrize("query", ["", "   ", "\n\t"])
async def test_09_blank_query(make: Any, query: str) -> None:
    """A blank query gives an empty list, in every way to ask."""
    retriever = make()
    assert retriever.invoke(query) == []
    assert await retriever.ainvoke(query) == []
    assert len(retriever.batch([query, QUERY])[0]) == 0
    assert len((await retriever.abatch([query, QUERY]))[1]) == 5


def test_09_blank_query_reaches_no_stage() -> None:
    """A blank query is answered before any stage, which may know nothing of blank ones."""

    def fail(candidates: sw.Candidates) -> sw.Candidates:
        raise RuntimeError("asked")

    retriever = CascadeRetriever(cascade=sw.Cascade([sw.stage(fail)]))
    assert retriever.invoke(" ") == []
    assert retriever.batch([" "]) == [[]]


@both
@pytest.mark.parametrize("query", [None, 7, ["a"]])
async def test_09_query_of_another_type(make: Any, query: Any) -> None:
    """A query that is no string is a typed error, in every way to ask."""
    retriever = make()
    with pytest.raises(sw.InputError, match="a query must be a string"):
        retriever.invoke(query)
    with pytest.raises(sw.InputError, match="a query must be a string"):
        await retriever.ainvoke(query)
    good, bad = retriever.batch([QUERY, query], return_exceptions=True)
    assert len(good) == 5
    assert isinstance(bad, sw.InputError)


def test_09_nothing_to_find() -> None:
    """An empty corpus and an empty store answer with nothing."""
    assert CascadeRetriever.from_documents([]).invoke(QUERY) == []
    empty = InMemoryVectorStore(as_embeddings())
    assert CascadeRetriever.from_retriever(empty).invoke(QUERY) == []


def test_09_no_fill() -> None:
    """A query of words that no document has is not answered with arbitrary ones by BM25."""
    cascade = sw.Cascade([sw.BM25(over_corpus().corpus)])
    assert CascadeRetriever(cascade=cascade).invoke("zxqv wvutz") == []


def _waiting_for(event: threading.Event) -> Any:
    def score(query: str, passages: list[str]) -> Any:
        assert event.wait(10), "the event loop never ran"
        return load_scorer().score(query, passages).values

    return score


async def test_14_event_loop_runs_meanwhile() -> None:
    """The event loop runs while the scorer works: the scorer waits for what only it can do."""
    event = threading.Event()
    cascade = cascade_of(sw.TopK(5), sw.CrossEncoder(_waiting_for(event), k=3))
    task = asyncio.create_task(CascadeRetriever(cascade=cascade).ainvoke(QUERY, k=3))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0.05, event.set)
    found = await task
    assert len(found) == 3
    assert not found[0].metadata["stepwell"]["degraded"]


async def test_14_ticks_pass_while_the_scorer_works() -> None:
    """Twenty ticks of 10 ms pass on the loop while the scorer works: it waits for the last."""
    event, ticks = threading.Event(), 0
    cascade = cascade_of(sw.TopK(5), sw.CrossEncoder(_waiting_for(event), k=3))
    task = asyncio.create_task(CascadeRetriever(cascade=cascade).ainvoke(QUERY, k=3))
    while not task.done():
        await asyncio.sleep(0.01)
        ticks += 1
        if ticks == 20:
            event.set()
    assert ticks >= 20
    assert not (await task)[0].metadata["stepwell"]["degraded"]


async def test_14_abatch_leaves_the_loop_free() -> None:
    """The same holds of abatch."""
    event = threading.Event()
    cascade = cascade_of(sw.TopK(5), sw.CrossEncoder(_waiting_for(event), k=3))
    task = asyncio.create_task(CascadeRetriever(cascade=cascade).abatch([QUERY, "heap"], k=3))
    asyncio.get_running_loop().call_later(0.05, event.set)
    for found in await task:
        assert len(found) == 3
        assert not found[0].metadata["stepwell"]["degraded"]


@both
async def test_14_nothing_blocks(make: Any) -> None:
    """Eight concurrent calls make no blocking call on the event loop."""
    retriever = make()
    expected = [shape(retriever.invoke(query)) for query in QUESTIONS]
    with blockbuster_ctx():
        found = await asyncio.gather(*(retriever.ainvoke(query) for query in QUESTIONS * 2))
    assert [shape(each) for each in found] == expected * 2


@both
async def test_15_batch_equals_invokes(make: Any) -> None:
    """batch and abatch give what the single calls give, in order."""
    retriever = make()
    expected = [shape(retriever.invoke(query)) for query in QUESTIONS]
    assert [shape(each) for each in retriever.batch(QUESTIONS)] == expected
    assert [shape(each) for each in await retriever.abatch(QUESTIONS)] == expected
    config = {"max_concurrency": 2}
    assert [shape(each) for each in retriever.batch(QUESTIONS, config)] == expected
    assert retriever.batch([]) == []
    assert await retriever.abatch([]) == []


@pytest.mark.parametrize("awaited", [False, True])
async def test_15_events_of_a_batch(awaited: bool) -> None:
    """Each query of a batch is one run, with the tags and handlers of its own config."""
    recorders = [Recorder() for _ in QUESTIONS]
    configs: Any = [
        {"callbacks": [recorder], "tags": [f"q{at}"], "run_name": f"ask {at}"}
        for at, recorder in enumerate(recorders)
    ]
    retriever = over_store()
    found = (
        await retriever.abatch(QUESTIONS, configs)
        if awaited
        else retriever.batch(QUESTIONS, configs)
    )
    for at, recorder in enumerate(recorders):
        ours = [each for each in recorder.of("start") if each["parent_run_id"] is None]
        assert [each["query"] for each in ours] == [QUESTIONS[at]]
        assert ours[0]["tags"] == [f"q{at}"]
        assert ours[0]["name"] == f"ask {at}"
        nested = [each for each in recorder.of("start") if each["parent_run_id"] is not None]
        assert [each["parent_run_id"] for each in nested] == [ours[0]["run_id"]]
        assert [each["query"] for each in nested] == [QUESTIONS[at]]
        ends = [each for each in recorder.of("end") if each["run_id"] == ours[0]["run_id"]]
        assert [shape(each["documents"]) for each in ends] == [shape(found[at])]


def test_15_one_failure_spoils_no_other() -> None:
    """With return_exceptions the failing query gives its error, the others their documents."""

    def recall(candidates: sw.Candidates) -> sw.Candidates:
        if candidates.query.text == "fail":
            raise RuntimeError("no luck")
        return as_stage(over_store()).run(candidates)

    retriever = CascadeRetriever(cascade=sw.Cascade([sw.stage(recall)]))
    recorder = Recorder()
    inputs = [QUERY, "fail", "heap"]
    found = retriever.batch(inputs, {"callbacks": [recorder]}, return_exceptions=True)
    assert [len(found[0]), len(found[2])] == [5, 5]
    assert isinstance(found[1], sw.StageError)
    assert [each["error"] for each in recorder.of("error")] == [found[1]]
    with pytest.raises(sw.StageError, match="no luck"):
        retriever.batch(inputs)


async def test_15_fewer_model_calls() -> None:
    """The queries of a batch are encoded in one call, not one by one."""
    calls: list[list[str]] = []

    def encode(texts: list[str]) -> Any:
        calls.append(texts)
        return as_embeddings().embed_documents(texts)

    retriever = CascadeRetriever(cascade=cascade_of(sw.BiEncoder(encoder=encode)))
    retriever.batch(QUESTIONS)
    calls.clear()
    retriever.batch(QUESTIONS)
    await retriever.abatch(QUESTIONS)
    assert calls == [QUESTIONS] * 2


@both
async def test_16_threads(make: Any) -> None:
    """Sixteen threads, fifty calls each, on one instance answer as one does; so does abatch."""
    retriever = make()
    expected = {query: shape(retriever.invoke(query, k=3)) for query in QUESTIONS}
    questions = [QUESTIONS[at % len(QUESTIONS)] for at in range(50)]

    def fifty(_: int) -> list[Any]:
        return [shape(retriever.invoke(query, k=3)) for query in questions]

    wanted = [expected[query] for query in questions]
    with ThreadPoolExecutor(16) as threads:
        for found in threads.map(fifty, range(16)):
            assert found == wanted
    assert [shape(each) for each in await retriever.abatch(questions, k=3)] == wanted


@both
async def test_34_same_as_the_core(make: Any) -> None:
    """Ids and scores are those of the cascade itself, sync, async and batch."""
    retriever = make()
    result = retriever.cascade.search(QUERY, k=8)
    expected = [(hit.id, round(hit.score, 6)) for hit in result]
    assert shape(retriever.invoke(QUERY, k=8)) == expected
    assert shape(await retriever.ainvoke(QUERY, k=8)) == expected
    assert shape(retriever.batch([QUERY], k=8)[0]) == expected


def _broken(query: str, passages: list[str]) -> Any:
    raise RuntimeError("out of memory")


async def test_35_failure_policy() -> None:
    """A failed re-scoring is skipped and said on every document, or raised, as configured."""
    stages = [as_stage(over_store()), sw.CrossEncoder(_broken)]
    lenient = CascadeRetriever(cascade=sw.Cascade(stages))
    found = lenient.invoke(QUERY)
    assert len(found) == 5
    assert all(document.metadata["stepwell"]["degraded"] for document in found)
    policy = sw.Cascade(stages, on_failure={"cross-encoder": "raise"})
    recorder = Recorder()
    with pytest.raises(sw.StageError, match="out of memory"):
        await CascadeRetriever(cascade=policy).ainvoke(QUERY, {"callbacks": [recorder]})
    assert len(recorder.of("error")) == 1
    assert [each["data"]["status"] for each in recorder.of("custom")][-1] == "failed"


def test_35_deadline() -> None:
    """A deadline skips what is left of the re-scoring and says so; per call and as a field."""
    gate = threading.Event()
    spy = Spy(before=lambda: gate.wait(0.2))
    slow = sw.CrossEncoder(spy, k=5, name="slow")
    cascade = cascade_of(sw.TopK(3), slow, sw.CrossEncoder(Spy(), k=5, name="last"))
    retriever = CascadeRetriever(cascade=cascade, trace=True, deadline=0.1)
    found = retriever.invoke(QUERY)
    assert found[0].metadata["stepwell"]["degraded"]
    assert found[0].metadata["stepwell"]["trace"]["stages"][-1]["status"] == "skipped"
    with pytest.raises(sw.InputError, match="deadline"):
        retriever.invoke(QUERY, deadline=-1)


def test_35_documents_of_a_failing_retriever() -> None:
    """A retriever that returns no documents is an error that names it."""
    from langchain_core.runnables import RunnableLambda

    chain = RunnableLambda(lambda query: "text", name="teller")
    with pytest.raises(sw.InputError, match="teller returned a str"):
        CascadeRetriever.from_retriever(chain).invoke(QUERY)
    mixed = RunnableLambda(lambda query: [Document(page_content="a"), "b"], name="mixed")
    with pytest.raises(sw.InputError, match="got a str at position 1"):
        CascadeRetriever.from_retriever(mixed).invoke(QUERY)
