"""What was read from a source: its documents, and what had to be left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepwell.documents import Document


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that could not be read.

    Attributes:
        where: A path relative to the source, or a file and its line.
        reason: Why, in one clause.
    """

    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Reading:
    """A source that was read.

    Attributes:
        source: What it is called in the corpus, see `stepwell.ingest.sync`.
        documents: In a stable order; may be iterated more than once.
        total: How many there are.
        skipped: What could not be read.
        covers: Given the metadata of a stored document of this source, whether it would have been
            read again had it still been there. A file that is unreadable today has not vanished.
        place: The folder it was read from, resolved; None where it was no folder.
    """

    source: str
    documents: Iterable[Document]
    total: int
    skipped: tuple[Skipped, ...] = ()
    covers: Callable[[Mapping[str, Any]], bool] = lambda metadata: True
    place: Path | None = None
