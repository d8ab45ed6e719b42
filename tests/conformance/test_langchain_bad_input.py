"""Bad input through LangChain: a typed error or the documented empty answer, in every way."""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda

import stepwell as sw
from stepwell.langchain import CascadeCompressor, CascadeRetriever, as_stage
from tests.conformance.langchain_parts import (
    QUERY,
    Recorder,
    documents,
    memory_store,
    over_corpus,
    over_store,
    shape,
)

Ask = Callable[..., Awaitable[Any]]


async def invoked(retriever: Any, query: Any, **kwargs: Any) -> Any:
    return retriever.invoke(query, **kwargs)


async def awaited(retriever: Any, query: Any, **kwargs: Any) -> Any:
    return await retriever.ainvoke(query, **kwargs)


async def batched(retriever: Any, query: Any, **kwargs: Any) -> Any:
    return retriever.batch([query], **kwargs)[0]


async def abatched(retriever: Any, query: Any, **kwargs: Any) -> Any:
    return (await retriever.abatch([query], **kwargs))[0]


async def compressed(given: Any, query: Any) -> Any:
    return CascadeCompressor(top_n=3).compress_documents(given, query)


async def acompressed(given: Any, query: Any) -> Any:
    return await CascadeCompressor(top_n=3).acompress_documents(given, query)


every_way = pytest.mark.parametrize("ask", [invoked, awaited, batched, abatched])
both_ways = pytest.mark.parametrize("rank", [compressed, acompressed])


@every_way
@pytest.mark.parametrize("make", [over_corpus, over_store])
@pytest.mark.parametrize("query", [None, 7, 1.5, b"heap", ["heap"], {"query": "heap"}])
async def test_bad_query(ask: Ask, make: Any, query: Any) -> None:
    """A query that is no string is an InputError that says so."""
    with pytest.raises(sw.InputError, match="a query must be a string"):
        await ask(make(), query)


@both_ways
@pytest.mark.parametrize("query", [None, 7, b"heap", ["heap"]])
async def test_bad_query_of_the_compressor(rank: Ask, query: Any) -> None:
    """The same of the compressor, which ranks nothing then."""
    with pytest.raises(sw.InputError, match="a query must be a string"):
        await rank(list(documents()[:4]), query)


@every_way
@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ({"filter": {"module": {"$like": "s"}}}, "filter"),
        ({"filter": "module = 'heapq'"}, "filter"),
        ({"filter": lambda document: True}, "filter"),
        ({"filter": {"$near": 1}}, "filter"),
        ({"search_kwargs": {"filter": ["module"]}}, "filter"),
        ({"search_kwargs": "k"}, "search_kwargs must be a mapping"),
        ({"search_kwargs": ["filter"]}, "search_kwargs must be a mapping"),
        ({"search_kwargs": {"fetch_k": 3}}, "fetch_k"),
        ({"where": {"module": "heapq"}}, "where"),
        ({"k": 0}, "k must be"),
        ({"deadline": float("nan")}, "deadline"),
    ],
)
async def test_bad_arguments_of_a_call(ask: Ask, wrong: dict[str, Any], fault: str) -> None:
    """A filter that nobody supports, or an argument that is none, never asks without it."""
    for make in (over_corpus, over_store):
        with pytest.raises(sw.InputError, match=fault):
            await ask(make(), QUERY, **wrong)


@every_way
async def test_04_an_arm_that_cannot_filter_stops_all(ask: Ask) -> None:
    """One arm of a hybrid that cannot filter makes the call an InputError, not an answer."""
    teller = RunnableLambda(lambda query: list(documents()), name="teller")
    retriever = CascadeRetriever(
        cascade=sw.Cascade([sw.Hybrid([as_stage(memory_store()), as_stage(teller)])])
    )
    assert len(await ask(retriever, QUERY)) == 5
    with pytest.raises(sw.InputError, match="teller cannot filter"):
        await ask(retriever, QUERY, filter={"module": "heapq"})


async def test_bad_batch() -> None:
    """A batch of nothing iterable, or of one string, is refused; one bad query is its own error."""
    for wrong in (None, "heap", 7):
        with pytest.raises(sw.InputError, match="queries must be a list"):
            over_store().batch(wrong)  # type: ignore[arg-type]
        with pytest.raises(sw.InputError, match="queries must be a list"):
            await over_store().abatch(wrong)  # type: ignore[arg-type]
    mixed: Any = [QUERY, None, "", 7]
    recorder = Recorder()
    for found in (
        over_store().batch(mixed, {"callbacks": [recorder]}, return_exceptions=True),
        await over_store().abatch(mixed, {"callbacks": [recorder]}, return_exceptions=True),
    ):
        assert shape(found[0]) == shape(over_store().invoke(QUERY))
        assert found[2] == []
        assert [type(found[1]), type(found[3])] == [sw.InputError] * 2
    assert len(recorder.of("error")) == 4
    with pytest.raises(sw.InputError, match="a query must be a string"):
        await over_store().abatch(mixed)


@both_ways
@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (None, "documents must be a list"),
        ("text", "documents must be a list"),
        (["text"], "got a str at position 0"),
        ([Document(page_content="a"), None], "got a NoneType at position 1"),
        ([{"page_content": "a"}], "got a dict at position 0"),
    ],
)
async def test_bad_documents_of_the_compressor(rank: Ask, given: Any, fault: str) -> None:
    """What is no list of documents is an InputError, with a query or with a blank one."""
    for query in (QUERY, " "):
        with pytest.raises(sw.InputError, match=fault):
            await rank(given, query)


@pytest.mark.parametrize("given", [None, "heap", {"query": "heap"}, {"documents": []}])
async def test_bad_input_of_the_runnable(given: Any) -> None:
    """A step that is given no query or no documents says what it takes."""
    step = CascadeCompressor().as_runnable()
    with pytest.raises(sw.InputError, match='"query" and "documents"'):
        step.invoke(given)
    with pytest.raises(sw.InputError, match='"query" and "documents"'):
        await step.ainvoke(given)


ODD: list[dict[Any, Any]] = [
    {"when": datetime.date(2024, 5, 1)},
    {"seen": {1, 2}},
    {"raw": b"bytes"},
    {7: "a key that is a number"},
    {"self": object()},
]


@pytest.mark.parametrize("metadata", ODD, ids=lambda each: str(next(iter(each))))
async def test_metadata_that_is_no_json(metadata: dict[Any, Any], tmp_path: Path) -> None:
    """It comes back as it was through memory and the compressor; a corpus on disk refuses it."""
    odd = Document(id="odd", page_content="rotate the logs", metadata=metadata)
    retriever = CascadeRetriever.from_documents([odd])
    for found in (
        *retriever.invoke("logs"),
        *await retriever.ainvoke("logs"),
        *await compressed([odd], "logs"),
        *await acompressed([odd], "logs"),
    ):
        assert metadata.items() <= found.metadata.items()
    with pytest.raises(sw.InputError, match="'odd'"):
        CascadeRetriever.from_documents([odd], tmp_path / "corpus")


@every_way
async def test_documents_with_no_id_or_no_text(ask: Ask) -> None:
    """Without an id each is a document of its own; without text it is answered all the same."""
    given = [
        Document(page_content="rotate the logs"),
        Document(page_content="rotate the keys"),
        Document(page_content=""),
    ]
    found = await ask(CascadeRetriever.from_documents(given), "logs")
    assert found[0].page_content == "rotate the logs"
    assert {each.page_content for each in found} == {each.page_content for each in given}
    assert len({each.id for each in found}) == 3


@both_ways
async def test_compressing_documents_with_no_id_or_no_text(rank: Ask) -> None:
    """The compressor gives none an id, keeps apart what differs, and reads empty text as such."""
    given = [
        Document(page_content=""),
        Document(page_content="rotate the logs", metadata={"n": 1}),
        Document(page_content="rotate the logs", metadata={"n": 2}),
    ]
    found = await rank(given, "logs")
    assert [each.id for each in found] == [None] * 3
    assert [each.metadata.get("n") for each in found] == [1, 2, None]


@pytest.mark.parametrize("wrong", [None, "text", 5])
def test_indexing_what_is_no_list(wrong: Any) -> None:
    """What is no list of documents is not indexed letter by letter."""
    with pytest.raises(sw.InputError, match="documents must be a list"):
        CascadeRetriever.from_documents(wrong)


@pytest.mark.parametrize("wrong", [{"deadline": -1}, {"filter": "module"}])
def test_a_bad_field_leaves_no_open_corpus(
    wrong: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a field is refused, the corpus that was opened for it is closed again."""
    closed: list[Path] = []
    own = sw.Corpus.close
    monkeypatch.setattr(sw.Corpus, "close", lambda self: closed.append(self.path) or own(self))
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CascadeRetriever.from_documents(documents()[:2], tmp_path / "corpus", **wrong)
    assert closed == [tmp_path / "corpus"]
