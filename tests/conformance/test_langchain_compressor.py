"""Points 20 and 21: the compressor, and LangChain's own wrappers."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors import DocumentCompressorPipeline
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.runnables import RunnablePassthrough
from langchain_core.tools import create_retriever_tool

import stepwell as sw
from stepwell.langchain import CascadeCompressor
from tests.conformance.langchain_parts import (
    QUERY,
    Recorder,
    memory_store,
    over_corpus,
    over_store,
    shape,
)


def _given() -> list[Document]:
    return memory_store().similarity_search(QUERY, k=12)


async def test_20_reranks() -> None:
    """It keeps the best top_n with ids, scores never rising, sync and async alike."""
    compressor = CascadeCompressor(top_n=4)
    assert isinstance(compressor, BaseDocumentCompressor)
    found = list(compressor.compress_documents(_given(), QUERY))
    assert len(found) == 4
    assert found[0].id == "shutil.copytree"
    scores = [each.metadata["relevance_score"] for each in found]
    assert scores == sorted(scores, reverse=True)
    assert shape(list(await compressor.acompress_documents(_given(), QUERY))) == shape(found)
    assert len(CascadeCompressor(top_n=50).compress_documents(_given(), QUERY)) == 12


@pytest.mark.parametrize("awaited", [False, True])
async def test_20_in_contextual_compression(awaited: bool) -> None:
    """In ContextualCompressionRetriever it reranks, as a run inside the retriever's."""
    recorder = Recorder()
    retriever = ContextualCompressionRetriever(
        base_compressor=CascadeCompressor(top_n=3),
        base_retriever=memory_store().as_retriever(search_kwargs={"k": 12}),
    )
    config: Any = {"callbacks": [recorder]}
    found = await retriever.ainvoke(QUERY, config) if awaited else retriever.invoke(QUERY, config)
    assert shape(found) == shape(
        list(CascadeCompressor(top_n=3).compress_documents(_given(), QUERY))
    )
    outer = recorder.of("start")[0]
    (run,) = recorder.of("chain start")
    assert run["name"] == "CascadeCompressor"
    assert run["parent_run_id"] == outer["run_id"]
    assert {each["run_id"] for each in recorder.of("custom")} == {run["run_id"]}
    assert len(recorder.of("chain end")) == 1


@pytest.mark.parametrize("awaited", [False, True])
async def test_20_in_a_pipeline(awaited: bool) -> None:
    """In DocumentCompressorPipeline it takes its place, callbacks passed on."""
    recorder = Recorder()
    pipeline = DocumentCompressorPipeline(
        transformers=[CascadeCompressor(top_n=6), CascadeCompressor(top_n=2)]
    )
    found = (
        await pipeline.acompress_documents(_given(), QUERY, [recorder])
        if awaited
        else pipeline.compress_documents(_given(), QUERY, [recorder])
    )
    assert len(found) == 2
    assert len(recorder.of("chain start")) == len(recorder.of("chain end")) == 2


async def test_20_nothing_to_rank() -> None:
    """No documents give an empty list; a blank query keeps the order and adds no score."""
    compressor = CascadeCompressor(top_n=3)
    assert compressor.compress_documents([], QUERY) == []
    assert await compressor.acompress_documents([], QUERY) == []
    given = _given()
    for query in ("", "  "):
        kept = list(compressor.compress_documents(given, query))
        assert kept == given[:3]
        assert kept[0] is not given[0]


@pytest.mark.parametrize(
    ("given", "query", "fault"),
    [
        ([Document(page_content="a")], None, "a query must be a string"),
        ([Document(page_content="a")], 7, "a query must be a string"),
        (["a"], "q", "got a str at position 0"),
    ],
)
def test_20_bad_input(given: Any, query: Any, fault: str) -> None:
    """A query that is no string, or a document that is none, is a typed error."""
    with pytest.raises(sw.InputError, match=fault):
        CascadeCompressor().compress_documents(given, query)


def test_20_bad_fields() -> None:
    """A misspelt field or a top_n of 0 is refused."""
    with pytest.raises(ValueError, match="top_k"):
        CascadeCompressor(top_k=3)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="top_n must be an integer"):
        CascadeCompressor(top_n=0)


def test_20_failure() -> None:
    """A failed stage is skipped and said so, or raised and reported once."""

    def fail(query: str, passages: list[str]) -> Any:
        raise RuntimeError("no luck")

    stages = [sw.CrossEncoder(fail)]
    kept = CascadeCompressor(cascade=sw.Cascade(stages)).compress_documents(_given(), QUERY)
    assert [each.id for each in kept] == [each.id for each in _given()[:5]]
    assert all(each.metadata["stepwell"]["degraded"] for each in kept)
    recorder = Recorder()
    strict = sw.Cascade(stages, on_failure={"cross-encoder": "raise"})
    with pytest.raises(sw.StageError, match="no luck"):
        CascadeCompressor(cascade=strict).compress_documents(_given(), QUERY, [recorder])
    assert len(recorder.of("chain error")) == 1


def test_20_as_runnable() -> None:
    """As a step of a chain it takes the query and the documents."""
    step: Any = {
        "documents": memory_store().as_retriever(search_kwargs={"k": 12}),
        "query": RunnablePassthrough(),
    }
    found = (step | CascadeCompressor(top_n=3).as_runnable()).invoke(QUERY)
    assert found[0].id == "shutil.copytree"
    assert len(found) == 3


async def test_20_failure_awaited() -> None:
    """The same awaited: the order that was given, marked, or one error reported once."""

    def fail(query: str, passages: list[str]) -> Any:
        raise RuntimeError("no luck")

    stages = [sw.CrossEncoder(fail)]
    lenient = CascadeCompressor(cascade=sw.Cascade(stages))
    kept = await lenient.acompress_documents(_given(), QUERY)
    assert [each.id for each in kept] == [each.id for each in _given()[:5]]
    assert all(each.metadata["stepwell"]["degraded"] for each in kept)
    recorder = Recorder()
    strict = sw.Cascade(stages, on_failure={"cross-encoder": "raise"})
    with pytest.raises(sw.StageError, match="no luck"):
        await CascadeCompressor(cascade=strict).acompress_documents(_given(), QUERY, [recorder])
    assert len(recorder.of("chain error")) == 1
    assert [each["data"]["status"] for each in recorder.of("custom")] == ["failed"]


@pytest.mark.parametrize("make", [over_corpus, over_store])
async def test_21_retriever_tool(make: Any) -> None:
    """As a tool for an agent it gives text for the model and documents for the program."""
    tool = create_retriever_tool(
        make(), "docs", "Searches the documentation.", response_format="content_and_artifact"
    )
    call = {"name": "docs", "args": {"query": QUERY}, "id": "1", "type": "tool_call"}
    message = tool.invoke(call)
    assert shape(message.artifact) == shape(make().invoke(QUERY))
    again = await tool.ainvoke(call)
    assert shape(again.artifact) == shape(message.artifact)
    for told in (message, again):
        assert told.artifact[0].page_content in told.content
        assert told.artifact[-1].page_content in told.content
