"""Processes beside: a rerank server that is killed, and `stepwell serve`."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class Remote:
    """The rerank server: begun, killed without a word, begun again at the same address."""

    def __init__(self, seed: str) -> None:
        self.port, self.seed, self.kills = free_port(), seed, 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def begin(self) -> None:
        command = [sys.executable, "-m", "tests.soak.reranker", str(self.port)]
        self._process = subprocess.Popen(
            [*command, f"{self.seed} {self.kills}"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # clients that give up are noted there
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self.kills += 1

    def end(self) -> None:
        self.kill()


@contextmanager
def serve(path: Path) -> Iterator[tuple[str, int]]:
    """`stepwell serve` over the corpus; its URL and process id. It must end well on SIGTERM."""
    port = free_port()
    code = "from stepwell.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "serve", str(path), "--port", str(port), "--drain", "0"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _until_ready(url, process)
        yield url, process.pid
    except BaseException:
        process.kill()
        raise
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGTERM)
        ended = process.wait(60)
    assert ended == 0, f"stepwell serve ended with {ended}"


def _until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + 120
    while time.monotonic() < ends and process.poll() is None:
        try:
            if httpx.get(f"{url}/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"stepwell serve did not come up: {process.poll()}")


class Chaos(threading.Thread):
    """Kills and restarts the remote, and closes models while they are used, at drawn moments.

    Args:
        remote: To kill.
        closable: What has `close` and opens itself again.
        seed: Of the moments.
        pause: Seconds between two deeds, at most.
    """

    def __init__(self, remote: Remote, closable: list[object], seed: str, pause: float) -> None:
        super().__init__(name="chaos", daemon=True)
        self.remote, self.closable, self.pause = remote, closable, pause
        self.reloads = 0
        self.over = threading.Event()
        self._chance = random.Random(seed)

    def run(self) -> None:
        while not self.over.wait(self._chance.uniform(0.2, 1.0) * self.pause):
            if self._chance.random() < 0.4:
                self.remote.kill()
                self.over.wait(self._chance.uniform(0.0, 0.3) * self.pause)
                self.remote.begin()
            else:
                self._chance.choice(self.closable).close()  # type: ignore[attr-defined]
                self.reloads += 1
