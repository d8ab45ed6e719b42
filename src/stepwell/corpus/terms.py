"""The term index as it was when it was looked at: rows and scores, whatever is written since."""

from __future__ import annotations

from typing import Any

import numpy as np
import tantivy
from numpy.typing import NDArray

from stepwell.corpus.analyzers import Analyzer
from stepwell.corpus.record import Rows

Scores = NDArray[np.float64]

# Up to so many allowed rows are looked up; beyond, hits are masked where that is cheaper.
_FEW = 1024
_AS_LOOKUP = 3  # hits that take as long to list (.6 us each) as one row to look up
_PART = 4096  # rows looked up at a time
_MORE = 1000  # hits asked for beyond those that are wanted (about 0.3 us each)


class Terms:
    """One state of a term index; it keeps the files that it needs, even once they are deleted.

    Args:
        searcher: tantivy's, of that state.
        schema: Of the index.
        analyzer: How texts became terms.
    """

    def __init__(self, searcher: Any, *, schema: Any, analyzer: Analyzer) -> None:
        self._searcher = searcher
        self._schema = schema
        self._analyzer = analyzer

    def query(self, text: str, *, phrase: bool = False) -> Any | None:
        """What tantivy is asked for this text; None when the text has no term."""
        if phrase:
            placed = self._analyzer.placed(text)
            if len(placed) > 1:
                return tantivy.Query.phrase_query(self._schema, "text", [*placed])
        terms = self._analyzer.query_terms(text)
        parts = [self._term(term, count) for term, count in terms.items()]
        if len(parts) < 2:
            return parts[0] if parts else None
        return tantivy.Query.boolean_query([(tantivy.Occur.Should, part) for part in parts])

    def search(self, query: Any, k: int, *, allowed: Rows | None = None) -> tuple[Rows, Scores]:
        """The best k rows, by score then by row, all with a score above 0.

        Args:
            query: From `query`.
            k: How many at most.
            allowed: Ascending rows to choose from; all when None.

        Returns:
            Rows int64 (n,) and scores float64 (n,); n < k only when no more match.
        """
        if allowed is None:
            return self._best(query, k)
        if len(allowed) <= _FEW:
            return self._best(self._within(query, allowed), min(k, max(len(allowed), 1)))
        return self._masked(query, k, allowed)

    def score(self, query: Any, rows: Rows) -> tuple[Rows, Scores]:
        """Those of the rows in which a term of the query occurs, with their scores."""
        found = [
            self._hits(self._within(query, part), len(part))
            for part in np.array_split(rows, -(-len(rows) // _PART) or 1)
            if len(part)
        ]
        if not found:
            return np.empty(0, np.int64), np.empty(0)
        return np.concatenate([r for r, _ in found]), np.concatenate([s for _, s in found])

    def extent(self) -> tuple[int, int]:
        """How many rows the index holds, and their sum: a cheap check against the record."""
        if not self._searcher.num_docs:
            return 0, 0
        stats = self._searcher.aggregate(
            tantivy.Query.all_query(), {"rows": {"stats": {"field": "row"}}}
        )["rows"]
        return int(stats["count"]), int(stats["sum"])

    def rows(self) -> Rows:
        """(n,) int64 ascending: every row in the index, once for each time it is there."""
        searcher = self._searcher
        if not searcher.num_docs:
            return np.empty(0, np.int64)
        hits = searcher.search(tantivy.Query.all_query(), searcher.num_docs, count=False).hits
        return np.sort(_rows(searcher, [address for _, address in hits]))

    def _term(self, term: str, count: int) -> Any:
        query = tantivy.Query.term_query(self._schema, "text", term)
        return query if count == 1 else tantivy.Query.boost_query(query, float(count))

    def _within(self, query: Any, rows: Rows) -> Any:
        among = tantivy.Query.term_set_query(self._schema, "row", rows.tolist())
        must = tantivy.Occur.Must
        # A score of 0 for being among them leaves the sum, and so every score, as it was.
        return tantivy.Query.boolean_query(
            [(must, query), (must, tantivy.Query.const_score_query(among, 0.0))]
        )

    def _best(self, query: Any, k: int) -> tuple[Rows, Scores]:
        # tantivy breaks ties by place in its files: all that tie with the last must be seen. Where
        # texts are of one length most searches end in a tie, and some hits more spare a second.
        limit = k + min(k, _MORE) + 1
        while True:
            rows, scores = self._hits(query, limit)
            if len(rows) < limit or scores[k - 1] > scores[-1]:
                order = np.lexsort((rows, -scores))[:k]
                return rows[order], scores[order]
            limit *= 4

    def _masked(self, query: Any, k: int, allowed: Rows) -> tuple[Rows, Scores]:
        total = max(self._searcher.num_docs, 1)
        limit = int(k * max(total / len(allowed), 1.0) * 1.2) + 16
        most = _AS_LOOKUP * len(allowed)
        while True:
            if limit > most:
                # To count all takes a thirtieth of listing them, and says which is cheaper.
                limit = self._searcher.search(query, 1).count + 1
                if limit > most:
                    return self._best(self._within(query, allowed), k)
            rows, scores = self._hits(query, limit)
            among = _among(rows, allowed)
            # Of those that tie with the last some may not be among the hits.
            sure = np.count_nonzero(scores[among] > scores[-1]) if len(rows) == limit else k
            if sure >= k:
                rows, scores = rows[among], scores[among]
                order = np.lexsort((rows, -scores))[:k]
                return rows[order], scores[order]
            limit *= 4

    def _hits(self, query: Any, limit: int) -> tuple[Rows, Scores]:
        searcher = self._searcher
        # tantivy reserves room for as many hits as are asked for.
        limit = max(min(limit, searcher.num_docs), 1)
        hits = searcher.search(query, limit, count=False).hits
        scores = np.fromiter((score for score, _ in hits), np.float64, len(hits))
        return _rows(searcher, [address for _, address in hits]), scores


def _rows(searcher: Any, addresses: list[Any]) -> Rows:
    return np.array(searcher.fast_field_values("row", addresses), np.int64)


def _among(rows: Rows, allowed: Rows) -> NDArray[np.bool_]:
    """Whether each row is one of the allowed (ascending) rows."""
    if not len(allowed):
        return np.zeros(len(rows), np.bool_)
    at = np.minimum(np.searchsorted(allowed, rows), len(allowed) - 1)
    return np.asarray(allowed[at] == rows, np.bool_)
