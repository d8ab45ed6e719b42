"""New vectors: encoded, checked and written to the file of one encoder."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stepwell.corpus.store import Store
from stepwell.corpus.vectors import halved
from stepwell.errors import InputError
from stepwell.models.protocols import Encoder

Fresh = Mapping[bytes, NDArray[np.float16]]

_PART = 256


@dataclass(frozen=True, slots=True)
class Text:
    """A text to encode: whose it is, for an error to name."""

    id: str
    text: str


class Placer:
    """Gives texts their vectors, each text once.

    Args:
        store: The corpus.
        encoder: Makes the vectors.
        space: The number under which the record knows this encoder.
    """

    def __init__(self, store: Store, encoder: Encoder, *, space: int) -> None:
        self.space = space
        self._store = store
        self._encoder = encoder

    def encoded(self, texts: Mapping[bytes, Text]) -> Fresh:
        """Vectors of those texts, by content hash, that have none yet.

        Raises:
            InputError: The encoder gave NaN, infinity or another shape than it should.
        """
        with self._store.record.reading() as connection:
            new = {h: t for h, t in texts.items() if self._slot(connection, h) < 0}
        if not new:
            return {}
        raw = self._encoder.encode([each.text for each in new.values()], kind="passage")
        vectors = np.asarray(raw, np.float32)
        shape = (len(new), self._store.file(self.space).dimension)
        if vectors.shape != shape:
            raise InputError(
                f"encoder {self._encoder.name!r} gave an array of shape {vectors.shape} for "
                f"{len(new)} texts; it must be {shape}"
            )
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(bad):
            whose = list(new.values())[bad[0]].id
            raise InputError(
                f"encoder {self._encoder.name!r} gave NaN or infinity for document {whose!r}; "
                "nothing of this batch was written: mend the encoder or leave the document out"
            )
        return dict(zip(new, halved(vectors)))

    def place(self, connection: sqlite3.Connection, fresh: Fresh) -> None:
        """Write vectors to the file, durably, and to the record, when it commits."""
        if not fresh:
            return
        (at,) = connection.execute(
            "SELECT slots FROM spaces WHERE space = ?", (self.space,)
        ).fetchone()
        crcs = self._store.file(self.space).write(at, np.stack(list(fresh.values())))
        connection.executemany(
            "INSERT INTO vectors VALUES (?, ?, ?, ?)",
            ((self.space, hash, at + n, crc) for n, (hash, crc) in enumerate(zip(fresh, crcs))),
        )
        connection.execute(
            "UPDATE spaces SET slots = ? WHERE space = ?", (at + len(fresh), self.space)
        )

    def vectors(
        self, connection: sqlite3.Connection, hashes: Sequence[bytes]
    ) -> NDArray[np.float16]:
        """(n, d) the vectors of texts that have one, within the transaction that gave it."""
        slots = [self._slot(connection, hash) for hash in hashes]
        matrix = self._store.file(self.space).view(max(slots, default=-1) + 1)
        return matrix[np.array(slots, np.intp)]

    def unplaced(self) -> Iterator[dict[bytes, Text]]:
        """Texts of the record that have no vector, by content hash, in batches."""
        with self._store.record.reading() as connection:
            rows = connection.execute(
                "SELECT min(row) FROM documents WHERE hash NOT IN "
                "(SELECT hash FROM vectors WHERE space = ?) GROUP BY hash ORDER BY 1",
                (self.space,),
            ).fetchall()
        for start in range(0, len(rows), _PART):
            with self._store.record.reading() as connection:
                yield {
                    hash: Text(id, text)
                    for (row,) in rows[start : start + _PART]
                    for id, hash, text in connection.execute(
                        "SELECT id, hash, text FROM documents JOIN contents USING (row) "
                        "WHERE row = ?",
                        (row,),
                    )
                }

    def _slot(self, connection: sqlite3.Connection, hash: bytes) -> int:
        """The slot of a text's vector; -1 where it has none."""
        found = connection.execute(
            "SELECT slot FROM vectors WHERE space = ? AND hash = ?", (self.space, hash)
        ).fetchone()
        return int(found[0]) if found else -1
