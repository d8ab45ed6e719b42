"""A data set of which some queries have no answer any more."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256

from stepwell.documents import Document
from stepwell.errors import InputError
from stepwell.evaluate.dataset import Dataset, Documents
from stepwell.ingest.reading import Reading


def hide(dataset: Dataset, share: float, *, seed: int = 0) -> Dataset:
    """The data set without the relevant documents of some queries, drawn at random.

    Documents are taken away until this share of the queries has no relevant one left. Of the other
    queries some lose a part of theirs, where queries share documents.

    Args:
        dataset: With its documents.
        share: Of the queries, above 0 and below 1.
        seed: Of the draw.

    Raises:
        InputError: The share is none, or the data set comes without documents.
    """
    if not 0.0 < share < 1.0:
        raise InputError(f"the share of queries to hide must be above 0 and below 1, not {share!r}")
    documents = dataset.documents
    if documents is None:
        raise InputError(f"{dataset.name} comes without its documents: none of them can be hidden")
    hidden = _hidden(dataset, share, seed)
    digest = sha256("\0".join(sorted(hidden)).encode("utf-8", "replace")).hexdigest()
    return replace(
        dataset,
        qrels={
            query: {id: grade for id, grade in grades.items() if id not in hidden}
            for query, grades in dataset.qrels.items()
        },
        documents=Documents(
            lambda: _without(documents.read(), hidden), lambda: (*documents.key(), digest)
        ),
    )


def _hidden(dataset: Dataset, share: float, seed: int) -> set[str]:
    relevant = {
        query: {id for id, grade in grades.items() if grade > 0}
        for query, grades in dataset.qrels.items()
    }
    order = sorted(relevant)
    random.Random(seed).shuffle(order)
    wanted = round(share * len(order))
    hidden: set[str] = set()
    for query in order:
        if sum(each <= hidden for each in relevant.values()) >= wanted:
            break
        hidden |= relevant[query]
    return hidden


@dataclass(frozen=True, slots=True)
class _Rest:
    """Documents as a stream that can be gone through again."""

    reading: Reading
    hidden: set[str]

    def __iter__(self) -> Iterator[Document]:
        return (each for each in self.reading.documents if each.id not in self.hidden)


def _without(reading: Reading, hidden: set[str]) -> Reading:
    left = max(reading.total - len(hidden), 0)
    return replace(reading, documents=_Rest(reading, hidden), total=left)
