"""Do the record and its indexes agree? Found out by reading; nothing is changed here."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepwell.corpus import index_record
from stepwell.corpus.index_record import Indexed
from stepwell.corpus.kinds import Searches, by_chroma, lacking
from stepwell.corpus.matching import every_row
from stepwell.corpus.record import Rows
from stepwell.corpus.snapshot import Snapshot, State
from stepwell.corpus.store import Store
from stepwell.corpus.terms import Terms
from stepwell.corpus.vectors import checksums
from stepwell.corpus.writing import is_written, text_hash
from stepwell.errors import CorpusError

_PART = 4096

Progress = Callable[[int, int], object]
_KINDS = frozenset((".term", ".idx", ".pos", ".fast", ".fieldnorm", ".store"))


@dataclass(frozen=True, slots=True)
class Report:
    """What `Corpus.verify` found.

    Attributes:
        documents: How many the record holds.
        vectors: How many of them have a vector.
        problems: One sentence each; empty when record and indexes agree.
        searches: How the vectors are searched; None where there are none.
    """

    documents: int
    vectors: int
    problems: tuple[str, ...]
    searches: Searches | None = None

    @property
    def ok(self) -> bool:
        """Whether record and indexes agree."""
        return not self.problems


def verify(store: Store, progress: Progress | None = None) -> Report:
    """Compare the record with every index, reading all of them; who writes is not waited for."""
    busy = is_written(store.path)
    with store.record.held() as connection:
        state = State.read(connection)
        documents, problems = _record(connection, state, progress)
    problem = damage(store.path / state.lexical)
    if problem:
        return Report(documents, 0, (*problems, f"the term index cannot be used: {problem}"))
    try:
        snapshot = store.pin()
    except CorpusError as error:
        return Report(documents, 0, (*problems, str(error)))
    try:
        busy = busy or snapshot.state != state
        problems += _lexical(snapshot, busy=busy)
        vectors = 0
        if snapshot.state.space:
            vectors, found = _vectors(store, snapshot, busy=busy)
            problems += found
    finally:
        snapshot.close()
    snapshot = store.pin()  # an index may have been replaced while all was read
    try:
        return Report(documents, vectors, tuple(problems), searches_of(store, snapshot))
    finally:
        snapshot.close()


def searches_of(store: Store, snapshot: Snapshot) -> Searches | None:
    """How the vectors are searched in a state; None where there are none."""
    state, slots = snapshot.state, len(snapshot.matrix)
    if not state.space:
        return None
    if by_chroma(state.vectors):
        return Searches("chroma", slots)
    indexed = Indexed.parse(state.neighbours)
    if indexed is None or store.neighbours(state) is None:
        return Searches("exact", slots, lacking=lacking(state.vectors, slots))
    return Searches("approximate", slots, indexed.slots, indexed.recall)


def damage(folder: Path) -> str:
    """Why a term index cannot be trusted; empty when every file is there and whole."""
    before = None
    while True:
        if not (folder / "meta.json").exists():
            return "it was missing"
        try:
            meta = (folder / "meta.json").read_text("utf-8")
            problem = _damage(folder, json.loads(meta)["segments"])
        except FileNotFoundError as error:
            problem = f"{Path(error.filename).name} was missing"
        except (OSError, ValueError, KeyError, TypeError) as error:
            return f"it could not be read ({error})"
        # A writer may have merged files meanwhile: then the index says so.
        if not problem or meta == before:
            return problem
        before = meta


def _damage(folder: Path, segments: list[Any]) -> str:
    for segment in segments:
        name = str(segment["segment_id"]).replace("-", "")
        deletes = segment["deletes"]
        kinds = {*_KINDS, f".{deletes['opstamp']}.del"} if deletes else _KINDS
        for kind in sorted(kinds):
            if not _whole(folder / f"{name}{kind}"):
                return f"{name}{kind} was damaged"
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


def difference(store: Store, terms: Terms) -> tuple[Rows, Rows]:
    """Rows that only the term index holds (or holds twice), and rows that it lacks."""
    return _difference(store.rows(), terms)


def _difference(rows: Rows, terms: Terms) -> tuple[Rows, Rows]:
    held, times = np.unique(terms.rows(), return_counts=True)
    twice = held[times > 1]
    surplus = np.union1d(np.setdiff1d(held, rows), twice)
    lacking = np.union1d(np.setdiff1d(rows, held), np.intersect1d(twice, rows))
    return surplus, lacking


def lost_vectors(
    connection: sqlite3.Connection, space: int, matrix: NDArray[np.float16]
) -> list[int]:
    """Slots whose bytes in the matrix are not what was written, or that it lacks."""
    held = len(matrix)
    lost: list[int] = []
    cursor = connection.execute(
        "SELECT slot, crc FROM vectors WHERE space = ? ORDER BY slot", (space,)
    )
    while part := cursor.fetchmany(_PART):
        there = [(slot, crc) for slot, crc in part if slot < held]
        lost += [slot for slot, _ in part if slot >= held]
        if there:
            now = checksums(matrix[[slot for slot, _ in there]])
            lost += [slot for (slot, crc), found in zip(there, now) if crc != found]
    return sorted(lost)


def _record(
    connection: sqlite3.Connection, state: State, progress: Progress | None
) -> tuple[int, list[str]]:
    problems = []
    broken = connection.execute("PRAGMA integrity_check").fetchall()
    if broken != [("ok",)]:
        problems.append(f"the record is damaged: {broken[0][0]}")
    (documents,) = connection.execute("SELECT count(*) FROM documents").fetchone()
    damaged = _damaged(connection, documents, progress)
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


def _damaged(connection: sqlite3.Connection, total: int, progress: Progress | None) -> list[str]:
    """Ids of documents whose text has another hash than it had, or whose metadata is no JSON."""
    # As bytes, because damage may have left what is no UTF-8.
    rows = connection.execute(
        "SELECT CAST(id AS BLOB), hash, CAST(text AS BLOB), CAST(metadata AS BLOB) "
        "FROM documents JOIN contents USING (row) ORDER BY row"
    )
    damaged, read = [], 0
    while part := rows.fetchmany(_PART):
        damaged += [
            id.decode("utf-8", "replace")
            for id, hash, text, metadata in part
            if hash != text_hash(text) or not _is_object(metadata)
        ]
        read += len(part)
        if progress is not None:
            progress(read, total)
    return damaged


def _is_object(data: bytes) -> bool:
    try:
        return isinstance(json.loads(data), dict)
    except (ValueError, RecursionError):
        return False


def _lexical(snapshot: Snapshot, *, busy: bool) -> list[str]:
    with snapshot.reading() as connection:
        rows = every_row(connection)
        waiting = np.array(
            connection.execute("SELECT row FROM tombstones").fetchall(), np.int64
        ).ravel()
    surplus, lacking = _difference(rows, snapshot.terms)
    surplus = np.setdiff1d(surplus, waiting)
    if busy:
        # Who writes puts rows into the index before the record tells of them.
        surplus = surplus[surplus <= max(rows.max(initial=0), waiting.max(initial=0))]
    problems = []
    if len(surplus):
        problems.append(f"the term index holds {len(surplus)} rows that the record does not")
    if len(lacking):
        problems.append(f"the term index lacks {len(lacking)} rows of the record")
    return problems


def _damaged_neighbours(store: Store) -> str:
    """Why the present index of neighbours cannot be used; empty where it can, or there is none."""
    while True:
        named = store.state().neighbours
        indexed = Indexed.parse(named)
        try:
            problem = index_record.damage(store.path, indexed) if indexed is not None else ""
        except OSError as error:
            problem = f"it could not be read ({error})"
        # One that was replaced meanwhile is gone.
        if not problem or store.state().neighbours == named:
            return problem


def _vectors(store: Store, snapshot: Snapshot, *, busy: bool) -> tuple[int, list[str]]:
    """How many documents have a vector, and what is wrong with the vectors."""
    with snapshot.reading() as connection:
        lost = lost_vectors(connection, snapshot.state.space, snapshot.matrix)
    if lost:
        return 0, [f"{len(lost)} vectors are damaged"]
    count, problems = len(snapshot.places().rows), []
    if count < snapshot.state.count:
        problems.append(f"{snapshot.state.count - count} documents have no vector")
    if problem := _damaged_neighbours(store):
        problems.append(f"the index of neighbours cannot be used: {problem}")
    index = store.index(snapshot.state)
    if index is not None and not busy:
        rows, held = snapshot.places().rows, index.rows()
        if len(surplus := np.setdiff1d(held, rows)):
            problems.append(f"Chroma holds {len(surplus)} rows that the record does not")
        if len(lacking := np.setdiff1d(rows, held)):
            problems.append(f"Chroma lacks {len(lacking)} rows of the record")
    return count, problems
