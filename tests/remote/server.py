"""A real HTTP server on this machine that answers in the shape of each rerank API."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def overlap(query: str, text: str) -> float:
    """The share of the query's words that the text has: a probability, of a kind."""
    asked = set(query.lower().split())
    return round(len(asked & set(text.lower().split())) / max(len(asked), 1), 4)


QUERY = "rotate the logs"
TEXTS = ["the logs rest at night", "feed the cat", "rotate the logs", "nothing here"]
SECRET = "sk-very-secret-123"


def expected(texts: list[str] = TEXTS) -> list[float]:
    return [overlap(QUERY, text) for text in texts]


def cohere(body: dict[str, Any]) -> Any:
    results = [
        {"index": at, "relevance_score": overlap(body["query"], text)}
        for at, text in enumerate(body["documents"])
    ]
    results.sort(key=lambda each: -each["relevance_score"])
    return {"id": "1", "results": results, "meta": {"api_version": {"version": "2"}}}


def voyage(body: dict[str, Any]) -> Any:
    return {"object": "list", "data": cohere(body)["results"], "usage": {"total_tokens": 1}}


def tei(body: dict[str, Any]) -> Any:
    results = cohere({"query": body["query"], "documents": body["texts"]})["results"]
    return [{"index": each["index"], "score": each["relevance_score"]} for each in results]


def logits(body: dict[str, Any]) -> Any:
    answer = cohere(body)
    for each in answer["results"]:
        each["relevance_score"] = each["relevance_score"] * 20 - 10
    return answer


ANSWERS: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
    "cohere": ("/v2/rerank", cohere),
    "voyage": ("/v1/rerank", voyage),
    "jina": ("/v1/rerank", cohere),
    "tei": ("/rerank", tei),
    "vllm": ("/v1/rerank", cohere),
    "infinity": ("/rerank", cohere),
    "llama.cpp": ("/v1/rerank", logits),
}


@dataclass
class Served:
    """What a server is told to do, and what it was asked.

    Attributes:
        api: Whose shape it answers in.
        faults: What to do with the next requests instead: a status, a function that changes the
            answer, raw bytes, or seconds to sleep first. One a request; then it behaves.
        headers: Sent with a faulty status.
        words: What a faulty status says, in place of the request's own key.
        fault_of: What to do with a request by its body, in place of `faults`; None to behave.
        most: Requests that were under way at one time.
        keep: Whether requests are remembered.
        connections: That were opened.
        greeted: The headers of HEAD requests.
    """

    api: str
    url: str = ""
    faults: list[Any] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    words: str = ""
    fault_of: Callable[[dict[str, Any]], Any] | None = None
    most: int = 0
    under_way: int = 0
    keep: bool = True
    connections: int = 0
    greeted: list[dict[str, str]] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    seen: list[dict[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def serving(api: str, *faults: Any, port: int = 0, **headers: str) -> Iterator[Served]:
    told = Served(api, faults=list(faults), headers=headers)
    path, answer = ANSWERS[api]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            with told.lock:
                told.connections += 1
            super().setup()

        def do_HEAD(self) -> None:
            told.greeted.append(dict(self.headers))
            self._send(404, b"")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with told.lock:
                if told.keep:
                    told.requests.append(body)
                    told.seen.append(dict(self.headers))
                told.under_way += 1
                told.most = max(told.most, told.under_way)
                fault = told.faults.pop(0) if told.faults else None
            try:
                self._answer(body, told.fault_of(body) if told.fault_of else fault)
            finally:
                with told.lock:
                    told.under_way -= 1

        def _answer(self, body: dict[str, Any], fault: Any) -> None:
            if self.path != path:
                return self._send(404, b'{"message": "no such path"}')
            if isinstance(fault, bytes):
                return self._send(200, fault)
            if isinstance(fault, int):
                key = self.headers.get("Authorization", "")
                words = {"message": told.words or f"cannot, with {key}", "echo": body}
                return self._send(fault, json.dumps(words).encode(), told.headers)
            if isinstance(fault, float):
                time.sleep(fault)
            made = answer(body)
            content = json.dumps(fault(made) if callable(fault) else made).encode()
            return self._send(200, content)

        def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
            try:
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client gave up, as some tests want

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client gave up
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    told.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
