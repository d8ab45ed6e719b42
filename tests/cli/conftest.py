import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stepwell.cli import app

TEXTS = {
    "logs": "Rotate the logs with logrotate -f, [bold]never[/bold] by hand.",
    "disk": "When the disk is full, old logs are compressed.",
    "cats": "The office cat is fed at noon.",
}


@dataclass
class Said:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPWELL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("FORCE_COLOR", raising=False)


@pytest.fixture
def run() -> Callable[..., Said]:
    """Run a command in this process."""

    def call(*args: object) -> Said:
        result = CliRunner().invoke(app, [str(arg) for arg in args], prog_name="stepwell")
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, result.stdout, result.stderr)

    return call


@pytest.fixture
def shell() -> Callable[[str], Said]:
    """Run a shell command line, in which `stepwell` is `python -m stepwell`."""

    def call(line: str, **env: str) -> Said:
        line = f'stepwell() {{ "{sys.executable}" -m stepwell "$@"; }}; set -o pipefail; {line}'
        made = subprocess.run(
            ["bash", "-c", line],
            capture_output=True,
            text=True,
            env={**os.environ, **env},
            check=False,
        )
        return Said(made.returncode, made.stdout, made.stderr)

    return call


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small folder of files."""
    place = tmp_path / "docs"
    place.mkdir()
    for name, text in TEXTS.items():
        (place / f"{name}.txt").write_text(text)
    return place


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    """A small data set in the BEIR layout."""
    place = tmp_path / "tiny"
    (place / "qrels").mkdir(parents=True)
    rows = [{"_id": id, "title": id.title(), "text": text} for id, text in TEXTS.items()]
    asked = {"q1": "rotate logs", "q2": "feed the cat", "q3": "what?", "q4": "disk"}
    queries = [{"_id": id, "text": text} for id, text in asked.items()]
    for name, lines in (("corpus", rows), ("queries", queries)):
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    judged = "query-id\tcorpus-id\tscore\nq1\tlogs\t1\nq2\tcats\t2\nq4\tdisk\t1\nq4\tcats\t1\n"
    (place / "qrels" / "test.tsv").write_text(judged)
    return place


@pytest.fixture
def corpus(run: Callable[..., Said], folder: Path, tmp_path: Path) -> Iterator[Path]:
    """The small folder, indexed without vectors."""
    place = tmp_path / "docs.stepwell"
    assert run("index", folder, "--to", place, "--encoder", "none").code == 0
    return place
