"""`Keyword`: recall what matches exactly, by a filter or by a phrase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from stepwell.candidates import Candidates, check_k
from stepwell.documents import Document, Query
from stepwell.filters import Filter
from stepwell.meaning import Meaning
from stepwell.stages.needs import need_corpus, need_depth, timely

if TYPE_CHECKING:
    from stepwell.corpus.searchable import Searchable


class Keyword:
    """Recalls the documents that hold the query as a phrase, or that match a filter.

    On a fresh set: the query's words must stand together in a document, which BM25 then orders.
    A blank query, or ``phrase=False``, recalls whatever matches the filter, all with score 1; with
    no filter either it recalls nothing. Given a set it keeps what matches, in the order it has.

    Args:
        corpus: Where to search.
        k: How many to recall; None for all.
        phrase: Whether the query's words must stand together; False looks at the filter alone.
        filter: What a document must match besides the query's own filter.
        name: The column its scores are kept under.

    Raises:
        ConfigurationError: k is below 1, or the corpus is none.
        InputError: The filter is unknown.
    """

    recall_only = False
    kind: Meaning = "lexical"
    floor = 0.0  # the score of what does not match: where a hybrid's scale begins
    decides = True
    guards = True

    def __init__(
        self,
        corpus: Searchable,
        k: int | None = 1000,
        *,
        phrase: bool = True,
        filter: Mapping[str, Any] | Filter | None = None,
        name: str = "keyword",
    ) -> None:
        need_corpus(corpus, name, "search_text", "match")
        self.name = name
        self.k = check_k(k)
        self.corpus = corpus
        self.phrase = phrase
        self.filter = Filter.parse(filter)

    @property
    def computes(self) -> bool:
        """Whether its time is this machine's: a corpus may ask a server."""
        return bool(getattr(self.corpus, "computes", True))

    def __repr__(self) -> str:
        return f"Keyword({self.corpus!r}, k={self.k}, phrase={self.phrase})"

    def run(self, candidates: Candidates, /) -> Candidates:
        """Recall, or keep what matches of the set."""
        return self._recall(candidates) if candidates.fresh else self._keep(candidates)

    def _recall(self, candidates: Candidates) -> Candidates:
        query = self._narrowed(candidates.query)
        k = need_depth(self.k, self.corpus)
        corpus = timely(self.corpus, candidates)
        if self.phrase and not query.is_blank:
            found = corpus.search_text(query.text, k, filter=query.filter, phrase=True)
            return candidates.recalled(
                self.name, found.ids, found.scores, source=self.corpus, kind=self.kind
            )
        ids = corpus.match(query.filter, k) if query.filter else []
        ones = np.ones(len(ids))
        return candidates.recalled(self.name, ids, ones, source=self.corpus, kind=self.kind)

    def _keep(self, candidates: Candidates) -> Candidates:
        documents = candidates.documents()
        kept = candidates
        if self.filter is not None:
            mask = [doc is not None and self.filter.matches(doc.metadata) for doc in documents]
            kept = kept.keep(mask, reason=f"does not match the filter of {self.name}")
            documents = [doc for doc, holds in zip(documents, mask) if holds]
        if self.phrase and not candidates.query.is_blank:
            mask = _holding(candidates.query.text, documents, analyzer=self.corpus.analyzer)
            kept = kept.keep(mask, reason="does not hold the phrase")
        return kept

    def _narrowed(self, query: Query) -> Query:
        if self.filter is None:
            return query
        both = self.filter if query.filter is None else query.filter & self.filter
        return replace(query, filter=both)


def _holding(phrase: str, documents: Sequence[Document | None], *, analyzer: str) -> list[bool]:
    """Which documents hold the phrase, by the same terms and places as in the corpus's index."""
    from stepwell.corpus.analyzers import analyzer as named

    holds = named(analyzer).holds
    return [doc is not None and holds(phrase, doc.text) for doc in documents]
