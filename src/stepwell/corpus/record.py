"""The record: what the corpus holds, in one SQLite file; every index derives from it."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepwell.corpus.refusals import explained
from stepwell.errors import CorpusError

FORMAT = 1
FILE = "record.sqlite"

Rows = NDArray[np.int64]

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE documents (row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, hash BLOB NOT NULL);
CREATE TABLE contents (row INTEGER PRIMARY KEY, metadata TEXT NOT NULL, text TEXT NOT NULL);
CREATE TABLE fields (
    field INTEGER PRIMARY KEY, path TEXT NOT NULL, kind TEXT NOT NULL, UNIQUE (path, kind));
CREATE TABLE facets (
    field INTEGER NOT NULL, value NOT NULL, row INTEGER NOT NULL,
    PRIMARY KEY (field, value, row)) WITHOUT ROWID;
CREATE TABLE tombstones (row INTEGER PRIMARY KEY);
CREATE TABLE spaces (
    space INTEGER PRIMARY KEY, encoder TEXT NOT NULL, dimension INTEGER NOT NULL,
    slots INTEGER NOT NULL);
CREATE TABLE vectors (
    space INTEGER NOT NULL, hash BLOB NOT NULL, slot INTEGER NOT NULL, crc INTEGER NOT NULL,
    PRIMARY KEY (space, hash)) WITHOUT ROWID;
"""

_BEGINNING = {"version": 0, "epoch": 0, "next_row": 1, "count": 0, "row_sum": 0, "swept": 0}


class Record:
    """The SQLite file behind a corpus.

    A pool of connections serves any number of threads; a process that forked starts its own.

    Args:
        folder: The corpus' folder.
        read_only: Whether nothing may be written.
    """

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self.path = folder / FILE
        self.read_only = read_only
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._closed = False

    # -- connections -----------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection of one's own for a moment.

        Raises:
            CorpusError: The corpus is closed, or the file is damaged.
        """
        connection = None
        try:
            connection = self._take()
            yield connection
        except sqlite3.DatabaseError as error:
            raise explained(error, self.path) from error
        finally:
            if connection is not None:
                self._give(connection)

    def hold(self) -> sqlite3.Connection:
        """A connection that sees the present state, whatever is written, until it is released.

        Raises:
            CorpusError: As in `reading`.
        """
        connection = None
        try:
            connection = self._take()
            connection.execute("BEGIN")
            # The state is that of the first reading, not of the beginning.
            connection.execute("SELECT 1 FROM meta").fetchone()
        except sqlite3.DatabaseError as error:
            if connection is not None:
                connection.close()
            raise explained(error, self.path) from error
        return connection

    def release(self, connection: sqlite3.Connection) -> None:
        """Take back what was held."""
        if connection.in_transaction:
            connection.execute("COMMIT")
        self._give(connection)

    @contextmanager
    def held(self) -> Iterator[sqlite3.Connection]:
        """`hold` and `release`."""
        connection = self.hold()
        try:
            yield connection
        except sqlite3.DatabaseError as error:
            raise explained(error, self.path) from error
        finally:
            self.release(connection)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: committed at the end, undone when anything goes wrong."""
        with self.reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close every idle connection; one in use closes when it is given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take(self) -> sqlite3.Connection:
        with self._lock:
            if self._closed:
                raise CorpusError(f"corpus {str(self.path.parent)!r} is closed; open it again")
            if self._process != os.getpid():
                # A connection must not be used, nor closed, on the other side of a fork.
                self._process, self._idle = os.getpid(), []
            if self._idle:
                return self._idle.pop()
        return self._connect()

    def _give(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _connect(self) -> sqlite3.Connection:
        mode = "ro" if self.read_only else "rw"
        try:
            return self._opened(f"{self.path.absolute().as_uri()}?mode={mode}")
        except sqlite3.OperationalError:
            if not self.read_only and os.access(self.path.parent, os.W_OK):
                raise
            # A folder without write permission cannot hold the shared memory of the log.
            return self._opened(f"{self.path.absolute().as_uri()}?immutable=1")

    def _opened(self, uri: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            uri, uri=True, isolation_level=None, check_same_thread=False, timeout=30.0
        )
        try:
            if not self.read_only:
                # Acknowledged means that it survives a power cut too.
                connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA cache_size=-32768")
            connection.execute("PRAGMA mmap_size=1073741824")
            connection.execute("PRAGMA temp_store=MEMORY")
            connection.execute("SELECT 1 FROM meta").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    # -- meta ------------------------------------------------------------------------------

    @staticmethod
    def create(folder: Path, facts: dict[str, Any], space: tuple[str, int] | None) -> None:
        """Make the file; under its own name it appears whole or not at all.

        Args:
            folder: The corpus' folder.
            facts: What the corpus keeps about itself.
            space: Name and dimension of the encoder, if there is one.
        """
        made = folder / f"{FILE}.new"
        made.unlink(missing_ok=True)
        connection = sqlite3.connect(made, isolation_level=None)
        try:
            # So that space is given back in steps, see `stepwell.corpus.compacting`.
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(_SCHEMA)
            meta = {"format": FORMAT, **_BEGINNING, **facts, "space": 1 if space else 0}
            connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
            if space:
                connection.execute("INSERT INTO spaces VALUES (1, ?, ?, 0)", space)
        except sqlite3.DatabaseError as error:
            raise explained(error, folder / FILE) from error
        finally:
            connection.close()
        os.replace(made, folder / FILE)

    def meta(self) -> dict[str, Any]:
        """Every fact that the corpus keeps about itself."""
        with self.reading() as connection:
            return dict(connection.execute("SELECT key, value FROM meta"))

    def fact(self, key: str) -> Any:
        """One such fact; None when it was never kept."""
        with self.reading() as connection:
            return fact(connection, key)


def fact(connection: sqlite3.Connection, key: str) -> Any:
    """One fact that the corpus keeps about itself; None when it was never kept."""
    found = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return found[0] if found else None


def keep(connection: sqlite3.Connection, **facts: Any) -> None:
    """Keep facts about the corpus."""
    connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", facts.items())
