"""Servers to ask: the command in a process of its own, or the application in a thread."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from stepwell.models.protocols import PairScores
from stepwell.server import Service, create_app
from stepwell.server.running import bound, url_of

QUERY = "how do I rotate the logs?"
TEXTS = [
    "The office cat is fed at noon.",
    "Rotate the logs with logrotate -f, never by hand.",
    "",
    "When the disk is full, old logs are compressed.",
    "Rotate the logs with logrotate -f, never by hand.",
]


@dataclass
class Command:
    """`stepwell serve` in a process of its own.

    Attributes:
        url: Where it listens.
        lines: What it said on standard error.
    """

    process: subprocess.Popen[str]
    url: str = ""
    lines: list[str] = field(default_factory=list)

    def ready(self) -> None:
        """Wait until it takes work."""
        for _ in range(600):
            assert self.process.poll() is None, self.said
            try:
                if httpx.get(f"{self.url}/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"it is not ready: {self.said}")

    @property
    def said(self) -> str:
        return "".join(self.lines)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def end(self) -> int:
        """Its exit code, once it has one."""
        return self.process.wait(timeout=60)


SLOW = """
import sys, time
from stepwell.models import load_scorer
from stepwell.server import Service
from stepwell.server.running import bound, run, url_of

def slow(query, passages):
    time.sleep(0 if query == "warm" else float(query))
    return [0.0] * len(passages)

listening = bound("127.0.0.1", 0)
print("at", url_of(listening), file=sys.stderr)
run(Service(load_scorer(slow)), listening, drain=0.1)
"""
"""Serves a model that takes as many seconds as the query says."""


def command(*args: object, **env: str) -> AbstractContextManager[Command]:
    """Run `stepwell serve` with these arguments on a free port, until it says where."""
    return process("-m", "stepwell", "serve", *args, "--port", "0", **env)


@contextmanager
def process(*args: object, **env: str) -> Iterator[Command]:
    """Run Python with these arguments until it says where it listens."""
    words = [sys.executable, *map(str, args)]
    process = subprocess.Popen(
        words, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "160", **env}
    )
    told = Command(process)
    assert process.stderr is not None
    while not told.url and (line := process.stderr.readline()):
        told.lines.append(line)
        told.url = "".join(re.findall(r"at (http://\S+)", line))
    reader = threading.Thread(target=lambda: told.lines.extend(process.stderr or ()))
    reader.start()
    try:
        assert told.url, told.said
        yield told
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stderr.close()


@contextmanager
def running(service: Service, *, wait: bool = True) -> Iterator[str]:
    """The application of a service on a real socket, in a thread; gives its URL."""
    with bound("127.0.0.1", 0) as listening:
        config = uvicorn.Config(create_app(service), log_config=None, access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            until(lambda: server.started and (service.state == "ready" or not wait))
            yield url_of(listening)
        finally:
            server.should_exit = True
            thread.join()


def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until something holds."""
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "it never did"
        time.sleep(0.005)


class Held:
    """A scorer that reads only when it is let: the work of a slow model.

    Attributes:
        asked: How many calls have begun.
        cancelled: How many awaited calls were cancelled.
        go: Set to let them end.
    """

    name = "held"
    kind = "logit"

    def __init__(self) -> None:
        self.asked = self.cancelled = 0
        self.go = threading.Event()

    def score(self, query: str, passages: Sequence[str], /, *, stop: Any = None) -> PairScores:
        import numpy as np

        if query != "warm":
            self.asked += 1
            self.go.wait(30)
        return PairScores(np.arange(len(passages), dtype=np.float32))


class AwaitedHeld(Held):
    """The same, awaited."""

    async def ascore(self, query: str, passages: Sequence[str], /, *, stop: Any = None) -> Any:
        import asyncio

        self.asked += 1
        try:
            while not self.go.is_set():
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self.score("warm", passages)


def post(url: str, path: str, body: Any, **kwargs: Any) -> httpx.Response:
    return httpx.post(f"{url}{path}", json=body, timeout=60, **kwargs)


def small_corpus(folder: Path) -> Path:
    """A corpus of a few pages, with vectors."""
    from stepwell import Corpus, Document

    place = folder / "pages.stepwell"
    with Corpus.open(place) as corpus:
        corpus.add(
            Document(f"d{at}", text, {"team": "office" if "cat" in text else "sre", "page": at})
            for at, text in enumerate(TEXTS)
            if text
        )
    return place
