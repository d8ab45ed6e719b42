"""`stepwell mcp` on standard input and output, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp", reason="the extra mcp is not installed")

from mcp import Client, StdioServerParameters, stdio_client

from stepwell import BM25, Cascade, MinScore
from tests.mcp.conftest import DOCUMENTS


def command(corpus_path: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "stepwell", "mcp", str(corpus_path), *options]


def client(corpus_path: Path, *options: str, **env: str) -> Client:
    program, *arguments = command(corpus_path, *options)
    made = StdioServerParameters(command=program, args=arguments, env={**os.environ, **env})
    return Client(stdio_client(made))


async def test_an_agent_searches_and_reads(corpus_path: Path) -> None:
    """The SDK's client finds both tools, searches with a filter, and reads a whole document."""
    options = ("--name", "handbook", "--about", "The handbook.", "-k", "2")
    async with client(corpus_path, *options) as agent:
        assert agent.instructions == "The handbook."
        tools = {tool.name: tool for tool in (await agent.list_tools()).tools}
        assert "Metadata to filter by: team (str), year (int)." in str(tools["search"].description)
        result = await agent.call_tool(
            "search", {"query": "rotate", "filter": {"team": {"$ne": "sre"}}}
        )
        found: Any = result.structured_content
        assert [hit["id"] for hit in found["hits"]] == ["keys"]
        whole = await agent.call_tool("get_document", {"id": "cat"})
        assert whole.structured_content is not None
        assert whole.structured_content["text"] == DOCUMENTS[3].text


async def test_with_vectors_and_models(tmp_path: Path) -> None:
    """The default cascade with the embedded models answers through it as well."""
    from stepwell import Corpus

    with Corpus.open(tmp_path / "c") as corpus:
        corpus.add(DOCUMENTS)
    async with client(tmp_path / "c") as agent:
        result = await agent.call_tool("search", {"query": "when does the pet eat?", "k": 1})
        found: Any = result.structured_content
    assert [hit["id"] for hit in found["hits"]] == ["cat"]


async def test_a_cascade_file_is_what_it_runs(corpus_path: Path, tmp_path: Path) -> None:
    """With `--cascade` the answer is the file's: here a threshold that nothing reaches."""
    file = tmp_path / "made.toml"
    Cascade([BM25(), MinScore(1e9)]).save(file)
    async with client(corpus_path, "--cascade", str(file)) as agent:
        result = await agent.call_tool("search", {"query": "rotate"})
        found: Any = result.structured_content
    assert found["hits"] == []


def session(*calls: dict[str, Any]) -> str:
    hello = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "raw", "version": "1"},
    }
    messages = [
        {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        *({"jsonrpc": "2.0", "id": at, **call} for at, call in enumerate(calls, 1)),
    ]
    return "".join(json.dumps(message) + "\n" for message in messages)


def test_standard_output_carries_the_protocol_alone(corpus_path: Path, tmp_path: Path) -> None:
    """Each line of it is a message, whatever else prints there; remarks go to standard error."""
    noisy = tmp_path / "sitecustomize.py"
    noisy.write_text(
        "import stepwell.stages.bm25 as at, os\n"
        "run = at.BM25.run\n"
        "def loud(self, candidates):\n"
        "    print('printed'); os.write(1, b'written\\n')\n"
        "    return run(self, candidates)\n"
        "at.BM25.run = loud\n"
    )
    search = {"method": "tools/call", "params": {"name": "search", "arguments": {"query": "logs"}}}
    process = subprocess.Popen(
        command(corpus_path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(session(search))
    process.stdin.flush()
    messages = [json.loads(process.stdout.readline()) for _ in range(2)]
    rest, remarks = process.communicate(timeout=60)
    assert [message["id"] for message in messages] == [0, 1]
    assert messages[1]["result"]["structuredContent"]["hits"][0]["id"] == "logs"
    assert (rest, process.returncode) == ("", 0)
    assert "printed" in remarks
    assert "written" in remarks


def test_what_cannot_be_opened_is_one_line_and_a_code(tmp_path: Path) -> None:
    """No corpus: standard output stays empty, standard error says what is wrong."""
    done = subprocess.run(
        command(tmp_path / "nothing"),
        input=session(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "nothing" in done.stderr


def test_without_the_extra_the_pip_line_is_said(corpus_path: Path, tmp_path: Path) -> None:
    """Where the SDK is not installed, the error says what to type."""
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['mcp'] = None\n")
    done = subprocess.run(
        command(corpus_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 1
    assert "pip install 'stepwell[mcp]'" in done.stderr
