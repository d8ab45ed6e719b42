"""Indexes brought back into step with the record: what was cut off, lost, damaged or grown old."""

from __future__ import annotations

import json
import logging
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stepwell.corpus.lexical import Lexical, LexicalWriter
from stepwell.corpus.placing import Placer
from stepwell.corpus.record import Rows, fact, keep
from stepwell.corpus.store import Store, vectors_path
from stepwell.corpus.vectors import checksums
from stepwell.corpus.writing import Writer, changed

log = logging.getLogger("stepwell")

_PART = 4096


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


@contextmanager
def session(store: Store, placer: Placer | None, repaired: list[str]) -> Iterator[Writer]:
    """Write to a corpus whose lock is held: caught up before, swept and signed after."""
    catch_up(store, placer, repaired)
    with _lexical_writer(store) as lexical:
        writer = Writer(store, lexical, placer)
        yield writer
        writer.sweep()
    sign(store)


def catch_up(store: Store, placer: Placer | None, repaired: list[str]) -> None:
    """Bring every index into step with the record; the lock is held.

    What was cut off by a kill is finished or undone without a word. What is missing or damaged is
    made anew, which is logged as a warning and noted in `repaired`.
    """
    said = len(repaired)
    if store.record.fact("signature") != signature(store):
        problem = damage(store.path / store.state().lexical)
        if problem:
            rebuild_lexical(store)
            repaired.append(f"the term index was rebuilt from the record: {problem}")
        _mend_vectors(store, placer, repaired)
    place_lost(store, placer)
    _mend_lexical(store)
    for sentence in repaired[said:]:
        log.warning("corpus %s: %s", store.path, sentence)
    sign(store)


def sign(store: Store) -> None:
    """Remember how the index files look, so that the next one who opens need not read them."""
    now = signature(store)
    if store.record.fact("signature") != now:
        with store.record.writing() as connection:
            keep(connection, signature=now)


def signature(store: Store) -> str:
    """Names, sizes and times of the index files."""
    state = store.state()
    files = sorted((store.path / state.lexical).glob("*.*"))
    if state.space:
        files.append(vectors_path(store.path, state.space))
    looks = []
    for file in files:
        if file.suffix != ".lock" and file.exists():
            status = file.stat()
            looks.append(f"{file.name} {status.st_size} {status.st_mtime_ns}")
    return "\n".join(looks)


def damage(folder: Path) -> str:
    """Why a term index cannot be trusted; empty when every file's checksum holds."""
    if not (folder / "meta.json").exists():
        return "it was missing"
    try:
        segments = json.loads((folder / "meta.json").read_text("utf-8"))["segments"]
        names = [str(segment["segment_id"]).replace("-", "") for segment in segments]
        for name in names:
            files = [file for file in folder.glob(f"{name}.*") if file.suffix != ".lock"]
            if len({file.suffix for file in files} & {".term", ".idx", ".fast", ".store"}) < 4:
                return f"a file of segment {name} was missing"
            for file in files:
                if not _whole(file):
                    return f"{file.name} was damaged"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"it could not be read ({error})"
    return ""


def _whole(file: Path) -> bool:
    """Whether the checksum in a tantivy file's last bytes is that of the bytes before."""
    data = file.read_bytes()
    if len(data) < 8 or int.from_bytes(data[-4:], "little") != 1337:
        return False
    length = int.from_bytes(data[-8:-4], "little")
    foot = json.loads(data[-8 - length : -8])
    return bool(zlib.crc32(memoryview(data)[: -8 - length]) == foot["crc"])


def rebuild_lexical(store: Store) -> None:
    """Make the term index anew, in a folder of its own, and switch to it; the lock is held."""
    old = store.state().lexical
    new = f"lexical-{int(old.rpartition('-')[2]) + 1}"
    shutil.rmtree(store.path / new, ignore_errors=True)
    lexical = Lexical.create(store.path / new, analyzer=store.analyzer)
    writer = lexical.writer()
    try:
        with store.record.reading() as connection:
            for row, text in connection.execute("SELECT row, text FROM contents ORDER BY row"):
                writer.add((row,), (text,))
        writer.commit()
    finally:
        writer.close()
    with store.record.writing() as connection:
        connection.execute("DELETE FROM tombstones")
        keep(connection, lexical=new, swept=0)
        changed(connection)
    shutil.rmtree(store.path / old, ignore_errors=True)


def _mend_lexical(store: Store) -> None:
    """Remove from the term index what the record does not hold, and add what it lacks."""
    with store.record.reading() as connection:
        count, row_sum = fact(connection, "count"), fact(connection, "row_sum")
        waiting = connection.execute("SELECT count(*) FROM tombstones").fetchone()[0]
    lexical = store.lexical(store.state())
    lexical.reload()
    if not waiting and lexical.extent() == (count, row_sum):
        return
    surplus, lacking = difference(store, lexical)
    with _lexical_writer(store) as writer:
        writer.remove(surplus.tolist())
        with store.record.reading() as connection:
            for row in lacking.tolist():
                (text,) = connection.execute(
                    "SELECT text FROM contents WHERE row = ?", (row,)
                ).fetchone()
                writer.add((row,), (text,))
        writer.commit()
        Writer(store, writer, None).sweep()
    with store.record.writing() as connection:
        changed(connection)


def difference(store: Store, lexical: Lexical) -> tuple[Rows, Rows]:
    """Rows that only the term index holds (or holds twice), and rows that it lacks."""
    held, times = np.unique(lexical.rows(), return_counts=True)
    with store.record.reading() as connection:
        rows = np.fromiter(
            (row for (row,) in connection.execute("SELECT row FROM documents ORDER BY row")),
            np.int64,
        )
    twice = held[times > 1]
    surplus = np.union1d(np.setdiff1d(held, rows), twice)
    lacking = np.union1d(np.setdiff1d(rows, held), np.intersect1d(twice, rows))
    return surplus, lacking


def _mend_vectors(store: Store, placer: Placer | None, repaired: list[str]) -> None:
    """Encode again what the vector file lost; without an encoder, say so and go without."""
    state = store.state()
    if not state.space:
        return
    lost = lost_vectors(store, state.space)
    if not lost:
        return
    with store.record.writing() as connection:
        connection.executemany(
            "DELETE FROM vectors WHERE space = ? AND slot = ?", ((state.space, at) for at in lost)
        )
        # What is left keeps its slot; the file is extended to what the record counts.
        held = store.file(state.space).held
        (slots,) = connection.execute(
            "SELECT slots FROM spaces WHERE space = ?", (state.space,)
        ).fetchone()
        if held < slots:
            connection.execute("UPDATE spaces SET slots = ? WHERE space = ?", (held, state.space))
        keep(connection, unplaced=1)
        changed(connection, appended_only=False)
    store.forget_vectors()
    n = len(lost)
    if placer is None:
        repaired.append(
            f"{n} vectors were damaged and are gone; open with the encoder to remake them"
        )
    else:
        repaired.append(f"{n} vectors were damaged and are encoded again")


def place_lost(store: Store, placer: Placer | None) -> None:
    """Encode what has no vector, if something was lost before."""
    if placer is None or not store.record.fact("unplaced"):
        return
    for texts in placer.unplaced():
        fresh = placer.encoded(texts)
        with store.record.writing() as connection:
            placer.place(connection, fresh)
            changed(connection, appended_only=False)
    with store.record.writing() as connection:
        keep(connection, unplaced=0)


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
                data = file.view(held)[[slot for slot, _ in there]]
                lost += [s for (s, crc), now in zip(there, checksums(data)) if crc != now]
    return lost


@contextmanager
def _lexical_writer(store: Store) -> Iterator[LexicalWriter]:
    writer = store.lexical(store.state()).writer()
    try:
        yield writer
    finally:
        writer.close()


def verify(store: Store) -> Report:
    """Compare the record with every index, reading all of them."""
    state = store.state()
    problems: list[str] = []
    with store.record.reading() as connection:
        broken = connection.execute("PRAGMA integrity_check").fetchall()
        if broken != [("ok",)]:
            problems.append(f"the record is damaged: {broken[0][0]}")
        (documents,) = connection.execute("SELECT count(*) FROM documents").fetchone()
        (contents,) = connection.execute(
            "SELECT count(*) FROM documents JOIN contents USING (row)"
        ).fetchone()
        if not documents == contents == state.count:
            problems.append(
                f"the record counts {state.count} documents, lists {documents} and has the text "
                f"of {contents}"
            )
    problem = damage(store.path / state.lexical)
    if problem:
        problems.append(f"the term index cannot be used: {problem}")
    else:
        lexical = store.lexical(state)
        lexical.reload()
        surplus, lacking = difference(store, lexical)
        if len(surplus):
            problems.append(f"the term index holds {len(surplus)} rows that the record does not")
        if len(lacking):
            problems.append(f"the term index lacks {len(lacking)} rows of the record")
    vectors = 0
    if state.space:
        lost = lost_vectors(store, state.space)
        if lost:
            problems.append(f"{len(lost)} vectors are damaged")
        else:
            vectors = len(store.places(state).rows)
            if vectors < documents:
                problems.append(f"{documents - vectors} documents have no vector")
    return Report(documents, vectors, tuple(problems))
