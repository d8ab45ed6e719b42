"""What readers ask: ids and scores, from one snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stepwell.corpus.chroma import ChromaIndex
from stepwell.corpus.kinds import crossover
from stepwell.corpus.places import Places
from stepwell.corpus.record import Rows
from stepwell.corpus.snapshot import Snapshot
from stepwell.corpus.terms import Scores
from stepwell.corpus.vectors import search_exact, widened
from stepwell.filters import Filter
from stepwell.models.protocols import Vectors

# So few vectors are searched exactly, Chroma or not: it takes about as long.
_FEW = 10_000
# An index of neighbours saves nothing over so small a share of what there is.
_SHARE = 1 / 25


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a search of a corpus returns.

    Attributes:
        ids: Best first.
        scores: (n,) float64, higher is better, never increasing.
        approximate: Whether some of the best may be missing, see `Corpus.searches`.
    """

    ids: list[str]
    scores: Scores
    approximate: bool = False

    def __len__(self) -> int:
        return len(self.ids)


def by_text(snapshot: Snapshot, text: str, k: int, filter: Filter | None, *, phrase: bool) -> Found:
    """The best k documents by BM25."""
    terms = snapshot.terms
    query = terms.query(text, phrase=phrase)
    allowed = snapshot.allowed(filter)
    limit = k
    while query is not None:
        rows, scores = terms.search(query, limit, allowed=allowed)
        found = _named(snapshot, rows, scores)
        # Rows that were replaced a moment ago may still be found; their places are refilled.
        if len(found) >= k or len(rows) < limit:
            return Found(found.ids[:k], found.scores[:k])
        limit *= 2
    return Found([], np.empty(0))


def text_scores(snapshot: Snapshot, text: str, ids: Sequence[str]) -> Scores:
    """(n,) BM25 of these documents, 0 where no term occurs."""
    terms = snapshot.terms
    query = terms.query(text)
    rows = snapshot.rows_of(ids)
    known = np.unique(rows[rows >= 0])
    scores = np.zeros(len(ids))
    if query is None or not len(known):
        return scores
    found, values = terms.score(query, known)
    if len(found):
        order = np.argsort(found)
        at = np.minimum(np.searchsorted(found, rows, sorter=order), len(found) - 1)
        hit = found[order[at]] == rows
        scores[hit] = values[order[at[hit]]]
    return scores


def by_vector(
    snapshot: Snapshot, query: NDArray[np.float32], k: int, filter: Filter | None
) -> Found:
    """The nearest k documents by cosine."""
    among = snapshot.among(filter)
    near = _nearby(snapshot, query, among, k)
    approximate = near is not None and len(near.rows) >= min(k, len(among.rows))
    among = near if near is not None and approximate else among
    at, scores = search_exact(among.matrix, query, among.slots, k)
    return replace(_named(snapshot, among.rows[at], scores), approximate=approximate)


def stored(snapshot: Snapshot, ids: Sequence[str]) -> Vectors:
    """(n, d) float32 vectors, NaN where there is none."""
    places = snapshot.places()
    slots = places.slots_of(snapshot.rows_of(ids))
    vectors = np.full((len(ids), places.matrix.shape[1]), np.nan, np.float32)
    there = slots >= 0
    vectors[there] = widened(places.matrix[slots[there]])
    return vectors


def _nearby(snapshot: Snapshot, query: NDArray[np.float32], among: Places, k: int) -> Places | None:
    """Those of some documents that can be among the first k; None where all of them are scored."""
    above = crossover(snapshot.state.vectors)
    if above is None:
        index = snapshot.index() if len(among.rows) > max(_FEW, k) else None
        return None if index is None else _near(index, query, snapshot, among, k)
    everything = len(snapshot.places().rows)
    if len(among.rows) <= max(above // 2, k, _SHARE * everything):
        return None
    neighbours = snapshot.neighbours()
    if neighbours is None:
        return None
    slots = neighbours.near(query, k, live=among.bits)
    # What was added since the index was made.
    return among.having(np.append(slots, np.arange(neighbours.slots, len(among.matrix))))


def _near(
    index: ChromaIndex,
    query: NDArray[np.float32],
    snapshot: Snapshot,
    among: Places,
    k: int,
) -> Places | None:
    """What Chroma finds near, and what it may not know of: added or deleted since it was opened.

    None when the filter hides most of what is near: then all that it allows are scored.
    """
    rows = snapshot.places().rows
    wide = k * -(-len(rows) // len(among.rows))
    near = index.near(query, wide)
    if len(among.among(near).rows) < min(k, len(among.rows)):
        return None
    # Asked for after Chroma has answered: it forgets a row only after the record has.
    unknown = np.union1d(rows[rows > index.seen], snapshot.gone())
    return among.among(np.union1d(near, unknown))


def _named(snapshot: Snapshot, rows: Rows, scores: Scores) -> Found:
    """Ids and scores of those rows that the record still holds."""
    ids = snapshot.ids_of(rows)
    held = [id for id in ids if id is not None]
    if len(held) < len(ids):
        scores = scores[np.array([id is not None for id in ids], np.bool_)]
    return Found(held, scores)
