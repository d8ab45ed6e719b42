"""Folders in the BEIR layout: `corpus.jsonl[.gz]`, `queries.jsonl[.gz]`, `qrels/SPLIT.tsv`."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from stepwell.documents import Document, well_formed
from stepwell.errors import InputError
from stepwell.ingest.places import token
from stepwell.ingest.reading import Reading, Skipped


def corpus_file(folder: Path) -> Path | None:
    """The file with the documents, or None where the folder is not in this layout."""
    return _either(folder, "corpus.jsonl")


def queries_file(folder: Path) -> Path | None:
    """The file with the queries, or None where there is none."""
    return _either(folder, "queries.jsonl")


def read_beir(path: Path | str) -> Reading:
    """Read the documents of a folder in the BEIR layout, or of its `corpus.jsonl[.gz]`.

    The file is gone through once now, to count its documents and find its faulty lines, and again
    for every iteration, so that a large set never lies in memory. Title and text are joined as
    "title\\ntext"; the title is kept as metadata too.

    Raises:
        InputError: There is no such file, it cannot be opened or its compression is damaged.
    """
    place = Path(path)
    file = corpus_file(place) if place.is_dir() else place
    if file is None:
        raise InputError(f"{place} has no corpus.jsonl or corpus.jsonl.gz")
    documents = _Documents(file)
    total, skipped = 0, []
    for number, found in documents.rows():
        if isinstance(found, Document):
            total += 1
        else:
            skipped.append(Skipped(f"{file.name} line {number}", found))
    # A faulty line may be a document that is there already: then nothing counts as vanished.
    root = file.parent.resolve()
    return Reading(
        token(root), documents, total, tuple(skipped), lambda metadata: not skipped, root
    )


def read_queries(path: Path | str) -> dict[str, str]:
    """Read queries by id, in the file's order.

    Args:
        path: A file of one JSON object a line, with `_id` and `text`; may be gzipped.

    Raises:
        InputError: It cannot be read, a line is faulty, or an id repeats.
    """
    file = Path(path)
    queries: dict[str, str] = {}
    for number, line in lines(file):
        row = _row(line)
        fault = row if isinstance(row, str) else _fault(row, queries)
        if fault or isinstance(row, str):
            raise InputError(f"{file} line {number}: {fault}")
        queries[str(row["_id"])] = row["text"]
    return queries


def lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """The non-blank lines of a plain or gzipped file, each with its number from 1.

    Raises:
        InputError: It cannot be opened, or its compression is damaged.
    """
    number = 0
    try:
        with _opened(file) as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield number, line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{file} is damaged after line {number}: {error}") from error
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}") from error


@dataclass(frozen=True, slots=True)
class _Documents:
    """The documents of a file, read anew by each iteration; faulty lines are passed over."""

    file: Path

    def __iter__(self) -> Iterator[Document]:
        return (found for _, found in self.rows() if isinstance(found, Document))

    def rows(self) -> Iterator[tuple[int, Document | str]]:
        """Each line's number, with its document or with what is wrong with it."""
        seen: set[str] = set()
        for number, line in lines(self.file):
            row = _row(line)
            fault = row if isinstance(row, str) else _fault(row, seen)
            if fault or isinstance(row, str):
                yield number, fault
                continue
            seen.add(str(row["_id"]))
            yield number, _document(row)


def _document(row: Mapping[str, Any]) -> Document:
    title = row.get("title") if isinstance(row.get("title"), str) else ""
    extra = row.get("metadata")
    metadata = dict(extra) if isinstance(extra, dict) else {}
    if title:
        metadata["title"] = title
    text = f"{title}\n{row['text']}" if title else row["text"]
    return Document(str(row["_id"]), text, metadata)


def _row(line: bytes) -> dict[str, Any] | str:
    try:
        row = json.loads(line.decode("utf-8-sig"))
        if b"\\ud" in line.lower():  # half an escaped pair is no character: it becomes "?"
            row = json.loads(well_formed(json.dumps(row, ensure_ascii=False)))
    except UnicodeDecodeError:
        return "it is not UTF-8"
    except (ValueError, RecursionError):
        return "it is not JSON"
    return row if isinstance(row, dict) else "it is not a JSON object"


def _fault(row: Mapping[str, Any], seen: set[str] | Mapping[str, str]) -> str:
    id = row.get("_id")
    if isinstance(id, bool) or not isinstance(id, (str, int)) or id == "":
        return "it has no _id"
    if not isinstance(row.get("text"), str):
        return "it has no text"
    return f"the id {id!r} is there twice" if str(id) in seen else ""


def _opened(file: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(file, "rb")) if file.suffix == ".gz" else file.open("rb")


def _either(folder: Path, name: str) -> Path | None:
    return next((file for file in (folder / name, folder / f"{name}.gz") if file.is_file()), None)
