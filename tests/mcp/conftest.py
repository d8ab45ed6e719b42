from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stepwell import Corpus, Document

DOCUMENTS = [
    Document("logs", "Run logrotate to rotate the logs now.", {"team": "sre", "year": 2024}),
    Document("disk", "When the disk is full, old logs are compressed.", {"team": "sre"}),
    Document("keys", "Keys rotate every ninety days.", {"team": "security", "year": 2025}),
    Document("cat", "The office cat is fed at noon. 🐈", {"team": "office"}),
]


@pytest.fixture(scope="session")
def corpus_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small corpus without vectors."""
    path = tmp_path_factory.mktemp("mcp") / "handbook.stepwell"
    with Corpus.open(path, encoder=None) as corpus:
        corpus.add(DOCUMENTS)
    return path


@dataclass
class Running:
    """A `stepwell mcp --http` in a process of its own."""

    process: subprocess.Popen[str]
    url: str
    remarks: str

    def stop(self, by: int = signal.SIGTERM) -> int:
        self.process.send_signal(by)
        return self.process.wait(20)


Serve = Callable[..., Running]


@pytest.fixture(scope="module")
def serve(corpus_path: Path) -> Iterator[Serve]:
    """Start `stepwell mcp --http`, once for equal options, and wait until it says where it is."""
    started: dict[tuple[object, ...], Running] = {}

    def start(*options: str, **env: str) -> Running:
        key = (*options, *env.items())
        if key not in started or started[key].process.poll() is not None:
            started[key] = _started(corpus_path, options, env)
        return started[key]

    yield start
    for running in started.values():
        running.process.kill()
        running.process.communicate()


def _started(corpus_path: Path, options: tuple[str, ...], env: dict[str, str]) -> Running:
    command = [sys.executable, "-m", "stepwell", "mcp", str(corpus_path), "--http", "--port", "0"]
    process = subprocess.Popen(
        [*command, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
    )
    assert process.stderr is not None
    # Not by select: a line that was read with the one before it is in a buffer, where it sees none.
    patience = threading.Timer(60, process.kill)
    patience.start()
    remarks = []
    try:
        while remark := process.stderr.readline():
            remarks.append(remark)
            if " at http://" in remark:
                return Running(process, remark.split(" at ")[1].strip(), "".join(remarks))
    finally:
        patience.cancel()
    process.kill()
    process.communicate()
    raise AssertionError(f"it does not say where it is: {remarks}")
