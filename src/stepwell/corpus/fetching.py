"""Documents, ids and rows, fetched from the record."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from stepwell.documents import Document


def rows_by_id(connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, int]:
    """The rows of those ids that the record holds."""
    found: dict[str, int] = {}
    for part in _parts(_possible(ids)):
        found.update(
            connection.execute(f"SELECT id, row FROM documents WHERE id IN ({_marks(part)})", part)
        )
    return found


def ids_by_row(connection: sqlite3.Connection, rows: Sequence[int]) -> list[str | None]:
    """The ids of these rows, in order; None for a row that was replaced or deleted."""
    found: dict[int, str] = {}
    for part in _parts(rows):
        found.update(
            connection.execute(f"SELECT row, id FROM documents WHERE row IN ({_marks(part)})", part)
        )
    return [found.get(row) for row in rows]


def documents_by_id(connection: sqlite3.Connection, ids: Sequence[str]) -> list[Document | None]:
    """The documents with these ids, in order; None where there is none."""
    found: dict[str, Document] = {}
    for part in _parts(_possible(ids)):
        for id, metadata, text in connection.execute(
            "SELECT id, metadata, text FROM documents JOIN contents USING (row) "
            f"WHERE id IN ({_marks(part)})",
            part,
        ):
            found[id] = Document(id, text, json.loads(metadata))
    return [found.get(id) for id in ids]


def documents_by_row(connection: sqlite3.Connection, rows: Sequence[int]) -> list[Document]:
    """The documents at these rows, ascending; without those that are gone."""
    found = connection.execute(
        "SELECT id, metadata, text FROM documents JOIN contents USING (row) "
        f"WHERE row IN ({_marks(rows)}) ORDER BY row",
        rows,
    )
    return [Document(id, text, json.loads(metadata)) for id, metadata, text in found]


def _possible(ids: Sequence[Any]) -> list[str]:
    """Those ids that a document can have: SQLite takes no lone surrogate."""
    return [id for id in ids if isinstance(id, str) and (id.isascii() or _encodes(id))]


def _encodes(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), 1000):
        yield values[start : start + 1000]


def _marks(values: Sequence[Any]) -> str:
    return ",".join("?" * len(values))
