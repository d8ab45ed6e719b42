"""What is refused, and how the client is told."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from stepwell.models import load_scorer
from stepwell.remote.secret import Secret
from stepwell.server import Limits, Service, guard
from tests.server.serving import SLOW, AwaitedHeld, Held, command, post, process, running, until

RERANK = {"query": "q", "documents": ["a"]}


def told(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"]


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/v2/rerank", {"query": "q", "documents": ["a"] * 21}, "there are 21 documents"),
        ("/rerank", {"query": "q", "texts": ["a"] * 21}, "there are 21 documents"),
        ("/v1/rerank", {"query": "q", "documents": ["a", "b" * 201]}, "document 1 has 201 char"),
        ("/v1/rerank", {"query": "q", "documents": [{"text": "b" * 201}]}, "document 0 has 201"),
        ("/v1/rerank", {"query": "q" * 101, "documents": []}, "the query has 101 characters"),
        ("/search", {"query": "q" * 101}, "the query has 101 characters"),
        ("/search", {"query": "q", "k": 21}, "k is 21"),
        ("/search", {"query": "q" * 20_001}, "this server takes 20000 bytes at most"),
    ],
)
def test_too_large(locked: str, key: str, path: str, body: Any, message: str) -> None:
    """Too many documents or a long text is a 422, a large body a 413; what fits is said."""
    answer = post(locked, path, body, headers={"Authorization": f"Bearer {key}"})
    assert told(answer) == (413 if "bytes" in message else 422, "too_large")
    assert message in answer.json()["message"]
    assert "at most" in answer.json()["message"]


@pytest.mark.parametrize("size", [20_001, 50_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_is_refused_before_it_is_kept(
    locked: str, key: str, size: int, chunked: bool
) -> None:
    """With a length or in chunks, a client that is still sending reads the 413."""
    body = b"x" * size
    content = (body[at : at + 65_536] for at in range(0, size, 65_536)) if chunked else body
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    answer = httpx.post(f"{locked}/search", content=content, headers=headers, timeout=60)
    assert told(answer) == (413, "too_large")


@pytest.mark.parametrize(("sent", "status"), [("Bearer wrong", 401), ("Bearer {key}", 413)])
def test_a_client_that_sends_all_before_it_reads(
    locked: str, key: str, sent: str, status: int
) -> None:
    """It is answered when it is refused early, too, and sees no broken connection."""
    connection = http.client.HTTPConnection(locked.removeprefix("http://"), timeout=60)
    headers = {"Authorization": sent.format(key=key), "Content-Type": "application/json"}
    connection.request("POST", "/search", b"x" * 20_000_000, headers)
    assert connection.getresponse().status == status
    connection.close()


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (b"{", "application/json", "no JSON, at position"),
        (b'{"query": NaN}', "application/json", "query: must be a string"),
        (b"\xff\xfe\x00", "application/json", ""),
        (b"[" * 100_000, "application/json", "cannot be read as JSON"),
        (b'{"k": ' + b"9" * 5000 + b"}", "application/json", "cannot be read as JSON"),
        (json.dumps(RERANK).encode(), "text/plain", "content-type: application/json"),
        (b"", "application/json", "the body is missing; send a JSON object"),
    ],
)
def test_what_is_no_request(served: str, content: bytes, kind: str, message: str) -> None:
    """A body that is no JSON, of no such type or of no such form is a 422 that says so."""
    headers = {"Content-Type": kind}
    answer = httpx.post(f"{served}/v2/rerank", content=content, headers=headers)
    assert told(answer) == (422, "invalid")
    assert message in answer.json()["message"]


def test_a_refusal_quotes_no_text(served: str) -> None:
    """What was sent stands in no message about it."""
    for body in (
        {"query": ["sesame"], "documents": ["sesame"]},
        {"query": "sesame", "documents": [{"sesame": "sesame"}, 3]},
        {"query": "sesame", "documents": ["a"], "top_n": "sesame"},
    ):
        for path in ("/v2/rerank", "/rerank"):
            answer = post(served, path, body)
            assert told(answer) == (422, "invalid")
            assert "sesame" not in answer.text


def test_paths_and_methods_that_there_are_not(served: str) -> None:
    """An unknown path is a typed 404, a wrong method a typed 405 with Allow; both say what is."""
    for path, said in (("/docs", "there are: /v2/rerank, "), ("/v3/rerank", "did you mean /v")):
        answer = httpx.get(f"{served}{path}")
        assert told(answer) == (404, "not_found")
        assert said in answer.json()["message"]
    answer = httpx.get(f"{served}/v2/rerank")
    assert told(answer) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"
    assert "POST" in answer.json()["message"]


@pytest.mark.parametrize(
    ("path", "meant"),
    [("/search/", "/search"), ("/v2/rerank//", "/v2/rerank"), ("/serch", "/search")],
)
def test_a_path_that_is_nearly_one(served: str, path: str, meant: str) -> None:
    """A slash too many or a slip is a 404 that says what was meant, and never a redirect."""
    answer = post(served, path, {"query": "logs"})
    assert told(answer) == (404, "not_found")
    assert f"did you mean {meant}?" in answer.json()["message"]


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer wrong", "Basic {key}", "Bearer {key}x", "Bearer é"]
)
def test_without_the_key(locked: str, key: str, header: str | None) -> None:
    """No key, a wrong one or one that is not ASCII is a 401; asking for health needs none."""
    headers = {} if header is None else {"Authorization": header.format(key=key).encode("latin-1")}
    for method, path in (("POST", "/search"), ("GET", "/metrics"), ("GET", "/openapi.json")):
        answer = httpx.request(method, f"{locked}{path}", headers=headers)
        assert told(answer) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert key not in answer.text
    assert httpx.get(f"{locked}/health").json() == {"status": "ok"}
    assert httpx.get(f"{locked}/ready").json() == {"status": "ready"}


def test_with_the_key(locked: str, key: str) -> None:
    """The word Bearer is read in any case, and the key opens every path."""
    for word in ("Bearer", "bearer"):
        headers = {"Authorization": f"{word} {key}"}
        assert post(locked, "/search", {"query": "logs"}, headers=headers).is_success
        assert httpx.get(f"{locked}/metrics", headers=headers).is_success


def test_the_key_is_not_shown(key: str) -> None:
    """Neither the service's attributes nor its interface's description hold the key as text."""
    service = Service(load_scorer(), key=Secret(key))
    assert key not in repr(vars(service))


def test_more_requests_than_may_be(caplog: pytest.LogCaptureFixture) -> None:
    """One request beyond the limit is a 503 with Retry-After; then there is room again."""
    held = Held()
    with running(Service(held, limits=Limits(requests=2))) as url:
        answers: list[httpx.Response] = []
        threads = [
            threading.Thread(target=lambda: answers.append(post(url, "/v2/rerank", RERANK)))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        until(lambda: held.asked == 2)
        refused = post(url, "/v2/rerank", RERANK)
        assert told(refused) == (503, "busy")
        assert refused.headers["retry-after"] == "1"
        assert httpx.get(f"{url}/health").is_success
        held.go.set()
        for thread in threads:
            thread.join()
        assert [each.status_code for each in answers] == [200, 200]
        assert post(url, "/v2/rerank", RERANK).is_success


def test_a_model_with_too_long_a_line() -> None:
    """A scorer's OverloadedError is a 503 with Retry-After."""
    from stepwell.errors import OverloadedError

    def full(query: str, passages: list[str]) -> list[float]:
        if query == "warm":
            return [0.0] * len(passages)
        raise OverloadedError("4096 pairs wait for the model")

    with running(Service(load_scorer(full))) as url:
        refused = post(url, "/v2/rerank", RERANK)
    assert told(refused) == (503, "overloaded")
    assert refused.headers["retry-after"] == "1"


def test_before_the_model_is_loaded() -> None:
    """Until then /ready and all work are a 503, while /health answers; then all is well."""
    loading, load = threading.Event(), threading.Event()

    def slow(query: str, passages: list[str]) -> list[float]:
        loading.set()
        load.wait(30)
        return [0.0] * len(passages)

    service = Service(load_scorer(slow))
    with running(service, wait=False) as url:
        loading.wait(30)
        ready = httpx.get(f"{url}/ready")
        assert (ready.status_code, ready.json()) == (503, {"status": "loading"})
        assert told(post(url, "/v2/rerank", RERANK)) == (503, "loading")
        assert httpx.get(f"{url}/health").is_success
        load.set()
        until(lambda: service.state == "ready")
        assert httpx.get(f"{url}/ready").json() == {"status": "ready"}
        assert post(url, "/v2/rerank", RERANK).is_success


def test_an_internal_error_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The client gets an id; the log has it and where it happened, and neither has a text."""

    def broken(query: str, passages: list[str]) -> list[float]:
        if query == "warm":
            return [0.0] * len(passages)
        raise RuntimeError(f"cannot read {query} and {passages}")

    with running(Service(load_scorer(broken))) as url:
        answer = post(url, "/v2/rerank", {"query": "sesame", "documents": ["poppy"]})
    assert told(answer) == (500, "internal")
    assert set(answer.json()) == {"type", "message", "id"}
    [line] = [each for each in caplog.records if each.name == "stepwell.server"]
    assert line.levelno == logging.ERROR
    assert answer.json()["id"] in line.getMessage()
    assert "RuntimeError" in line.getMessage()
    assert "test_limits.py" in line.getMessage()
    for text in ("sesame", "poppy", "Traceback"):
        assert text not in answer.text
        assert text not in caplog.text


def test_a_caller_that_hangs_up_ends_the_work() -> None:
    """Its room is free again, and an awaited scorer is cancelled."""
    held = AwaitedHeld()
    service = Service(held, limits=Limits(requests=1))
    with running(service) as url:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/v2/rerank", json=RERANK, timeout=0.3)
        until(lambda: held.cancelled == 1)
        held.go.set()
        until(lambda: post(url, "/v2/rerank", RERANK).is_success)


def test_a_body_that_trickles(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not send what it announced is told so, and holds no room."""
    monkeypatch.setattr(guard, "SENDING", 0.2)
    with running(Service(load_scorer(), limits=Limits(requests=1))) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as slow:
            head = "POST /v2/rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            slow.sendall(f'{head}Content-Length: 100\r\n\r\n{{"query"'.encode())
            assert b" 408 " in slow.recv(4096)
        assert post(url, "/v2/rerank", RERANK).is_success


def test_a_limit_below_1() -> None:
    """A limit that would refuse everything is refused itself."""
    with pytest.raises(ValueError, match="the limit 'k' must be an integer of at least 1"):
        Limits(k=0)


def test_who_sends_slowly_takes_no_place(pages: Path) -> None:
    """Requests whose body has not arrived do not count among those that are worked on."""
    with command(pages, "--max-requests", 1) as told:
        told.ready()
        host, port = told.url.removeprefix("http://").split(":")
        slow = [socket.create_connection((host, int(port))) for _ in range(3)]
        try:
            for each in slow:
                each.sendall(b"POST /search HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{")
            assert post(told.url, "/search", {"query": "logs"}).status_code == 200
        finally:
            for each in slow:
                each.close()


def test_a_connection_that_says_nothing_is_ended() -> None:
    """Who connects and never sends a whole request is hung up on; others are served."""
    with process("-c", SLOW.replace("import sys, time", HURRIED)) as told:
        told.ready()
        host, port = told.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as silent:
            silent.sendall(b"POST /v2/rerank HTTP/1.1\r\nHost: x\r\nX-Half: ")
            assert silent.recv(1) == b""
        asked = {"query": "0", "documents": ["a"]}
        assert post(told.url, "/v2/rerank", asked).status_code == 200


HURRIED = "import sys, time, stepwell.server.running as running; running.HEAD = 0.5"
