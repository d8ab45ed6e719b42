"""What Milvus holds of a document, and the document again."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from stepwell.corpus.analyzers import Analyzer
from stepwell.corpus.milvus.conditions import seen_by_filters
from stepwell.corpus.writing import Entry
from stepwell.documents import Document
from stepwell.errors import InputError

TEXT_BYTES = 65_535
"""UTF-8 bytes of one string in Milvus."""
FACETS = 4096
"""Elements of one array in Milvus."""
DOCUMENT = ["id", "text", "metadata"]

_writing = threading.Lock()
_latest = 0


def key_of(id: str) -> str:
    """The primary key of a document: of one length, and safe in any expression."""
    return blake2b(id.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def entity(entry: Entry, analyzer: Analyzer) -> dict[str, Any]:
    """What is stored of a document, but for its vector.

    Raises:
        InputError: A part of it is longer than Milvus takes.
    """
    document = entry.document
    digests, bounds = seen_by_filters(document.metadata)
    made: dict[str, Any] = {
        "pk": key_of(document.id),
        "id": document.id,
        "seq": _next(),
        "text": document.text,
        "terms": " ".join(map(stored_term, analyzer.terms(document.text))),
        "metadata": entry.metadata,
        "facets": digests,
        "bounds": bounds,
    }
    named = {**made, "bounds": json.dumps(bounds)}
    for name in ("id", "text", "terms", "metadata", "bounds"):
        size = len(named[name].encode("utf-8"))
        if size > TEXT_BYTES:
            raise _too_long(document, name, f"{size:,} bytes", f"{TEXT_BYTES:,}")
    if len(digests) > FACETS:
        raise _too_long(document, "facets", f"{len(digests):,} values", f"{FACETS:,}")
    return made


def document_of(row: Mapping[str, Any]) -> Document:
    """The document that was stored."""
    return Document(row["id"], row["text"], json.loads(row["metadata"]))


def stored_term(term: str) -> str:
    """A term in letters that no tokenizer of Milvus takes apart."""
    return term if term.isascii() else term.encode("utf-8").hex()


def _next() -> int:
    """A number above all before it: the order in which documents were written."""
    global _latest
    with _writing:
        _latest = max(_latest + 1, time.time_ns())
        return _latest


def _too_long(document: Document, name: str, size: str, most: str) -> InputError:
    what = {
        "id": "its id has",
        "text": "its text has",
        "terms": "the words of its text have",
    }.get(name, "its metadata has")
    return InputError(
        f"document {document.id!r}: {what} {size}, and Milvus takes {most}; split it into passages"
    )
