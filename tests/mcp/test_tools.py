"""The tools, asked by the SDK's own client in this process."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp", reason="the extra mcp is not installed")

from mcp import Client
from mcp.types import CallToolResult, TextContent

from stepwell import BM25, Candidates, Cascade, ConfigurationError, Corpus, Document
from stepwell.mcp import create_server
from stepwell.mcp.tools import fields_of
from tests.mcp.conftest import DOCUMENTS


@pytest.fixture
def corpus(corpus_path: Path) -> Any:
    with Corpus.open(corpus_path, encoder=None, create=False) as corpus:
        yield corpus


def said(result: CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


def found(result: CallToolResult) -> dict[str, Any]:
    assert not result.is_error, said(result)
    assert result.structured_content is not None
    return result.structured_content


async def ask(cascade: Cascade, corpus: Corpus, /, **arguments: Any) -> CallToolResult:
    async with Client(create_server(cascade, corpus)) as client:
        return await client.call_tool("search", arguments)


async def test_a_search_gives_what_the_cascade_gives(corpus: Corpus) -> None:
    """Ids, texts, scores and metadata, in the cascade's order; as data and as text."""
    cascade = Cascade([BM25(corpus)])
    result = await ask(cascade, corpus, query="rotate the logs", k=2)
    expected = cascade.search("rotate the logs", k=2)
    hits = found(result)["hits"]
    assert [hit["id"] for hit in hits] == expected.ids == ["logs", "keys"]
    assert [hit["score"] for hit in hits] == [hit.score for hit in expected]
    assert hits[0]["text"] == DOCUMENTS[0].text
    assert hits[0]["metadata"] == {"team": "sre", "year": 2024}
    assert found(result)["degraded"] is False
    assert "logrotate" in said(result)


async def test_a_filter_and_the_default_number(corpus: Corpus) -> None:
    """Only what matches the filter; five at most unless more are asked for."""
    result = await ask(
        Cascade([BM25(corpus)]), corpus, query="rotate", filter={"year": {"$gte": 2025}}
    )
    assert [hit["id"] for hit in found(result)["hits"]] == ["keys"]


async def test_nothing_found_is_no_error(corpus: Corpus) -> None:
    """An empty list, not degraded."""
    result = await ask(Cascade([BM25(corpus)]), corpus, query="zeppelin")
    nothing = {"hits": [], "degraded": False, "hint": None}
    assert found(result) == {**nothing, "empty_because": "nothing was recalled"}


@pytest.mark.parametrize(
    ("filter", "hint"),
    [
        ({"tem": "sre"}, "'tem' is not one of team, year; did you mean 'team'?"),
        ({"$and": [{"team": "sre"}, {"$not": {"file": "a"}}]}, "'file' is not one of team, year"),
        ({"team": "nobody"}, None),
        ({"team": "sre", "$or": [{"year": 1}]}, None),
    ],
)
async def test_a_filter_on_a_field_that_is_not_known(
    corpus: Corpus, filter: dict[str, Any], hint: str | None
) -> None:
    """Where it leaves nothing, the answer says which fields there are."""
    server = create_server(Cascade([BM25(corpus)]), corpus, fields=fields_of(corpus))
    async with Client(server) as client:
        absent = {"tem": {"$exists": False}}
        everything = await client.call_tool("search", {"query": "logs", "filter": absent})
        asked = {"query": "zeppelin", "filter": filter}
        nothing = await client.call_tool("search", asked)
    assert found(everything)["hits"]
    assert found(everything)["hint"] is None
    assert found(nothing)["hits"] == []
    assert found(nothing)["hint"] == (hint and f"the metadata field {hint}")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"query": "logs", "filter": {"team": {"$near": "sre"}}}, r"\$near"),
        ({"query": "logs", "filter": "sre"}, "^filter: must be an object$"),
        ({"query": "logs", "k": 0}, "^k: must be at least 1$"),
        ({"query": "logs", "k": 101}, "^k: must be at most 100$"),
        ({"query": "logs", "k": "many"}, "^k: must be a whole number$"),
        ({"query": ""}, "^query: must not be empty$"),
        ({"query": " "}, "^query: must not be blank$"),
        ({"query": "x" * 10_001}, "^query: must have 10000 characters at most$"),
        ({"query": 7}, "^query: must be a string$"),
        ({}, "^query: is missing$"),
        ({"query": "logs", "filters": {"team": "sre"}}, "'filters'; did you mean 'filter'?"),
        ({"query": "logs", "top": 1}, "no argument 'top'; there are: query, k, filter$"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_a_call_that_cannot_be_honoured_says_why(
    corpus: Corpus, arguments: dict[str, Any], words: str
) -> None:
    """The agent gets an error of the tool that it can read and mend, unknown arguments too."""
    async with Client(create_server(Cascade([BM25(corpus)]), corpus)) as client:
        result = await client.call_tool("search", arguments)
    assert result.is_error
    assert re.search(words, said(result))
    assert not re.search("validation|pydantic|Error executing", said(result))


class Away:
    """A recall whose index is away."""

    name = "away"

    def run(self, candidates: Candidates) -> Candidates:
        raise ConnectionError("secret-host:6333 refused a question about mergers")


async def test_a_failure_tells_the_stage_and_no_more(
    corpus: Corpus, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the agent nor the log hears what the error quotes."""
    with caplog.at_level(logging.DEBUG, "stepwell"):
        result = await ask(Cascade([Away()]), corpus, query="a question about mergers")
    assert result.is_error
    assert "stage 'away' (ConnectionError)" in said(result)
    assert "mergers" not in said(result)
    assert "secret-host" not in said(result)
    assert "'away'" in caplog.text
    assert "mergers" not in caplog.text


async def test_a_degraded_answer_says_so(corpus: Corpus) -> None:
    """A stage that fails on the way leaves hits that are marked."""
    result = await ask(Cascade([BM25(corpus), Away()]), corpus, query="logs")
    assert found(result)["degraded"] is True
    assert len(found(result)["hits"]) == 2


async def test_a_document_by_its_id(corpus: Corpus) -> None:
    """All of its text and metadata; an unknown id is an error that says where ids come from."""
    async with Client(create_server(Cascade([BM25(corpus)]), corpus)) as client:
        whole = await client.call_tool("get_document", {"id": "cat"})
        missing = await client.call_tool("get_document", {"id": "dog"})
    assert found(whole) == {"id": "cat", "text": DOCUMENTS[3].text, "metadata": {"team": "office"}}
    assert missing.is_error
    assert said(missing).startswith("there is no document with this id; take one from a hit")


async def test_fields_for_programs_are_not_shown(tmp_path: Path) -> None:
    """A field whose name begins with an underscore is neither offered to filter by nor given."""
    with Corpus.open(tmp_path / "c", encoder=None) as corpus:
        corpus.add([Document("a", "Rotate the logs.", {"path": "a.md", "_source": "docs-1"})])
        assert fields_of(corpus) == {"path": "str"}
        async with Client(create_server(Cascade([BM25(corpus)]), corpus)) as client:
            hits = found(await client.call_tool("search", {"query": "logs"}))["hits"]
            whole = found(await client.call_tool("get_document", {"id": "a"}))
    assert hits[0]["metadata"] == whole["metadata"] == {"path": "a.md"}


async def test_tools_describe_themselves(corpus: Corpus) -> None:
    """What they are about, which metadata there is, each argument and each field of the answer."""
    server = create_server(
        Cascade([BM25(corpus)]),
        corpus,
        name="handbook",
        about="The engineers' handbook.",
        fields=fields_of(corpus),
        k=3,
    )
    async with Client(server) as client:
        assert client.server_info is not None
        assert client.server_info.name == "handbook"
        assert client.instructions == "The engineers' handbook."
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(tools) == {"search", "get_document"}
    search = tools["search"]
    assert "The engineers' handbook." in str(search.description)
    assert "team (str), year (int)" in str(search.description)
    arguments = search.input_schema["properties"]
    assert all(each.get("description") for each in arguments.values())
    assert arguments["k"]["default"] == 3
    assert search.input_schema["required"] == ["query"]
    assert search.output_schema is not None
    assert set(search.output_schema["properties"]) == {"hits", "degraded", "empty_because", "hint"}
    for tool in tools.values():
        assert tool.input_schema["additionalProperties"] is False
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint is True


async def test_a_search_that_waits_holds_up_no_other_call(corpus: Corpus) -> None:
    """While one search waits in its stage, tools are listed and another search is answered."""
    began, go_on = threading.Event(), threading.Event()

    class Waits(BM25):
        def run(self, candidates: Candidates) -> Candidates:
            if candidates.query.text == "wait":
                began.set()
                assert go_on.wait(60)
            return super().run(candidates)

    async with Client(create_server(Cascade([Waits(corpus)]), corpus)) as client:
        slow = asyncio.create_task(client.call_tool("search", {"query": "wait"}))
        assert await asyncio.to_thread(began.wait, 60)
        assert len((await client.list_tools()).tools) == 2
        quick = await client.call_tool("search", {"query": "logs"})
        assert len(found(quick)["hits"]) == 2
        assert not slow.done()
        go_on.set()
        assert found(await slow)["hits"] == []


async def test_a_deadline_for_each_search(corpus: Corpus) -> None:
    """What has not run by then is skipped, and the answer says so."""
    server = create_server(Cascade([BM25(corpus), Away()]), corpus, deadline=1e-6)
    async with Client(server) as client:
        result = await client.call_tool("search", {"query": "logs"})
    assert found(result)["degraded"] is True


@pytest.mark.parametrize("k", [0, -1, 101, True])
def test_a_default_number_that_makes_no_sense_is_refused(corpus: Corpus, k: Any) -> None:
    """It would be wrong for every call."""
    with pytest.raises(ConfigurationError, match="k must be"):
        create_server(Cascade([BM25(corpus)]), corpus, k=k)
