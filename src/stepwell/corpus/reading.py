"""What readers ask: ids and scores, from one state of the record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stepwell.corpus.chroma import ChromaIndex
from stepwell.corpus.lexical import Scores
from stepwell.corpus.matching import every_row
from stepwell.corpus.record import Rows
from stepwell.corpus.store import Places, State, Store
from stepwell.corpus.vectors import search_exact
from stepwell.filters import Filter
from stepwell.models.protocols import Vectors

# So few vectors are searched exactly, Chroma or not: it takes about as long.
_FEW = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a search of a corpus returns.

    Attributes:
        ids: Best first.
        scores: (n,) float64, higher is better, never increasing.
    """

    ids: list[str]
    scores: Scores

    def __len__(self) -> int:
        return len(self.ids)


def by_text(
    store: Store, state: State, text: str, k: int, filter: Filter | None, *, phrase: bool
) -> Found:
    """The best k documents by BM25."""
    lexical = store.lexical(state)
    query = lexical.query(text, phrase=phrase)
    allowed = store.allowed(state, filter)
    limit = k
    while query is not None:
        rows, scores = lexical.search(query, limit, allowed=allowed)
        found = _named(store, state, rows, scores)
        # Rows that were replaced a moment ago may still be found; their places are refilled.
        if len(found) >= k or len(rows) < limit:
            return Found(found.ids[:k], found.scores[:k])
        limit *= 2
    return Found([], np.empty(0))


def text_scores(store: Store, state: State, text: str, ids: Sequence[str]) -> Scores:
    """(n,) BM25 of these documents, 0 where no term occurs."""
    lexical = store.lexical(state)
    query = lexical.query(text)
    rows = store.rows_of(state, ids)
    known = np.unique(rows[rows >= 0])
    scores = np.zeros(len(ids))
    if query is None or not len(known):
        return scores
    found, values = lexical.score(query, known)
    if len(found):
        order = np.argsort(found)
        at = np.minimum(np.searchsorted(found, rows, sorter=order), len(found) - 1)
        hit = found[order[at]] == rows
        scores[hit] = values[order[at[hit]]]
    return scores


def by_vector(
    store: Store, state: State, query: NDArray[np.float32], k: int, filter: Filter | None
) -> Found:
    """The nearest k documents by cosine."""
    places = store.places(state)
    allowed = store.allowed(state, filter)
    among = places if allowed is None else places.among(allowed)
    index = store.index(state)
    if index is not None and len(among.rows) > max(_FEW, k):
        near = _near(index, query, places, among, k)
        # Too few only when the filter hides what is near: then all that it allows are scored.
        among = near if len(near.rows) >= k else among
    at, scores = search_exact(among.matrix, query, among.slots, k)
    return _named(store, state, among.rows[at], scores)


def stored(store: Store, state: State, ids: Sequence[str]) -> Vectors:
    """(n, d) float32 vectors, NaN where there is none."""
    places = store.places(state)
    slots = places.slots_of(store.rows_of(state, ids))
    vectors = np.full((len(ids), places.matrix.shape[1]), np.nan, np.float32)
    there = slots >= 0
    vectors[there] = places.matrix[slots[there]]
    return vectors


def matched(store: Store, state: State, filter: Filter | None, k: int | None) -> list[str]:
    """The ids of the first k documents that a filter matches, in the order of their rows."""
    found = rows(store, state, filter)[:k]
    return [id for id in store.ids_of(state, found) if id is not None]


def rows(store: Store, state: State, filter: Filter | None) -> Rows:
    """The rows that a filter matches, ascending; all when there is none."""
    allowed = store.allowed(state, filter)
    if allowed is not None:
        return allowed
    with store.record.reading() as connection:
        return every_row(connection)


def _near(
    index: ChromaIndex, query: NDArray[np.float32], places: Places, among: Places, k: int
) -> Places:
    """What Chroma finds near, and what was added since it was opened here."""
    wide = k * -(-len(places.rows) // len(among.rows))
    later = places.rows[places.rows > index.seen]
    return among.among(np.union1d(index.near(query, wide), later))


def _named(store: Store, state: State, rows: Rows, scores: Scores) -> Found:
    """Ids and scores of those rows that the record still holds."""
    ids = store.ids_of(state, rows)
    held = [id for id in ids if id is not None]
    if len(held) < len(ids):
        scores = scores[np.array([id is not None for id in ids], np.bool_)]
    return Found(held, scores)
