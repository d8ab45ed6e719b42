"""`stepwell mcp --http`, in a process of its own."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp", reason="the extra mcp is not installed")

import httpx
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.mcp.conftest import Serve

KEY = "a-long-key-of-ours"
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
HEADERS = {"Accept": "application/json, text/event-stream"}


def keyed(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def hits(client: Client, **arguments: Any) -> list[str]:
    result = await client.call_tool("search", arguments)
    assert not result.is_error
    assert result.structured_content is not None
    return [hit["id"] for hit in result.structured_content["hits"]]


async def test_an_agent_searches(serve: Serve) -> None:
    """The SDK's client, over a real socket of the loopback address; twenty calls side by side."""
    running = serve()
    assert running.url.startswith("http://127.0.0.1:")
    assert running.url.endswith("/mcp")
    async with Client(running.url) as client:
        assert await hits(client, query="rotate the logs", k=2) == ["logs", "keys"]
        many = await asyncio.gather(*(hits(client, query="cat") for _ in range(20)))
    assert many == [["cat"]] * 20


@pytest.mark.parametrize("way", ["file", "environment"])
async def test_a_key_opens(serve: Serve, tmp_path: Path, way: str) -> None:
    """With the key from a file or the environment, a client that sends it is served."""
    if way == "file":
        (tmp_path / "key").write_text(KEY + "\n")
        running = serve("--key-file", str(tmp_path / "key"))
    else:
        running = serve(STEPWELL_MCP_KEY=KEY)
    async with (
        httpx2.AsyncClient(headers=keyed(KEY)) as http,
        Client(streamable_http_client(running.url, http_client=http)) as client,
    ):
        assert await hits(client, query="cat") == ["cat"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        keyed("wrong"),
        keyed(KEY + "x"),
        {"Authorization": "Bearer"},
        {"Authorization": KEY},
        {"Authorization": f"Basic {KEY}"},
        {"X-Api-Key": KEY},
    ],
    ids=["none", "wrong", "longer", "empty", "no bearer", "basic", "another header"],
)
def test_without_the_key_nothing_is_told(serve: Serve, headers: dict[str, str]) -> None:
    """401, whatever is asked, and not a word of the corpus."""
    running = serve(STEPWELL_MCP_KEY=KEY)
    for path in ("", "/../", "x"):
        answer = httpx.post(running.url + path, json=LIST, headers={**HEADERS, **headers})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json() == {"error": "a bearer key is needed"}


def test_another_host_name_is_refused(serve: Serve) -> None:
    """A page in a browser that gives this address a name of its own does not reach it."""
    running = serve()
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
        answer = httpx.post(running.url, json=LIST, headers={**HEADERS, **headers})
        assert answer.status_code in (403, 421)


@pytest.mark.parametrize("keys", [{}, {"STEPWELL_MCP_KEY": KEY}], ids=["open", "keyed"])
def test_a_slash_at_the_end_and_another_path(serve: Serve, keys: dict[str, str]) -> None:
    """`/mcp/` is `/mcp`, no redirect; any other path says where the tools are."""
    running, headers = serve(**keys), {**HEADERS, **(keyed(KEY) if keys else {})}
    answer = httpx.post(f"{running.url}/", json=LIST, headers=headers)
    assert answer.status_code == 200
    assert "get_document" in answer.text
    for path in ("/", "/search", "/v1/mcp"):
        url = running.url.removesuffix("/mcp") + path
        answer = httpx.post(url, json=LIST, headers=headers)
        assert answer.status_code == 404
        assert "the tools are at /mcp" in answer.json()["error"]


def test_a_body_that_is_no_message_is_refused(serve: Serve) -> None:
    """Neither brings the server down nor shows where in the program it failed."""
    running = serve()
    kind = {"Content-Type": "application/json"}
    for body in (b"{", b"[]", b"\xff", b'{"jsonrpc": "2.0"}', b"{" * 100_000):
        answer = httpx.post(running.url, content=body, headers={**HEADERS, **kind})
        assert 400 <= answer.status_code < 500
        assert "Traceback" not in answer.text
    assert httpx.post(running.url, content=b"x" * 5_000_000, headers=kind).status_code == 413
    assert httpx.post(running.url, json=LIST, headers=HEADERS).status_code < 500


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it(serve: Serve, by: int) -> None:
    """In good order, with nothing on standard output and no traceback."""
    running = serve()
    async with Client(running.url) as client:
        assert await hits(client, query="cat") == ["cat"]
    running.stop(by)
    out, err = running.process.communicate()
    assert out == ""
    assert "Traceback" not in err


def test_a_port_in_use_is_said(corpus_path: Path) -> None:
    """One line, and a code; the corpus is closed."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "stepwell", "mcp", str(corpus_path), "--http"]
        done = subprocess.run(
            [*command, "--port", port], capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode != 0
    assert "in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_open_address_without_a_key_is_warned_of(serve: Serve) -> None:
    """Whoever listens to the whole network is told to set a key."""
    running = serve("--host", "0.0.0.0")
    assert running.url.startswith("http://0.0.0.0:")
    assert "set a key" in running.remarks
    assert "set a key" not in serve().remarks


@pytest.mark.parametrize("key", ["", "two\nlines", "schlüssel"])
def test_a_key_that_no_header_holds_is_refused(corpus_path: Path, tmp_path: Path, key: str) -> None:
    """Before anything is served, and the key is not quoted."""
    (tmp_path / "key").write_text(key, encoding="utf-8")
    command = [sys.executable, "-m", "stepwell", "mcp", str(corpus_path), "--http"]
    done = subprocess.run(
        [*command, "--key-file", str(tmp_path / "key")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "printable ASCII" in done.stderr
    assert "schl" not in done.stderr
