"""The examples to start an app from, run as a user runs them: a process of its own, no key."""

from __future__ import annotations

import difflib
import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
STARTERS = sorted({path.stem for path in EXAMPLES.glob("*.py")} - {"answering"})


def need(*modules: str) -> None:
    for module in modules:
        pytest.importorskip(module, reason=f"needs {module}, which is not installed")


def environment(**more: str) -> dict[str, str]:
    bare = {key: value for key, value in os.environ.items() if key != "STEPWELL_LLM"}
    return {**bare, "HF_HUB_OFFLINE": "1", "PYTHONIOENCODING": "utf-8", **more}


def said_by(example: str, folder: Path, *arguments: str, **variables: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{example}.py"), *arguments],
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_rag_chain_cites_and_follows_the_conversation(tmp_path: Path) -> None:
    """The second question names no key, and is answered about keys, each with its source."""
    need("langchain_core")
    said = said_by("langchain_rag", tmp_path)
    assert said[1] == "  API keys expire after ninety days. [1]"
    assert "revoked within the hour" in said[4]
    assert [line for line in said if "(keys, 1.00)" in line] == [said[2], said[5]]


def test_agent_searches_and_answers(tmp_path: Path) -> None:
    """The tool runs once a question; its documents arrive beside the text that is quoted."""
    need("langchain_core")
    said = said_by("langchain_agent", tmp_path)
    assert said[1].startswith("  search_handbook found laptop, ")
    assert "security desk at once" in said[2]
    assert said[-1] == "  The cat is fed at noon and at six. [1]"


def test_tool_searches_one_teams_pages() -> None:
    """The team that the model names is a filter, and the message carries text and documents."""
    need("langchain_core")
    agent = module_of("langchain_agent")
    search = agent.search_tool(agent.handbook())
    call = {"name": search.name, "args": {"query": "a password", "team": "office"}, "id": "1"}
    message = search.invoke({**call, "type": "tool_call"})
    assert {each.metadata["team"] for each in message.artifact} == {"office"}
    assert message.artifact[0].id == "guests"
    assert message.content.startswith("[1] Register guests")


def test_llama_index_engines_answer_and_are_measured(tmp_path: Path) -> None:
    """Query engine, chat engine and evaluator work from one retriever."""
    need("llama_index.core")
    said = said_by("llama_index_engines", tmp_path)
    assert said[1] == "  Everyone has thirty days of paid holiday a year."
    assert said[2] == "    1.000  holiday"
    assert "Engine: The person on call answers a page within fifteen minutes." in said
    measured = re.fullmatch(r"mrr (\S+)  hit_rate (\S+)  ndcg (\S+)", said[-1])
    assert measured is not None
    assert all(0.6 < float(value) <= 1 for value in measured.groups())


@pytest.mark.parametrize(("example", "scored"), [("chroma_before", False), ("chroma_after", True)])
def test_chroma_app_answers(example: str, scored: bool, tmp_path: Path) -> None:
    """The same app over the same collection; with Stepwell each document has its score."""
    need("langchain_chroma")
    said = said_by(example, tmp_path)
    assert said[1] == "  The large room on the second floor seats forty people. [1]"
    assert said[2].split()[0] == "rooms"
    assert said[7].split()[0] == "keys"
    assert (said[2].split()[1] == "no") is not scored


def test_chroma_diff_is_the_real_one() -> None:
    """What the README shows as the change is what tells the two files apart."""
    before, after = (
        (EXAMPLES / name).read_text(encoding="utf-8").splitlines()
        for name in ("chroma_before.py", "chroma_after.py")
    )
    real = difflib.unified_diff(
        before, after, "chroma_before.py", "chroma_after.py", n=1, lineterm=""
    )
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"```diff\n(.*?)\n```", page, re.DOTALL)
    assert shown is not None
    assert shown[1] == "\n".join(real)


def test_tenants_see_their_own_documents(tmp_path: Path) -> None:
    """A passage brings its document, once, and nothing of the other tenant."""
    need("langchain_core")
    said = said_by("tenants_and_parents", tmp_path)
    asked: dict[str, list[str]] = {}
    for line in said:
        if re.match(r"\w+: ", line):
            answers = asked.setdefault(line, [])
        elif found := re.match(r"    (\S+), for passage (\S+)#", line):
            assert found[1] == found[2]
            answers.append(found[1])
    assert [each[0] for each in asked.values()] == ["acme/sre", "globex/sre", "globex/people"]
    for question, ids in asked.items():
        assert {id.split("/")[0] for id in ids} == {question.split(":")[0]}
        assert len(set(ids)) == len(ids)
    assert "  Logs rotate every night at two. [1]" in said
    assert "  Logs rotate every night at five. [1]" in said
    assert "acme asks for globex: []" in said
    assert said[-1] == "acme asks for two teams: ['acme/security', 'acme/sre']"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    need("fastapi", "uvicorn", "httpx")
    import httpx

    folder = tmp_path_factory.mktemp("service")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = ["uvicorn", "--app-dir", str(EXAMPLES), "fastapi_service:app", "--port", port]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=folder, env=environment(), stdout=log, stderr=log
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            assert process.poll() is None, (folder / "log").read_text()
            try:
                httpx.get(f"{address}/health")
                break
            except httpx.ConnectError:
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


def events_of(address: str, **asked: Any) -> tuple[list[tuple[str, Any]], int]:
    """What `/ask` sends, and in how many pieces it came."""
    import httpx

    with httpx.stream("POST", f"{address}/ask", json=asked, timeout=60) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        pieces = list(response.iter_text())
    read = re.findall(r"event: (\w+)\ndata: (.*)\n\n", "".join(pieces))
    return [(name, json.loads(data)) for name, data in read], len(pieces)


def test_service_streams(service: str) -> None:
    """Over a socket, sources come first, then the answer word by word, then the end."""
    events, pieces = events_of(service, question="How do I rotate the logs?")
    assert [name for name, _ in events][:: len(events) - 1] == ["sources", "done"]
    sources = events[0][1]
    assert sources[0]["id"] == "logs"
    assert set(sources[0]["stepwell"]["scores"]) == {
        "hybrid",
        "bm25",
        "dense",
        "bi-encoder",
        "cross-encoder",
    }
    tokens = [data for name, data in events if name == "token"]
    assert len(tokens) > 3
    assert "logrotate -f" in "".join(tokens)
    assert pieces > 2


def test_service_narrows_and_refuses(service: str) -> None:
    """A filter holds; an impossible one, an empty question and a bad number are a 422."""
    import httpx

    events, _ = events_of(service, question="password", filter={"team": "office"}, k=2)
    assert {each["team"] for each in events[0][1]} == {"office"}
    for wrong in (
        {"question": "logs", "filter": {"team": {"$nonsense": 1}}},
        {"question": ""},
        {"question": "logs", "k": 0},
    ):
        assert httpx.post(f"{service}/ask", json=wrong).status_code == 422, wrong
    assert httpx.get(f"{service}/health").json() == {"documents": 14}
    assert [each["id"] for each in httpx.get(f"{service}/search?q=cat&k=1").json()] == ["cat"]


class Completions(BaseHTTPRequestHandler):
    """Answers as the interface of OpenAI does, always the same."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        message = {"role": "assistant", "content": f"{asked['model']} says so [1]"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        about = {"id": "1", "object": "chat.completion", "created": 1, "model": asked["model"]}
        body = json.dumps({**about, "choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Silent."""


@pytest.fixture(scope="module")
def openai() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Completions) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


@pytest.mark.parametrize(
    ("example", "client"),
    [
        ("langchain_rag", "langchain_openai"),
        ("langchain_agent", "langchain_openai"),
        ("llama_index_engines", "llama_index.llms.openai"),
    ],
)
def test_one_variable_names_a_real_model(
    example: str, client: str, openai: str, tmp_path: Path
) -> None:
    """With STEPWELL_LLM the provider's own client is asked, by that model's name."""
    need(client)
    said = said_by(
        example,
        tmp_path,
        "How long are API keys valid?",
        STEPWELL_LLM="openai:gpt-4o-mini",
        OPENAI_API_KEY="none",
        OPENAI_API_BASE=openai,
        OPENAI_BASE_URL=openai,
    )
    assert said[:2] == ["How long are API keys valid?", "  gpt-4o-mini says so [1]"]


@pytest.mark.parametrize("example", STARTERS)
def test_example_says_how_to_run_it(example: str) -> None:
    """Each names its command and is in the table; each of the new ones names what to install."""
    text = (EXAMPLES / f"{example}.py").read_text(encoding="utf-8")
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert f"[{example}.py]({example}.py)" in page
    assert re.search(r"^    (python examples/\w+\.py|uvicorn )", text, re.MULTILINE)
    assert example == "quickstart" or "    pip install 'stepwell[" in text


def module_of(example: str) -> Any:
    spec = importlib.util.spec_from_file_location(example, EXAMPLES / f"{example}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(EXAMPLES))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(EXAMPLES))
    return module
