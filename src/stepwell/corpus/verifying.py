"""Do the record and its indexes agree? Found out by reading; nothing is changed here."""

from __future__ import annotations

import json
import sqlite3
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stepwell.corpus.lexical import Lexical
from stepwell.corpus.matching import every_row
from stepwell.corpus.record import Rows
from stepwell.corpus.store import State, Store
from stepwell.corpus.vectors import checksums
from stepwell.corpus.writing import text_hash

_PART = 4096
_KINDS = frozenset((".term", ".idx", ".pos", ".fast", ".fieldnorm", ".store"))


@dataclass(frozen=True, slots=True)
class Report:
    """What `Corpus.verify` found.

    Attributes:
        documents: How many the record holds.
        vectors: How many of them have a vector.
        problems: One sentence each; empty when record and indexes agree.
    """

    documents: int
    vectors: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether record and indexes agree."""
        return not self.problems


def verify(store: Store, state: State) -> Report:
    """Compare the record with every index, reading all of them."""
    documents, problems = _record(store, state)
    problems += _lexical(store, state)
    vectors = 0
    if state.space:
        lost = lost_vectors(store, state.space)
        if lost:
            problems.append(f"{len(lost)} vectors are damaged")
        else:
            vectors = len(store.places(state).rows)
            if vectors < documents:
                problems.append(f"{documents - vectors} documents have no vector")
            problems += _index(store, state)
    return Report(documents, vectors, tuple(problems))


def damage(folder: Path) -> str:
    """Why a term index cannot be trusted; empty when every file is there and whole."""
    if not (folder / "meta.json").exists():
        return "it was missing"
    try:
        segments = json.loads((folder / "meta.json").read_text("utf-8"))["segments"]
        for segment in segments:
            name = str(segment["segment_id"]).replace("-", "")
            kinds = (
                {*_KINDS, f".{segment['deletes']['opstamp']}.del"} if segment["deletes"] else _KINDS
            )
            for kind in sorted(kinds):
                if not _whole(folder / f"{name}{kind}"):
                    return f"{name}{kind} was damaged"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} was missing"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"it could not be read ({error})"
    return ""


def _whole(file: Path) -> bool:
    """Whether the checksum at the end of a tantivy file is that of the bytes before it.

    The file ends with a JSON object that has the CRC-32, its length, and the number 1337.
    """
    data = memoryview(file.read_bytes())
    if len(data) < 8 or int.from_bytes(data[-4:], "little") != 1337:
        return False
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    if start < 0:
        return False
    foot = json.loads(bytes(data[start:-8]))
    return bool(zlib.crc32(data[:start]) == foot["crc"])


def difference(store: Store, lexical: Lexical) -> tuple[Rows, Rows]:
    """Rows that only the term index holds (or holds twice), and rows that it lacks."""
    held, times = np.unique(lexical.rows(), return_counts=True)
    with store.record.reading() as connection:
        rows = every_row(connection)
    twice = held[times > 1]
    surplus = np.union1d(np.setdiff1d(held, rows), twice)
    lacking = np.union1d(np.setdiff1d(rows, held), np.intersect1d(twice, rows))
    return surplus, lacking


def lost_vectors(store: Store, space: int) -> list[int]:
    """Slots whose bytes are not what was written."""
    file = store.file(space)
    held = file.held
    lost: list[int] = []
    with store.record.reading() as connection:
        cursor = connection.execute(
            "SELECT slot, crc FROM vectors WHERE space = ? ORDER BY slot", (space,)
        )
        while part := cursor.fetchmany(_PART):
            there = [(slot, crc) for slot, crc in part if slot < held]
            lost += [slot for slot, _ in part if slot >= held]
            if there:
                now = checksums(file.view(held)[[slot for slot, _ in there]])
                lost += [slot for (slot, crc), found in zip(there, now) if crc != found]
    return sorted(lost)


def _record(store: Store, state: State) -> tuple[int, list[str]]:
    problems = []
    with store.record.reading() as connection:
        broken = connection.execute("PRAGMA integrity_check").fetchall()
        if broken != [("ok",)]:
            problems.append(f"the record is damaged: {broken[0][0]}")
        (documents,) = connection.execute("SELECT count(*) FROM documents").fetchone()
        damaged = _damaged(connection)
        (texts,) = connection.execute(
            "SELECT count(*) FROM documents JOIN contents USING (row)"
        ).fetchone()
    if damaged:
        which = ", ".join(map(repr, damaged[:3])) + (", ..." if len(damaged) > 3 else "")
        problems.append(
            f"the record is damaged: {len(damaged)} documents are not what was written: {which}"
        )
    if not documents == texts == state.count:
        problems.append(
            f"the record counts {state.count} documents, lists {documents}, has {texts} texts"
        )
    return int(documents), problems


def _damaged(connection: sqlite3.Connection) -> list[str]:
    """Ids of documents whose text has another hash than it had, or whose metadata is no JSON."""
    # As bytes, because damage may have left what is no UTF-8.
    rows = connection.execute(
        "SELECT CAST(id AS BLOB), hash, CAST(text AS BLOB), CAST(metadata AS BLOB) "
        "FROM documents JOIN contents USING (row) ORDER BY row"
    )
    return [
        id.decode("utf-8", "replace")
        for id, hash, text, metadata in rows
        if hash != text_hash(text) or not _is_object(metadata)
    ]


def _is_object(data: bytes) -> bool:
    try:
        return isinstance(json.loads(data), dict)
    except (ValueError, RecursionError):
        return False


def _lexical(store: Store, state: State) -> list[str]:
    problem = damage(store.path / state.lexical)
    if problem:
        return [f"the term index cannot be used: {problem}"]
    surplus, lacking = difference(store, store.lexical(state))
    problems = []
    if len(surplus):
        problems.append(f"the term index holds {len(surplus)} rows that the record does not")
    if len(lacking):
        problems.append(f"the term index lacks {len(lacking)} rows of the record")
    return problems


def _index(store: Store, state: State) -> list[str]:
    index = store.index(state)
    if index is None:
        return []
    rows, held = store.places(state).rows, index.rows()
    problems = []
    if len(surplus := np.setdiff1d(held, rows)):
        problems.append(f"Chroma holds {len(surplus)} rows that the record does not")
    if len(lacking := np.setdiff1d(rows, held)):
        problems.append(f"Chroma lacks {len(lacking)} rows of the record")
    return problems
