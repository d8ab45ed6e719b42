"""Points 14, 15 and 16: awaited, in batches, from many threads."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from blockbuster import blockbuster_ctx

import stepwell as sw
from stepwell.langchain import CascadeCompressor, CascadeRetriever, as_embeddings, as_stage
from stepwell.models import load_scorer
from tests.conformance.langchain_parts import (
    QUERY,
    QUESTIONS,
    Recorder,
    cascade_of,
    documents,
    over_corpus,
    over_store,
    shape,
)

both = pytest.mark.parametrize("make", [over_corpus, over_store])


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


async def test_14_the_compressor_leaves_the_loop_free() -> None:
    """Twenty ticks of 10 ms pass while the compressor's model works, and nothing blocks."""
    event, ticks = threading.Event(), 0
    cascade = sw.Cascade([sw.CrossEncoder(_waiting_for(event), k=3)])
    compressor = CascadeCompressor(cascade=cascade, top_n=3)
    given = list(documents()[:9])
    with blockbuster_ctx():
        task = asyncio.create_task(compressor.acompress_documents(given, QUERY))
        while not task.done():
            await asyncio.sleep(0.01)
            ticks += 1
            if ticks == 20:
                event.set()
        found = await task
    assert ticks >= 20
    assert not found[0].metadata["stepwell"]["degraded"]


@both
async def test_14_nothing_blocks(make: Any) -> None:
    """Eight concurrent calls make no blocking call on the event loop."""
    retriever = make()
    expected = [shape(retriever.invoke(query)) for query in QUESTIONS]
    with blockbuster_ctx():
        found = await asyncio.gather(*(retriever.ainvoke(query) for query in QUESTIONS * 2))
        together = await retriever.abatch(QUESTIONS)
    assert [shape(each) for each in found] == expected * 2
    assert [shape(each) for each in together] == expected


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


async def test_15_one_failure_spoils_no_other() -> None:
    """With return_exceptions the failing query gives its error, the others their documents."""

    def recall(candidates: sw.Candidates) -> sw.Candidates:
        if candidates.query.text == "fail":
            raise RuntimeError("no luck")
        return as_stage(over_store()).run(candidates)

    retriever = CascadeRetriever(cascade=sw.Cascade([sw.stage(recall)]))
    recorder = Recorder()
    inputs = [QUERY, "fail", "heap"]
    config: Any = {"callbacks": [recorder]}
    found = retriever.batch(inputs, config, return_exceptions=True)
    again = await retriever.abatch(inputs, config, return_exceptions=True)
    for each in (found, again):
        assert [len(each[0]), len(each[2])] == [5, 5]
        assert isinstance(each[1], sw.StageError)
    assert [each["error"] for each in recorder.of("error")] == [found[1], again[1]]
    with pytest.raises(sw.StageError, match="no luck"):
        retriever.batch(inputs)
    with pytest.raises(sw.StageError, match="no luck"):
        await retriever.abatch(inputs)


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
    calls.clear()
    retriever.batch(QUESTIONS, {"max_concurrency": 3})
    await retriever.abatch(QUESTIONS, {"max_concurrency": 3})
    assert calls == [QUESTIONS[:3], QUESTIONS[3:]] * 2


def test_16_threads_of_the_compressor() -> None:
    """Sixteen threads, fifty calls each, on one compressor answer as one does."""
    compressor, given = CascadeCompressor(top_n=3), list(documents()[:9])
    expected = [shape(list(compressor.compress_documents(given, each))) for each in QUESTIONS]

    def fifty(_: int) -> list[Any]:
        asked = (QUESTIONS[at % 4] for at in range(50))
        return [shape(list(compressor.compress_documents(given, query))) for query in asked]

    wanted = [expected[at % 4] for at in range(50)]
    with ThreadPoolExecutor(16) as threads:
        for found in threads.map(fifty, range(16)):
            assert found == wanted


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
    for answers in await asyncio.gather(*(retriever.abatch(questions, k=3) for _ in range(4))):
        assert [shape(each) for each in answers] == wanted
