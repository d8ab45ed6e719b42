"""How a server ends."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import httpx
import pytest

from tests.server.serving import QUERY, SLOW, TEXTS, command, post, process, until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM on Windows")

BODIES = {
    "/v2/rerank": {"query": QUERY, "documents": TEXTS * 4},
    "/rerank": {"query": QUERY, "texts": TEXTS},
    "/search": {"query": QUERY},
}


class Caller(threading.Thread):
    """Asks without a pause, one path after the other, until nobody listens any more."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.statuses: list[int] = []
        self.dropped: list[Exception] = []

    def run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=60) as client:
            while True:
                for path, body in BODIES.items():
                    try:
                        self.statuses.append(client.post(path, json=body).status_code)
                    except httpx.ConnectError:
                        return
                    except httpx.TransportError as error:
                        self.dropped.append(error)


def test_nothing_is_dropped(pages: Path) -> None:
    """Under load, SIGTERM turns /ready to 503, all that is sent is answered, the exit code is 0."""
    with command(pages, "--drain", "1.5") as told:
        told.ready()
        callers = [Caller(told.url) for _ in range(8)]
        for caller in callers:
            caller.start()
        until(lambda: all(len(each.statuses) >= 2 for each in callers))
        told.terminate()
        asked: list[httpx.Response] = []
        until(lambda: _last(asked, told.url).status_code == 503)
        assert asked[-1].json() == {"status": "draining"}
        assert asked[-1].headers["connection"] == "close"
        before = sum(len(each.statuses) for each in callers)
        for caller in callers:
            caller.join()
        assert told.end() == 0
    assert [error for each in callers for error in each.dropped] == []
    assert {status for each in callers for status in each.statuses} == {200}
    assert sum(len(each.statuses) for each in callers) > before
    assert "INFO ready" in told.said
    assert "INFO draining" in told.said
    assert "Traceback" not in told.said


def _last(asked: list[httpx.Response], url: str) -> httpx.Response:
    """What /ready answers now, kept."""
    asked.append(httpx.get(f"{url}/ready"))
    return asked[-1]


def test_a_long_request_is_finished() -> None:
    """What takes longer than the draining is answered, too, before the process ends."""
    answers: list[httpx.Response] = []
    with process("-c", SLOW) as told:
        told.ready()
        asked = {"query": "1.5", "documents": ["a"]}
        caller = threading.Thread(
            target=lambda: answers.append(post(told.url, "/v2/rerank", asked))
        )
        caller.start()
        until(lambda: " 1.0" in _active(told.url))
        told.terminate()
        caller.join()
        assert told.end() == 0
    assert answers[0].status_code == 200


def _active(url: str) -> str:
    """How many POSTs are being answered, as Prometheus reads it."""
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    found = [line for line in lines if line.startswith("http_server_active_requests{")]
    return "".join(line for line in found if 'http_request_method="POST"' in line)


def test_a_second_signal_waits_for_nobody_new() -> None:
    """Told again, it accepts nothing more, however long it was to drain; the exit code is 0."""
    with command("--drain", "600") as told:
        told.ready()
        told.terminate()
        until(lambda: httpx.get(f"{told.url}/ready").status_code == 503)
        told.terminate()
        assert told.end() == 0


def test_interrupted() -> None:
    """Control-C ends it at once, with the exit code of an interrupted command."""
    with command("--drain", "600") as told:
        told.ready()
        told.process.send_signal(signal.SIGINT)
        assert told.end() == 130
    assert "Traceback" not in told.said
