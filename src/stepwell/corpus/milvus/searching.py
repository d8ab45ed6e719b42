"""Searches of the collection: by words, by a phrase, by a vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stepwell.corpus.analyzers import Analyzer
from stepwell.corpus.milvus.conditions import both
from stepwell.corpus.milvus.entities import stored_term
from stepwell.corpus.milvus.link import Link
from stepwell.corpus.milvus.reading import MOST, Row, found, hits
from stepwell.corpus.reading import Found
from stepwell.errors import InputError
from stepwell.models.protocols import Vectors


@dataclass(frozen=True, slots=True)
class Searcher:
    """What is the same for every search.

    Attributes:
        link: The collection.
        analyzer: Makes terms of a query.
        level: The consistency, as an argument.
        parameters: Of the vector index, for so many hits.
        lite: Whether it is Milvus Lite.
    """

    link: Link
    analyzer: Analyzer
    level: Mapping[str, Any]
    parameters: Callable[[int], dict[str, Any]]
    lite: bool = field(kw_only=True)

    def text(self, text: str, n: int, where: str, more: Sequence[str] = ()) -> list[Row]:
        """The best n by BM25 among those that an expression allows, with `more` of their fields."""
        counts = self.analyzer.query_terms(text)
        terms = [stored_term(term) for term, count in counts.items() for _ in range(count)]
        return self._search(["sparse", "BM25"], " ".join(terms), n, where, more) if terms else []

    def vector(self, query: Vectors, n: int, where: str) -> list[Row]:
        """The n nearest by cosine among those that an expression allows."""
        return self._search(["vector", "COSINE"], query, n, where, ())

    def phrase(self, text: str, k: int, where: str) -> Found:
        """The best k by BM25 of those in which the words stand together.

        Raises:
            InputError: More documents hold all the words than can be looked at.
        """
        narrow = both(where, self._holding(text))
        limit = min(2 * k + 16, MOST)
        while True:
            rows = self.text(text, limit, narrow, ("text",))
            there = [row for row in rows if self.analyzer.holds(text, row["text"])]
            if len(there) > k or len(rows) < limit:
                break
            if limit == MOST:
                raise InputError(
                    f"more than {MOST:,} documents hold all words of the phrase; add a filter"
                )
            limit = min(limit * 4, MOST)
        return found(lambda n: there[:n], k)

    def _holding(self, text: str) -> str:
        """What narrows a search to documents that may hold the phrase."""
        terms = [stored_term(term) for _, term in self.analyzer.placed(text)]
        if not self.lite:
            return f'PHRASE_MATCH(terms, "{" ".join(terms)}")'
        return " and ".join(f'text_match(terms, "{term}")' for term in dict.fromkeys(terms))

    def _search(
        self, field: Sequence[str], query: Any, n: int, where: str, more: Sequence[str]
    ) -> list[Row]:
        name, metric = field
        parameters = self.parameters(n) if name == "vector" else {}
        answer = self.link.call(
            "search",
            data=[query],
            anns_field=name,
            filter=where,
            limit=n,
            output_fields=["id", "seq", *more],
            search_params={"metric_type": metric, "params": parameters},
            **self.level,
        )
        return hits(answer, metric=metric)
