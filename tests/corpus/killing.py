"""A process that writes to a corpus until it is killed, saying what was acknowledged.

Run as `python -m tests.corpus.killing PATH SEED SIZE`: every line of its output is a change that
the corpus has acknowledged. SIZE documents were there before, see `base`.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stepwell import Corpus, Document
from stepwell.corpus import compacting, writing
from tests.corpus.encoders import BagOfWords

ROOT = Path(__file__).parents[2]


def killed_run(
    path: Path, *, seed: int, seconds: float, from_start: bool = False, size: int = 0
) -> list[dict[str, Any]]:
    """What such a process said before it was killed.

    Args:
        path: The corpus.
        seed: Of what it does.
        seconds: How long it lives after its first line.
        size: How many documents there were before the first run.
        from_start: Count from its start instead, so that it may die while it makes the corpus.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "tests.corpus.killing", str(path), str(seed), str(size)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        first = "" if from_start else process.stdout.readline()
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        lines = [first, *process.stdout.read().splitlines(keepends=True)]
    # A line that was cut off was not acknowledged to anyone.
    return [json.loads(line) for line in lines if line.endswith("\n")]


def text_of(id: str, turn: str) -> str:
    """The text that a document has after this turn."""
    return f"document {id} written in turn {turn} " + " ".join(
        f"w{len(id) * n % 17}" for n in range(9)
    )


def base(size: int) -> list[str]:
    """The ids of documents that were there before."""
    return [f"base-{n}" for n in range(size)]


def changes(seed: int, size: int = 0) -> Iterator[tuple[str, list[str], str]]:
    """An endless run of additions, replacements, deletions and, now and then, compactions."""
    rng = random.Random(seed)
    held = base(size)
    for turn in range(1_000_000):
        if rng.random() < 0.02:
            yield "compact", [], ""
            continue
        verb = rng.choice(["add", "add", "upsert", "delete"]) if len(held) > 40 else "add"
        if verb == "add":
            ids = [f"{seed}-{turn}-{n}" for n in range(rng.randint(1, 60))]
            held += ids
        else:
            ids = rng.sample(held, rng.randint(1, 30))
            if verb == "delete":
                held = [id for id in held if id not in set(ids)]
        yield verb, ids, f"{seed}.{turn}"


def main(path: str, seed: str, size: str = "0") -> None:
    """Change the corpus for ever."""
    writing.BATCH_ENCODED = 20  # several batches a call, each acknowledged by itself
    compacting._AT_LEAST = 20  # so that the background has something to do

    with Corpus.open(path, encoder=BagOfWords()) as corpus:
        _say("open", [], "")
        for verb, ids, turn in changes(int(seed), int(size)):
            if verb == "compact":
                corpus.compact()
            elif verb == "delete":
                _say("deleting", ids, turn)
                corpus.delete(ids)
                _say("delete", ids, turn)
            else:
                _write(corpus, verb, ids, turn)


def _write(corpus: Corpus, verb: str, ids: list[str], turn: str) -> None:
    done = 0

    def acknowledged(now: int) -> None:
        nonlocal done
        _say("write", ids[done:now], turn)
        done = now

    _say("writing", ids, turn)
    documents = (Document(id, text_of(id, turn), {"turn": turn}) for id in ids)
    (corpus.add if verb == "add" else corpus.upsert)(documents, progress=acknowledged)


def _say(verb: str, ids: list[str], turn: str) -> None:
    print(json.dumps({"verb": verb, "ids": ids, "turn": turn}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
