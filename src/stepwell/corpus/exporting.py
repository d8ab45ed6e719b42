"""A corpus as one file of JSON lines, and back: every document and vector as it was, bit for bit.

The first line says what follows; each other line is one document, in the order of writing:

    {"stepwell": "corpus", "format": 1, "documents": 2, "analyzer": "english",
     "encoder": {"name": "...", "dimension": 384}}
    {"id": "a1", "text": "...", "metadata": {}, "vector": "..."}

A vector is the base64 of its float16 numbers, lowest byte first; null where there is none, and left
out where `encoder` is null.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from stepwell.corpus.answers import Answers
from stepwell.corpus.fetching import documents_by_row
from stepwell.corpus.matching import every_row
from stepwell.corpus.opening import check_outside
from stepwell.corpus.refusals import disk
from stepwell.corpus.snapshot import Snapshot
from stepwell.documents import Document
from stepwell.errors import InputError

FORMAT = 1

_PART = 512

Progress = Callable[[int], object]


def export(
    corpus: Answers, file: str | Path, *, vectors: bool = True, progress: Progress | None = None
) -> int:
    """Write a corpus to a file, from one state of it, whoever writes meanwhile.

    The file appears whole or not at all, and replaces an export of its name.

    Args:
        corpus: What to write.
        file: Where to; folders above it are made.
        vectors: Whether the vectors go with the texts.
        progress: Called with the number of documents written so far.

    Returns:
        How many documents were written.

    Raises:
        CorpusError: The disk is full, or may not be written to.
        InputError: Something else has that name, or it lies in a corpus.
    """
    file = Path(file)
    _check_place(file)
    part = file.with_name(file.name + ".part")
    with disk(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
    done = 0
    snapshot = corpus.pinned()
    try:
        with disk(file.parent), part.open("w", encoding="utf-8", newline="\n") as out:
            out.write(json.dumps(_head(corpus, snapshot, vectors=vectors)) + "\n")
            for lines in _lines(snapshot, vectors=vectors):
                out.writelines(lines)
                done += len(lines)
                if progress is not None:
                    progress(done)
            out.flush()
            os.fsync(out.fileno())
        with disk(file.parent):
            os.replace(part, file)
    finally:
        snapshot.close()
        with suppress(OSError):  # where nothing may be written it was not made
            part.unlink(missing_ok=True)
    return done


def _check_place(file: Path) -> None:
    check_outside(file)
    if not os.path.lexists(file) or (file.is_file() and not file.stat().st_size):
        return
    try:
        Exported(file)
    except InputError as error:
        raise InputError(
            f"there is something at {str(file)!r} that is no exported corpus; name a new file"
        ) from error


def _head(corpus: Answers, snapshot: Snapshot, *, vectors: bool) -> dict[str, Any]:
    encoder = None
    if vectors and snapshot.state.space:
        with snapshot.reading() as connection:
            name, dimension = connection.execute(
                "SELECT encoder, dimension FROM spaces WHERE space = ?", (snapshot.state.space,)
            ).fetchone()
        encoder = {"name": name, "dimension": dimension}
    return {
        "stepwell": "corpus",
        "format": FORMAT,
        "documents": snapshot.state.count,
        "analyzer": corpus.analyzer,
        "encoder": encoder,
    }


def _lines(snapshot: Snapshot, *, vectors: bool) -> Iterator[list[str]]:
    with snapshot.reading() as connection:
        rows = every_row(connection)
    places = snapshot.places() if vectors and snapshot.state.space else None
    for start in range(0, len(rows), _PART):
        part = rows[start : start + _PART]
        with snapshot.reading() as connection:
            documents = documents_by_row(connection, part.tolist())
        lines: list[dict[str, Any]] = [
            {"id": each.id, "text": each.text, "metadata": dict(each.metadata)}
            for each in documents
        ]
        if places is not None:
            for line, slot in zip(lines, places.slots_of(part).tolist()):
                line["vector"] = None if slot < 0 else _packed(places.matrix[slot])
        yield [json.dumps(line, ensure_ascii=False) + "\n" for line in lines]


def _packed(vector: np.ndarray[Any, np.dtype[np.float16]]) -> str:
    return base64.b64encode(vector.astype("<f2").tobytes()).decode("ascii")


class Exported:
    """What such a file holds; read line by line.

    Args:
        file: The file.

    Raises:
        InputError: There is none, it is none of these, or of another version.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            with file.open(encoding="utf-8") as lines:
                head = json.loads(lines.readline())
            if head["stepwell"] != "corpus":
                raise ValueError(head["stepwell"])
            _check_version(file, head["format"])
            encoder = head["encoder"]
            self.documents = int(head["documents"])
            self.analyzer = str(head["analyzer"])
            self.encoder = encoder and (str(encoder["name"]), int(encoder["dimension"]))
        except OSError as error:
            raise InputError(f"{str(file)!r} cannot be read ({error})") from error
        except InputError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{str(file)!r} is no exported corpus; make one with: stepwell corpus export PATH "
                "--to FILE (other JSON lines of documents are read by: stepwell index FILE --to "
                "PATH)"
            ) from error

    def __iter__(self) -> Iterator[tuple[Document, np.ndarray[Any, Any] | None]]:
        """Each document with its vector.

        Raises:
            InputError: A line is none, or there are fewer or more than there should be.
        """
        count = 0
        with self.file.open(encoding="utf-8") as lines:
            next(lines)
            for count, line in enumerate(lines, 1):
                try:
                    yield self._read(json.loads(line))
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise InputError(
                        f"line {count + 1} of {str(self.file)!r} is no document as an export has "
                        "it; nothing was imported: export it again"
                    ) from error
        if count != self.documents:
            raise InputError(
                f"{str(self.file)!r} has {count} documents and should have {self.documents}; "
                "nothing was imported: export it again"
            )

    def _read(self, line: dict[str, Any]) -> tuple[Document, np.ndarray[Any, Any] | None]:
        document = Document(line["id"], line["text"], line["metadata"])
        packed = line["vector"] if self.encoder else None
        if packed is None or self.encoder is None:
            return document, None
        vector = np.frombuffer(base64.b64decode(packed, validate=True), "<f2")
        if len(vector) != self.encoder[1] or not np.isfinite(vector).all():
            raise ValueError("its vector is none of this encoder")
        return document, vector.astype(np.float16)


def _check_version(file: Path, version: object) -> None:
    if version != FORMAT:
        raise InputError(
            f"{str(file)!r} has format {version!r}, this version of Stepwell reads {FORMAT}; "
            "import it with the version that exported it"
        )
