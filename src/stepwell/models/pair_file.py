"""Pair scores on disk: one bounded SQLite file that several processes may share."""

from __future__ import annotations

import sqlite3
import threading
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from stepwell.errors import ConfigurationError

VERSION = 2
# Rows that one statement asks for; SQLite allows 999 at the least.
MANY = 500
# A full file is cut by a tenth, so that cutting is rare.
ROOM = 0.9

# A score, whether some of the passage was unread, and the windows it was read in.
Known: TypeAlias = tuple[float, bool, int]

TABLE = """
CREATE TABLE IF NOT EXISTS pairs (
    at INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB UNIQUE, score REAL, cut INTEGER,
    passes INTEGER
)
"""


class PairFile:
    """Keeps up to `limit` scores, the latest; a damaged file is made anew, with a warning."""

    def __init__(self, path: Path, /, *, limit: int) -> None:
        """Open or make the file at `path`.

        Raises:
            ConfigurationError: It cannot be written, or is of another program.
        """
        self.path, self.limit = path, limit
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = _opened(path)
        except (OSError, sqlite3.OperationalError) as error:
            raise ConfigurationError(f"cannot keep pair scores in {path}: {error}") from error

    def read(self, keys: Sequence[bytes], /) -> dict[bytes, Known]:
        """Return what is kept under some of `keys`."""
        found: dict[bytes, Known] = {}
        for start in range(0, len(keys), MANY):
            part = keys[start : start + MANY]
            marks = ",".join("?" * len(part))
            ask = f"SELECT key, score, cut, passes FROM pairs WHERE key IN ({marks})"
            with self._lock:
                rows = self._connection.execute(ask, part).fetchall()
            found |= {key: (score, bool(cut), passes) for key, score, cut, passes in rows}
        return found

    def write(self, made: Mapping[bytes, Known], /) -> None:
        """Keep scores, and forget the oldest beyond the limit.

        A file that cannot be written just now (locked, disk full) is left as it is.
        """
        rows = [(key, score, int(cut), passes) for key, (score, cut, passes) in made.items()]
        try:
            with self._lock, self._connection as connection:
                connection.executemany(
                    "INSERT OR IGNORE INTO pairs (key, score, cut, passes) VALUES (?, ?, ?, ?)",
                    rows,
                )
                self._cut(connection)
        except sqlite3.OperationalError as error:
            message = f"pair scores are not kept in {self.path}: {error}"
            warnings.warn(message, UserWarning, stacklevel=2)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _cut(self, connection: sqlite3.Connection) -> None:
        first, last = connection.execute("SELECT min(at), max(at) FROM pairs").fetchone()
        # Positions only grow, so their distance bounds the count with no counting.
        if last - first < self.limit:
            return
        (count,) = connection.execute("SELECT count(*) FROM pairs").fetchone()
        if count > self.limit:
            connection.execute(
                "DELETE FROM pairs WHERE at IN (SELECT at FROM pairs ORDER BY at LIMIT ?)",
                (count - max(int(self.limit * ROOM), 1),),
            )


def _opened(path: Path) -> sqlite3.Connection:
    try:
        return _connected(path)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        message = f"the pair scores in {path} are damaged; they are forgotten"
        warnings.warn(message, UserWarning, stacklevel=2)
        for end in ("", "-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
        return _connected(path)


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=5, check_same_thread=False)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall()
        names = {name for (name,) in tables} - {"sqlite_sequence"}
        if names - {"pairs"} or version not in (0, 1, VERSION):
            message = f"{path} is no file of pair scores; give another path"
            raise ConfigurationError(message)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        if version == 1:
            # It knew no windows; scores can be computed again.
            connection.execute("DROP TABLE IF EXISTS pairs")
        connection.execute(TABLE)
        connection.execute(f"PRAGMA user_version={VERSION}")
        connection.commit()
    except BaseException:
        connection.close()
        raise
    return connection
