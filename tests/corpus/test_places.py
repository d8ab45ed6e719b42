"""Which documents have vectors: read in bulk as when looked up one by one."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest

from stepwell import Corpus, Document
from stepwell.corpus import places
from tests.corpus.encoders import BagOfWords


def _corpus() -> Corpus:
    """Equal texts, documents that are gone, and some whose vector was lost."""
    corpus = Corpus.temporary(encoder=BagOfWords())
    corpus.add(Document(str(n), f"text {n % 70}") for n in range(100))
    corpus.delete(str(n) for n in range(0, 100, 9))
    with corpus._store.record.writing() as connection:
        connection.execute("DELETE FROM vectors WHERE slot % 7 = 3")
    return corpus


def test_in_bulk_as_one_by_one() -> None:
    """Rows and slots are the same, of documents with a vector only."""
    with _corpus() as corpus, corpus._store.record.reading() as connection:
        bulk, single = places._packed(connection, 1), places._joined(connection, 1, 0)
        assert bulk is not None
        assert 0 < len(single[0]) < 100 - 12
        assert np.array_equal(bulk, single)
        assert places._packed(connection, 2) is None  # of which there is nothing


@pytest.mark.parametrize("how", ["alike", "long"])
def test_what_bulk_cannot_tell_is_looked_up(how: str) -> None:
    """Hashes with equal beginnings and strings too long for SQLite cost time, and no document."""
    with _corpus() as corpus, corpus._store.record.reading() as connection:
        if how == "alike":
            connection.execute("BEGIN")
            (hash,) = connection.execute("SELECT max(hash) FROM vectors").fetchone()
            twin = hash[:8] + bytes(8)
            connection.execute("INSERT INTO vectors VALUES (1, ?, 5, 0)", (twin,))
            connection.execute("UPDATE documents SET hash = ? WHERE row = 2", (twin,))
        else:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 900)
        assert places._packed(connection, 1) is None
        found = places.read_places(connection, 1, np.empty((100, 1), np.float16))
        rows, slots = places._joined(connection, 1, 0)
        assert np.array_equal([found.rows, found.slots], [rows, slots])
        if how == "alike":
            assert found.slots_of(np.array([2])).tolist() == [5]
            connection.execute("ROLLBACK")
