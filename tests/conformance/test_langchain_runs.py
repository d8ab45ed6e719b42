"""Points 11, 12 and 13: callbacks, tags and metadata, streaming."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnablePassthrough

import stepwell as sw
from stepwell.langchain import CascadeRetriever
from tests.conformance.langchain_parts import (
    QUERY,
    Recorder,
    cascade_of,
    memory_store,
    over_corpus,
    over_store,
    shape,
)

both = pytest.mark.parametrize("make", [over_corpus, over_store])


async def _ask(retriever: Any, awaited: bool, *args: Any, **kwargs: Any) -> Any:
    return (
        await retriever.ainvoke(*args, **kwargs) if awaited else retriever.invoke(*args, **kwargs)
    )


@pytest.mark.parametrize("awaited", [False, True])
@both
async def test_11_one_run(make: Any, awaited: bool) -> None:
    """One start and one end with one run id, the one that was asked for; the end has scores."""
    recorder, run_id = Recorder(), uuid4()
    found = await _ask(make(), awaited, QUERY, {"callbacks": [recorder]}, run_id=run_id)
    starts = [each for each in recorder.of("start") if each["parent_run_id"] is None]
    assert [each["run_id"] for each in starts] == [run_id]
    ends = [each for each in recorder.of("end") if each["run_id"] == run_id]
    assert [shape(each["documents"]) for each in ends] == [shape(found)]
    assert recorder.of("error") == []


@pytest.mark.parametrize("awaited", [False, True])
async def test_11_error(awaited: bool) -> None:
    """A failure is reported once, then raised; no end follows."""

    def fail(candidates: sw.Candidates) -> sw.Candidates:
        raise RuntimeError("no luck")

    recorder = Recorder()
    retriever = CascadeRetriever(cascade=sw.Cascade([sw.stage(fail)]))
    with pytest.raises(sw.StageError, match="no luck"):
        await _ask(retriever, awaited, QUERY, {"callbacks": [recorder]})
    assert [type(each["error"]) for each in recorder.of("error")] == [sw.StageError]
    assert recorder.of("end") == []
    (event,) = recorder.of("custom")
    assert event["data"]["status"] == "failed"


async def test_11_run_ids_of_a_batch() -> None:
    """Each query of a batch runs under the id that its config gives, in one start and one end."""
    for awaited in (False, True):
        recorder, ids = Recorder(), [uuid4(), uuid4()]
        configs: Any = [{"callbacks": [recorder], "run_id": id} for id in ids]
        if awaited:
            await over_corpus().abatch([QUERY, "heap"], configs)
        else:
            over_corpus().batch([QUERY, "heap"], configs)
        assert [each["run_id"] for each in recorder.of("start")] == ids
        assert [each["run_id"] for each in recorder.of("end")] == ids


@pytest.mark.parametrize("awaited", [False, True])
async def test_11_stage_events(awaited: bool) -> None:
    """Each stage gives one event bound to our run, before its end, without query or text."""
    recorder = Recorder()
    await _ask(over_store(), awaited, QUERY, {"callbacks": [recorder]})
    events = recorder.of("custom")
    (start,) = [each for each in recorder.of("start") if each["parent_run_id"] is None]
    assert {each["run_id"] for each in events} == {start["run_id"]}
    assert {each["name"] for each in events} == {"stepwell.stage"}
    stages = [stage.name for stage in over_store().cascade.stages]
    assert [each["data"]["name"] for each in events] == stages
    assert QUERY not in str([each["data"] for each in events])
    assert recorder.events[-1][0] == "end"


async def test_11_async_handlers() -> None:
    """A handler that is awaited gets the same events, nested runs included."""
    seen: list[tuple[str, Any]] = []

    class Handler(AsyncCallbackHandler):
        async def on_retriever_start(self, serialized: Any, query: str, **about: Any) -> None:
            seen.append(("start", about["parent_run_id"]))

        async def on_retriever_end(self, documents: Any, **about: Any) -> None:
            seen.append(("end", about["parent_run_id"]))

        async def on_custom_event(self, name: str, data: Any, **about: Any) -> None:
            seen.append(("custom", None))

    await over_store().ainvoke(QUERY, {"callbacks": [Handler()]})
    kinds = [kind for kind, _ in seen]
    assert kinds.count("start") == kinds.count("end") == 2
    assert kinds.count("custom") == len(over_store().cascade.stages)


@pytest.mark.parametrize("awaited", [False, True])
async def test_12_tags_and_metadata(awaited: bool) -> None:
    """Field tags mark our run alone, config tags its children too; LangSmith's keys are there."""
    recorder = Recorder()
    retriever = CascadeRetriever(
        cascade=over_store().cascade, tags=["local"], metadata={"where": "here"}
    )
    config: Any = {"callbacks": [recorder], "tags": ["all"], "metadata": {"user": "u"}}
    await _ask(retriever, awaited, QUERY, config)
    ours, child = recorder.of("start")
    assert {"local", "all"} <= set(ours["tags"])
    assert "all" in child["tags"]
    assert "local" not in child["tags"]
    assert ours["metadata"]["ls_retriever_name"] == "cascade"
    assert ours["metadata"]["where"] == "here"
    assert child["metadata"]["user"] == "u"
    assert "where" not in child["metadata"]
    assert child["metadata"]["ls_vector_store_provider"] == "InMemoryVectorStore"


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "batch", "abatch"])
async def test_12_langsmith_keys(way: str) -> None:
    """Our run is named to LangSmith, and the store's has the very keys of its own retriever."""
    recorder, own = Recorder(), Recorder()
    memory_store().as_retriever().invoke(QUERY, {"callbacks": [own]})
    config: Any = {"callbacks": [recorder]}
    match way:
        case "invoke":
            over_store().invoke(QUERY, config)
        case "ainvoke":
            await over_store().ainvoke(QUERY, config)
        case "batch":
            over_store().batch([QUERY], config)
        case "abatch":
            await over_store().abatch([QUERY], config)
    ours, child = (_langsmith(each) for each in recorder.of("start"))
    assert ours == {"ls_retriever_name": "cascade"}
    assert child == _langsmith(own.of("start")[0])
    assert {"ls_retriever_name", "ls_vector_store_provider"} <= set(child)


def _langsmith(run: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in run["metadata"].items() if key.startswith("ls_")}


def _chain(retriever: Any) -> Runnable[str, str]:
    prompt = ChatPromptTemplate.from_template("{context}\n{question}")
    model = FakeListChatModel(responses=["Use shutil.copytree."])
    start: Any = {"context": retriever, "question": RunnablePassthrough()}
    return start | prompt | model | StrOutputParser()


@both
async def test_13_streaming_in_a_chain(make: Any) -> None:
    """In a chain, astream_events shows our start, the stages, our documents, then the answer."""
    names, custom, run_id, documents, answer = [], [], None, None, ""
    async for event in _chain(make()).astream_events(QUERY, version="v2"):
        if event["event"] == "on_chat_model_stream":
            answer += event["data"]["chunk"].content
        if event["name"] in ("CascadeRetriever", "stepwell.stage"):
            names.append(event["event"])
        if event["event"] == "on_retriever_start" and event["name"] == "CascadeRetriever":
            run_id = event["run_id"]
        if event["event"] == "on_custom_event":
            custom.append(event)
        if event["event"] == "on_retriever_end" and event["name"] == "CascadeRetriever":
            documents = event["data"]["output"]
    stages = [stage.name for stage in make().cascade.stages]
    assert names == ["on_retriever_start", *["on_custom_event"] * len(stages), "on_retriever_end"]
    assert [each["data"]["name"] for each in custom] == stages
    for each in custom:
        assert {"status", "n_in", "n_out", "ms"} <= set(each["data"])
        assert each["run_id"] == run_id
    assert documents is not None
    assert shape(documents) == shape(make().invoke(QUERY))
    assert answer == "Use shutil.copytree."


@both
async def test_13_chain_answers(make: Any) -> None:
    """The chain runs by invoke, ainvoke, batch and stream."""
    chain = _chain(make())
    assert chain.invoke(QUERY) == await chain.ainvoke(QUERY) == "Use shutil.copytree."
    assert chain.batch([QUERY, "heap"]) == ["Use shutil.copytree."] * 2
    assert "".join(chain.stream(QUERY)) == "Use shutil.copytree."


async def test_13_one_chunk() -> None:
    """Streaming the retriever alone gives one chunk: the whole list."""
    retriever = CascadeRetriever(cascade=cascade_of())
    assert [len(chunk) for chunk in retriever.stream(QUERY)] == [5]
    assert [len(chunk) async for chunk in retriever.astream(QUERY)] == [5]
