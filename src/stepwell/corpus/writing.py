"""One writer at a time: reserve, index, acknowledge.

A batch of documents is acknowledged by one transaction of the record:

1. Row numbers are reserved, in a transaction of its own: a row number is never used twice.
2. A transaction is begun; the documents are put into the record, their terms into the term index,
   their vectors into the vector file. The indexes commit and sync.
3. The transaction commits. From now on readers see the documents.

Killed before 3, the record knows nothing of the batch, and what the indexes know of it is removed
by the next writer. Rows that were replaced or deleted are remembered as tombstones until the term
index has forgotten them. Nothing here asks an index what exists.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import filelock
import numpy as np
from numpy.typing import NDArray

from stepwell.corpus.fetching import rows_by_id
from stepwell.corpus.lexical import LexicalWriter
from stepwell.corpus.matching import Fields, add_facets, remove_facets
from stepwell.corpus.metadata import checked
from stepwell.corpus.placing import Fresh, Placer, Text
from stepwell.corpus.record import fact, keep
from stepwell.corpus.refusals import DiskError
from stepwell.corpus.store import Store
from stepwell.documents import Document
from stepwell.errors import CorpusError, InputError

LOCK = "write.lock"

# Documents of one batch, and characters after which it is closed early. Each is a segment of the
# term index for each of its threads: large ones need not be merged as often.
BATCH = 32768
BATCH_ENCODED = 256
CHARACTERS = 16_000_000
QUICK = 2.0  # seconds


@contextmanager
def locked(folder: Path, *, timeout: float) -> Iterator[None]:
    """Be the one writer of a corpus.

    Args:
        folder: The corpus.
        timeout: Seconds to wait for the writer before.

    Raises:
        CorpusError: Another process or thread still writes, or the folder cannot be written to.
    """
    lock = filelock.FileLock(folder / LOCK, timeout=timeout, is_singleton=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise CorpusError(
            f"corpus {str(folder)!r} is being written to by another process or thread, which "
            f"holds {LOCK}; wait for it, or open the corpus with a longer lock_timeout= "
            f"(now {timeout:g} s)"
        ) from None
    except OSError as error:
        raise DiskError(
            f"corpus {str(folder)!r} cannot be written to ({error}); make the folder writable, or "
            "open it with read_only=True"
        ) from error
    try:
        yield
    finally:
        lock.release()


def is_written(folder: Path) -> bool:
    """Whether somebody writes to a corpus at this moment."""
    return is_held(folder / LOCK)


def is_held(file: Path) -> bool:
    """Whether somebody holds a lock."""
    lock = filelock.FileLock(file, timeout=0, is_singleton=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        return True
    except OSError:
        return False  # nobody can
    lock.release()
    return False


@dataclass(frozen=True, slots=True)
class Entry:
    """A document ready to be written.

    Attributes:
        document: As it was given.
        metadata: Its metadata as JSON.
        hash: Of its text.
    """

    document: Document
    metadata: str
    hash: bytes


def entry(document: Document) -> Entry:
    """The document, checked.

    Raises:
        InputError: It cannot be kept as it is.
    """
    metadata = checked(document)
    return Entry(document, metadata, content_hash(document.text))


def content_hash(text: str) -> bytes:
    """What makes two texts one: 16 bytes of BLAKE2b over the UTF-8."""
    return text_hash(text.encode("utf-8"))


def text_hash(data: bytes) -> bytes:
    """`content_hash` of a text that is UTF-8 already."""
    return blake2b(data, digest_size=16).digest()


class Writer:
    """What one holder of the lock does to a corpus.

    Args:
        store: The corpus.
        lexical: The term index's writer.
        placer: Makes the vectors; None for a corpus without.
    """

    def __init__(self, store: Store, lexical: LexicalWriter, placer: Placer | None) -> None:
        self._store = store
        self._lexical = lexical
        self._placer = placer

    def put(self, entries: Sequence[Entry], *, replace: bool) -> int:
        """Write one batch; acknowledged when this returns.

        Args:
            entries: With ids that differ.
            replace: Whether documents of the same ids are replaced.

        Returns:
            How many were written.

        Raises:
            InputError: An id exists and may not be replaced, or a vector is NaN.
        """
        ids = [each.document.id for each in entries]
        with self._store.record.reading() as connection:
            old = rows_by_id(connection, ids)
        if old and not replace:
            some = ", ".join(map(repr, sorted(old)[:3]))
            raise InputError(
                f"the corpus already holds {len(old)} of these ids, such as {some}; "
                "use upsert() to replace documents"
            )
        fresh: Fresh = {}
        if self._placer is not None:
            texts = {e.hash: Text(e.document.id, e.document.text) for e in entries}
            fresh = self._placer.encoded(texts)
        rows = range(first := self._reserve(len(entries)), first + len(entries))
        try:
            with self._store.record.writing() as connection:
                forget(connection, list(old.values()))
                # Its threads work while the record is written.
                self._lexical.add(rows, (each.document.text for each in entries))
                _insert(connection, rows, entries)
                if self._placer is not None:
                    self._placer.place(connection, fresh)
                    self._copy(connection, rows, [each.hash for each in entries])
                self._lexical.commit()
                _total(connection, len(entries), sum(rows))
                changed(connection, appended_only=not old)
        except BaseException:
            with suppress(CorpusError):  # the disk that refused may refuse this too
                self._lexical.undo()
            raise
        return len(entries)

    def remove(self, ids: Sequence[str]) -> int:
        """Delete documents; acknowledged when this returns. How many there were."""
        with self._store.record.writing() as connection:
            rows = list(rows_by_id(connection, ids).values())
            forget(connection, rows)
            if rows:
                changed(connection, appended_only=False)
        return len(rows)

    def place(self, texts: Mapping[bytes, Text]) -> dict[bytes, NDArray[np.float16]]:
        """Give vectors to those of these texts that have none; all their vectors, by hash."""
        if self._placer is None:
            return {}
        fresh = self._placer.encoded(texts)
        with self._store.record.writing() as connection:
            self._placer.place(connection, fresh)
            changed(connection, appended_only=False)
            return dict(zip(texts, self._placer.vectors(connection, list(texts))))

    def sweep(self) -> None:
        """Make the term index forget what was replaced or deleted."""
        with self._store.record.reading() as connection:
            rows = [row for (row,) in connection.execute("SELECT row FROM tombstones")]
        if not rows:
            return
        self._lexical.remove(rows)
        self._lexical.commit()
        index = self._store.index(self._store.state())
        if index is not None:
            index.remove(rows)
        with self._store.record.writing() as connection:
            connection.execute("DELETE FROM tombstones")
            keep(connection, swept=fact(connection, "swept") + len(rows))
            changed(connection)

    def _copy(
        self, connection: sqlite3.Connection, rows: Sequence[int], hashes: list[bytes]
    ) -> None:
        """Give Chroma, where there is one, the vectors of new rows."""
        index = self._store.index(self._store.state())
        if index is not None and self._placer is not None:
            index.add(rows, self._placer.vectors(connection, hashes))

    def _reserve(self, n: int) -> int:
        with self._store.record.writing() as connection:
            first = int(fact(connection, "next_row"))
            keep(connection, next_row=first + n)
        return first


def batches(
    documents: Iterable[Document], size: int, *, repeats: bool, most: int = 0
) -> Iterator[list[Entry]]:
    """The documents in batches, each checked as a whole before it is written.

    Args:
        documents: Consumed as they are needed.
        size: Documents of a batch at most.
        repeats: Whether a later document of the same id replaces an earlier one.
        most: Up to so many while batches are written quickly: to acknowledge one costs as much
            whatever its size.

    Raises:
        InputError: A document cannot be kept, or an id repeats that may not.
    """
    batch: dict[str, Entry] = {}
    characters = 0
    for document in documents:
        new = entry(document)
        if document.id in batch and not repeats:
            raise InputError(f"two documents have the id {document.id!r}; ids must be unique")
        batch.pop(document.id, None)
        batch[document.id] = new
        characters += len(document.text)
        if len(batch) >= size or characters > CHARACTERS:
            began = time.monotonic()
            yield list(batch.values())
            if time.monotonic() - began < QUICK:
                size = max(min(2 * size, most), size)
            batch, characters = {}, 0
    if batch:
        yield list(batch.values())


def forget(connection: sqlite3.Connection, rows: Sequence[int]) -> None:
    """Take rows out of the record; the term index forgets them later."""
    if not rows:
        return
    each = [(row,) for row in rows]
    metadata = [
        (
            row,
            connection.execute("SELECT metadata FROM contents WHERE row = ?", (row,)).fetchone()[0],
        )
        for row in rows
    ]
    remove_facets(connection, Fields(connection), metadata)
    connection.executemany("DELETE FROM documents WHERE row = ?", each)
    connection.executemany("DELETE FROM contents WHERE row = ?", each)
    connection.executemany("INSERT INTO tombstones VALUES (?)", each)
    _total(connection, -len(rows), -sum(rows))


def _insert(connection: sqlite3.Connection, rows: Iterable[int], entries: Sequence[Entry]) -> None:
    connection.executemany(
        "INSERT INTO documents VALUES (?, ?, ?)",
        ((row, each.document.id, each.hash) for row, each in zip(rows, entries)),
    )
    connection.executemany(
        "INSERT INTO contents VALUES (?, ?, ?)",
        ((row, each.metadata, each.document.text) for row, each in zip(rows, entries)),
    )
    add_facets(connection, Fields(connection), ((row, e.metadata) for row, e in zip(rows, entries)))


def changed(connection: sqlite3.Connection, *, appended_only: bool = True) -> None:
    """Tell readers, in every process, that the record moved on."""
    facts = {"version": fact(connection, "version") + 1}
    if not appended_only:
        facts["epoch"] = fact(connection, "epoch") + 1
    keep(connection, **facts)


def _total(connection: sqlite3.Connection, n: int, row_sum: int) -> None:
    keep(
        connection,
        count=fact(connection, "count") + n,
        row_sum=fact(connection, "row_sum") + row_sum,
    )
