"""Filters as set algebra over the facets in the record: the rows whose metadata matches.

Each comparison is one range of an index; AND, OR and NOT are operations on sorted rows, so that a
filter of any depth costs no more than its leaves.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from stepwell.corpus.record import Rows
from stepwell.filters import And, Compare, Exists, Facet, Filter, Node, Not, Or, facets

_SQL = {"$eq": "=", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_INT64 = 2**63


class Fields:
    """Numbers for (path, kind), which keep the facets small.

    Args:
        connection: Of the transaction in which new fields are kept.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._known: dict[tuple[str, str], int] = {
            (path, kind): field
            for field, path, kind in connection.execute("SELECT field, path, kind FROM fields")
        }

    def number(self, path: str, kind: str) -> int:
        """The field's number, given now if it is new."""
        field = self._known.get((path, kind))
        if field is None:
            made = self._connection.execute(
                "INSERT INTO fields (path, kind) VALUES (?, ?)", (path, kind)
            )
            field = self._known[path, kind] = int(made.lastrowid or 0)
        return field

    def entries(self, row: int, metadata: dict[str, Any]) -> Iterator[tuple[int, Any, int]]:
        """What the facet table holds of one document."""
        for path, kind, value in facets(metadata):
            yield self.number(path, kind), _stored((path, kind, value)), row


def add_facets(
    connection: sqlite3.Connection, fields: Fields, documents: Iterable[tuple[int, str]]
) -> None:
    """Index the metadata (as JSON) of these rows."""
    # In the order of the table: neighbours are written together. A field's values are of one kind.
    connection.executemany(
        "INSERT OR IGNORE INTO facets VALUES (?, ?, ?)",
        sorted(
            entry
            for row, metadata in documents
            if metadata != "{}"
            for entry in fields.entries(row, json.loads(metadata))
        ),
    )


def remove_facets(
    connection: sqlite3.Connection, fields: Fields, documents: Iterable[tuple[int, str]]
) -> None:
    """Forget the metadata (as JSON) of these rows."""
    connection.executemany(
        "DELETE FROM facets WHERE field = ? AND value = ? AND row = ?",
        (
            entry
            for row, metadata in documents
            if metadata != "{}"
            for entry in fields.entries(row, json.loads(metadata))
        ),
    )


def matching_rows(connection: sqlite3.Connection, filter: Filter) -> Rows:
    """(n,) int64 ascending: the rows for which `filter.matches(metadata)` holds."""
    return _rows(connection, filter.root)


def every_row(connection: sqlite3.Connection) -> Rows:
    """(n,) int64 ascending: all rows that the record holds."""
    return _fetched(connection, "SELECT row FROM documents ORDER BY row")


def _rows(connection: sqlite3.Connection, node: Node) -> Rows:
    match node:
        case Compare():
            return _compared(connection, node)
        case Exists(path):
            return _fetched(
                connection,
                "SELECT DISTINCT row FROM facets WHERE field IN "
                "(SELECT field FROM fields WHERE path = CAST(? AS TEXT))",
                _text(path),
            )
        case And(parts):
            return _all_of(connection, parts)
        case Or(parts):
            found = [_rows(connection, part) for part in parts]
            return np.unique(np.concatenate(found)) if found else _none()
        case Not(unwanted):
            rows = _rows(connection, unwanted)
            return np.setdiff1d(every_row(connection), rows, assume_unique=True)


def _all_of(connection: sqlite3.Connection, parts: tuple[Node, ...]) -> Rows:
    if not parts:
        return every_row(connection)
    # What must not hold is taken away from what does: no part needs every row of the corpus.
    wanted = [part for part in parts if not isinstance(part, Not)]
    denied = [node.part for node in parts if isinstance(node, Not)]
    rows = _rows(connection, wanted[0]) if wanted else every_row(connection)
    for need in wanted[1:]:
        rows = np.intersect1d(rows, _rows(connection, need), assume_unique=True)
    for other in denied:
        rows = np.setdiff1d(rows, _rows(connection, other), assume_unique=True)
    return rows


def _compared(connection: sqlite3.Connection, node: Compare) -> Rows:
    op, value = node.op, node.value
    if node.kind == "number" and isinstance(value, int) and not -_INT64 <= value < _INT64:
        op, value = _beyond(op, value)
    # CAST keeps the bytes of a lone surrogate, so that it orders by code point like in Python.
    marker = "CAST(? AS TEXT)" if node.kind == "string" else "?"
    return _fetched(
        connection,
        "SELECT DISTINCT row FROM facets WHERE field = "
        "(SELECT field FROM fields WHERE path = CAST(? AS TEXT) AND kind = ?) "
        f"AND value {_SQL[op]} {marker}",
        _text(node.path),
        node.kind,
        _stored((node.path, node.kind, value), raw=True),
    )


def _beyond(op: str, value: int) -> tuple[str, float]:
    """The same comparison with a float, for an integer that SQLite cannot take.

    Only floats of the record can be near such a number, so its neighbours among floats decide.
    """
    try:
        near = float(value)
    except OverflowError:
        near = math.inf if value > 0 else -math.inf
    if near == value:
        return op, near
    if op == "$eq":
        return op, math.nan  # equal to nothing
    if op in ("$gt", "$gte"):
        return "$gte", near if near > value else math.nextafter(near, math.inf)
    return "$lte", near if near < value else math.nextafter(near, -math.inf)


def _stored(facet: Facet, *, raw: bool = False) -> Any:
    """A facet's value as the table holds it."""
    _, kind, value = facet
    if kind == "null":
        return 0
    if kind == "bool":
        return int(value)
    if kind == "string":
        return value.encode("utf-8", "surrogatepass") if raw else str(value)
    return value


def _text(path: str) -> bytes:
    return path.encode("utf-8", "surrogatepass")


def _fetched(connection: sqlite3.Connection, sql: str, *values: Any) -> Rows:
    rows = np.fromiter((row for (row,) in connection.execute(sql, values)), np.int64)
    rows.sort()
    return rows


def _none() -> Rows:
    return np.empty(0, np.int64)
