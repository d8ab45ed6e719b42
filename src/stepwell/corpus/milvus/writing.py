"""Documents into the collection and out of it, a request a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from stepwell.corpus.analyzers import Analyzer
from stepwell.corpus.milvus.entities import entity, key_of
from stepwell.corpus.milvus.link import Link
from stepwell.corpus.milvus.reading import by_keys
from stepwell.corpus.vectors import halved
from stepwell.corpus.writing import Entry, batches
from stepwell.documents import Document
from stepwell.errors import InputError
from stepwell.models.protocols import Encoder, Vectors

# Documents of a request: with the longest strings that Milvus takes, below its 64 MB.
BATCH = 128
_KEYS = 1_000


def check_documents(documents: Any) -> None:
    """Refuse what is no list of documents.

    Raises:
        InputError: It is one document, or nothing that can be gone through.
    """
    if isinstance(documents, Document) or not isinstance(documents, Iterable):
        raise InputError(f"documents must be a list, not {type(documents).__name__}")


def put(
    link: Link,
    documents: Iterable[Document],
    *,
    analyzer: Analyzer,
    encoder: Encoder | None,
    replace: bool,
    lite: bool,
    progress: Callable[[int], object] | None,
    **asked: Any,
) -> int:
    """Write documents; how many.

    Args:
        link: Where.
        documents: Taken as they are needed.
        analyzer: Makes their terms.
        encoder: Makes their vectors; None for none.
        replace: Whether documents of the same ids are replaced.
        lite: Whether it is Milvus Lite.
        progress: Called with the number written so far, after each batch.
        asked: The consistency of what is read.
    """
    done = 0
    try:
        for batch in batches(documents, BATCH, repeats=replace):
            if not replace:
                _check_new(link, [each.document.id for each in batch], **asked)
            rows = [entity(each, analyzer) for each in batch]
            if encoder is not None:
                for row, vector in zip(rows, _encoded(encoder, batch)):
                    row["vector"] = vector
            # Not an insert: it would keep both of two documents with one id.
            link.call("upsert", data=rows)
            done += len(rows)
            if progress is not None:
                progress(done)
    finally:
        _settle(link, lite=lite, changed=done > 0)
    return done


def removed(link: Link, ids: Sequence[str], *, lite: bool, **asked: Any) -> int:
    """Delete documents; how many there were."""
    there = list(by_keys(link, ids, [], **asked))
    for start in range(0, len(there), _KEYS):
        link.call("delete", ids=[key_of(id) for id in there[start : start + _KEYS]])
    _settle(link, lite=lite, changed=bool(there))
    return len(there)


def _settle(link: Link, *, lite: bool, changed: bool) -> None:
    # What Milvus Lite has not flushed it searches slowly, with other BM25 scores under a filter.
    if lite and changed:
        link.call("flush")


def _check_new(link: Link, ids: Sequence[str], **asked: Any) -> None:
    old = by_keys(link, ids, [], **asked)
    if old:
        some = ", ".join(map(repr, sorted(old)[:3]))
        raise InputError(
            f"the corpus already holds {len(old)} of these ids, such as {some}; "
            "use upsert() to replace documents"
        )


def _encoded(encoder: Encoder, batch: Sequence[Entry]) -> Vectors:
    """(n, d) unit vectors, rounded as those of an embedded corpus are."""
    texts = [each.document.text for each in batch]
    vectors = np.asarray(encoder.encode(texts, kind="passage"), np.float32)
    shape = (len(texts), encoder.dimension)
    if vectors.shape != shape:
        raise InputError(
            f"encoder {encoder.name!r} gave an array of shape {vectors.shape} for {len(texts)} "
            f"texts; it must be {shape}"
        )
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise InputError(
            f"encoder {encoder.name!r} gave NaN or infinity for document "
            f"{batch[bad[0]].document.id!r}; nothing of this batch was written: mend the encoder "
            "or leave the document out"
        )
    return halved(vectors).astype(np.float32)
