"""Answers kept as they come, so that an evaluation that was interrupted goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from filelock import FileLock, Timeout

from stepwell.errors import InputError
from stepwell.evaluate.asked import Asked

VERSION = 1


class Kept:
    """The queries asked so far, in a file of one JSON object a line.

    Attributes:
        asked: What an interrupted run had asked, by query.
    """

    def __init__(self, path: Path | None, key: tuple[str, ...]) -> None:
        self.path = path
        self._first = {"version": VERSION, "key": sha256("\0".join(key).encode()).hexdigest()}
        self.asked = {} if path is None else self._read(path)

    def add(self, asked: Asked) -> None:
        """Keep one more; it outlives this process when this returns."""
        self.asked[asked.query] = asked
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(asked.to_dict()) + "\n")

    def _read(self, path: Path) -> dict[str, Asked]:
        lines = path.read_bytes().splitlines() if path.is_file() else []
        rows = [row for row in map(_row, lines) if row is not None]
        if lines and (not rows or rows[0] != self._first):
            raise InputError(
                f"{path} keeps the answers of another evaluation, or of another version; delete it "
                "or name another file"
            )
        asked = {str(row["query"]): Asked.from_dict(row) for row in rows[1:]}
        # Written anew: the last line may be one that an end in the middle of writing left behind.
        made = path.with_suffix(".new")
        again = [self._first, *(each.to_dict() for each in asked.values())]
        made.write_text("".join(json.dumps(row) + "\n" for row in again), encoding="utf-8")
        os.replace(made, path)
        return asked


@contextmanager
def kept(path: Path | str | None, key: tuple[str, ...]) -> Iterator[Kept]:
    """Keep answers in a file, which is removed when the evaluation came to its end.

    Args:
        path: None keeps nothing.
        key: What the answers depend on; a file of another key is refused.

    Raises:
        InputError: The file is of another evaluation, or another process is writing it.
    """
    if path is None:
        yield Kept(None, key)
        return
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{file}.lock")
    try:
        with lock.acquire(timeout=0):
            yield Kept(file, key)
            file.unlink(missing_ok=True)
            with suppress(OSError):  # Windows keeps what is open
                Path(lock.lock_file).unlink(missing_ok=True)
    except Timeout as error:
        raise InputError(f"another process is doing this evaluation ({file})") from error


def _row(line: bytes) -> dict[str, object] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
