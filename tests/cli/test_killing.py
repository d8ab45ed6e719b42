"""`stepwell index` killed at any moment loses nothing that it said was indexed."""

import json
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stepwell import Corpus

RUNS = int(os.environ.get("STEPWELL_KILLS", "8"))
PLAIN, ENCODED = 6000, 700

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")


def text_of(number: int) -> str:
    return f"word{number} " + " ".join(f"w{number * n % 997}" for n in range(1, 12))


def source(folder: Path, size: int) -> Path:
    folder.mkdir()
    rows = ({"_id": f"d{n}", "text": text_of(n)} for n in range(size))
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def killed(folder: Path, place: Path, encoder: str, rng: random.Random, size: int) -> int:
    """How many documents were acknowledged before the process was killed."""
    command = [sys.executable, "-m", "stepwell", "index", str(folder), "--to", str(place)]
    wait_for = rng.randrange(0, size, 256)
    with subprocess.Popen(
        [*command, "--encoder", encoder],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stderr is not None
        said = ""
        while wait_for and (line := process.stderr.readline()):
            said += line
            if acknowledged(said) >= wait_for:
                break
        # From the start of the process, or from a line of progress into the batch after it.
        time.sleep(rng.uniform(0, 0.3 if wait_for else 2.0))
        process.kill()
        said += process.stderr.read()
    lines = said.splitlines(keepends=True)
    unexpected = [line for line in lines if not re.fullmatch(r"indexed \d+ of \d+\n?", line)]
    assert unexpected == []
    return acknowledged("".join(line for line in lines if line.endswith("\n")))


def acknowledged(said: str) -> int:
    return max(
        (int(n) for n in re.findall(r"^indexed (\d+) of \d+$", said, re.MULTILINE)), default=0
    )


def check(place: Path, encoder: str | None, done: int, rng: random.Random) -> int:
    """The corpus opens, agrees with its indexes and holds the first `done` documents, unharmed."""
    with Corpus.open(place, encoder=encoder) as corpus:
        report = corpus.verify()
        assert report.ok, report.problems
        held = {document.id: document.text for document in corpus}
        assert len(held) == len(corpus) == report.documents
        assert report.vectors == (len(held) if encoder else 0)
        assert held.keys() >= {f"d{n}" for n in range(done)}
        assert all(text == text_of(int(id[1:])) for id, text in held.items())
        for n in rng.sample(range(done), min(5, done)):
            assert corpus.search_text(f"word{n}", 3).ids == [f"d{n}"]
        return len(held)


def test_a_killed_run_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """Killed at random moments, again and again, every corpus is whole, and a last run finishes it.

    STEPWELL_KILLS sets how often; every fifth run encodes.
    """
    rng = random.Random(11)
    plain, encoded = source(tmp_path / "plain", PLAIN), source(tmp_path / "encoded", ENCODED)
    place, held = tmp_path / "plain-0", 0
    for run in range(RUNS):
        if run % 5 == 4:
            once = tmp_path / f"encoded-{run}"
            check(once, "embedded", killed(encoded, once, "embedded", rng, ENCODED), rng)
            continue
        # Half of the runs go on where a killed one was.
        if held == PLAIN or rng.random() < 0.5:
            place, held = tmp_path / f"plain-{run}", 0
        done = killed(plain, place, "none", rng, PLAIN)
        before, held = held, check(place, None, done, rng)
        assert held >= before
    command = [sys.executable, "-m", "stepwell", "index", str(plain), "--to", str(place)]
    subprocess.run([*command, "--encoder", "none"], check=True, capture_output=True)
    assert check(place, None, PLAIN, rng) == PLAIN
