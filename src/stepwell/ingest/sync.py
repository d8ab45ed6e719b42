"""Bring a corpus in step with a source that was read again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stepwell.corpus.writing import CHARACTERS, QUICK
from stepwell.documents import Document
from stepwell.errors import InputError
from stepwell.ingest.places import keep_place, places
from stepwell.ingest.reading import Reading

if TYPE_CHECKING:
    from stepwell.corpus.anywhere import AnyCorpus

SOURCE = "_source"
"""The metadata key that says which source a document came from, without the path to it."""
# Documents of the first batch and of any; after one that was written quickly the next is twice as
# large, since to begin and end a write costs as much whatever is in it.
BATCH, _MOST = 256, 8192


@dataclass(frozen=True, slots=True)
class Synced:
    """What was done to the corpus, in documents."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0


def sync(
    corpus: AnyCorpus, reading: Reading, *, progress: Callable[[int], None] | None = None
) -> Synced:
    """Add what is new, replace what has changed and delete what has vanished from a source.

    Other documents of the corpus stay as they are. When the process is killed, a second run goes on
    where the first was.

    Args:
        corpus: Open for writing; a `Corpus` or a `MilvusCorpus`.
        reading: What the source holds now.
        progress: Called with the number of the source's documents that are in the corpus, durably
            and in every index.

    Raises:
        InputError: The corpus holds a document of the same id from elsewhere.
    """
    folder = getattr(corpus, "path", None)  # in Milvus there is none to keep places in
    if folder is not None and reading.place is not None:
        keep_place(folder, reading.source, reading.place)
    known_places = places(folder) if folder is not None else {}
    added = changed = done = 0
    seen: set[str] = set()
    for batch in _batches(reading):
        known = corpus.get_many([document.id for document in batch])
        _check_owner(known, reading, known_places)
        # In the order of the source, in which vectors may be on their way.
        if now := [new for new, before in zip(batch, known) if before != new]:
            corpus.upsert(now)
        fresh = known.count(None)
        added, changed, done = added + fresh, changed + len(now) - fresh, done + len(batch)
        seen.update(document.id for document in batch)
        if progress is not None:
            progress(done)
    removed = _remove_vanished(corpus, reading, seen)
    return Synced(added, changed, done - added - changed, removed)


def _batches(reading: Reading) -> Iterator[list[Document]]:
    size, characters = BATCH, 0
    batch: list[Document] = []
    for each in reading.documents:
        batch.append(Document(each.id, each.text, {**each.metadata, SOURCE: reading.source}))
        characters += len(each.text)
        if len(batch) >= size or characters > CHARACTERS:
            began = time.monotonic()
            yield batch
            if time.monotonic() - began < QUICK:
                size = min(2 * size, _MOST)
            batch, characters = [], 0
    if batch:
        yield batch


def _check_owner(
    known: Sequence[Document | None], reading: Reading, known_places: Mapping[str, str]
) -> None:
    for document in known:
        owner = None if document is None else document.metadata.get(SOURCE)
        if document is None or owner == reading.source:
            continue
        place = known_places.get(str(owner))
        if place is None or Path(place).exists():
            raise InputError(
                f"the corpus holds a document {document.id!r} already, from "
                f"{place or owner or 'elsewhere'}; index {reading.place or reading.source} into a "
                "corpus of its own"
            )
        # A folder that was moved: its documents are taken over.


def _remove_vanished(corpus: AnyCorpus, reading: Reading, seen: set[str]) -> int:
    gone = [id for id in corpus.match({SOURCE: reading.source}) if id not in seen]
    vanished = [
        document.id
        for document in corpus.get_many(gone)
        if document is not None and reading.covers(document.metadata)
    ]
    return corpus.delete(vanished) if vanished else 0
