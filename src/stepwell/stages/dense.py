"""`Dense`: recall by meaning, the nearest stored vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stepwell.candidates import Candidates, check_k
from stepwell.meaning import Meaning
from stepwell.models.protocols import Vectors
from stepwell.stages.needs import need_corpus, need_depth, no_corpus, timely
from stepwell.stages.vectors import PassageVectors

if TYPE_CHECKING:
    from stepwell.corpus.searchable import Searchable


class Dense:
    """Recalls the documents whose vectors are nearest to the query's; given a set, scores it.

    The order of a set becomes that of the cosines; `BiEncoder` blends it with the order before.

    Args:
        corpus: Where to search, with the encoder it was opened with; None scores only documents
            that are brought, with the embedded encoder.
        k: How many to recall, or to keep of a set; None for all.
        name: The column its scores (cosines, -1 to 1) are kept under.

    Raises:
        ConfigurationError: k is below 1, or the corpus has no encoder.
    """

    recall_only = False
    kind: Meaning = "similarity"

    def __init__(
        self, corpus: Searchable | None = None, k: int | None = 1000, *, name: str = "dense"
    ) -> None:
        if corpus is not None:
            need_corpus(corpus, name, "search_vector", "vectors_for")
        self.name = name
        self.k = check_k(k)
        self.corpus = corpus
        self._passages = PassageVectors(corpus)
        self.encoder = self._passages.encoder

    @property
    def computes(self) -> bool:
        """Whether its time is this machine's: an encoder of one's own may ask another."""
        return bool(getattr(self.encoder, "local", False))

    def __repr__(self) -> str:
        return f"Dense({self.corpus!r}, k={self.k})"

    def run(self, candidates: Candidates, /) -> Candidates:
        """Recall, or score the set; a blank query recalls nothing and leaves a set as it is."""
        return self.run_many([candidates])[0]

    def run_many(self, many: Sequence[Candidates], /) -> list[Candidates]:
        """`run` for each, the queries encoded together."""
        queries = self._passages.of_queries(many)
        return [
            self._recalled(each, query) if each.fresh else self._scored(each, query)
            for each, query in zip(many, queries)
        ]

    def _scored(self, candidates: Candidates, query: Vectors | None) -> Candidates:
        if query is None:
            return candidates.top(self.k)
        return self._passages.rescored(candidates, query, self.name).top(self.k)

    def _recalled(self, candidates: Candidates, query: Vectors | None) -> Candidates:
        if (corpus := self.corpus) is None:
            raise no_corpus(self.name)
        if query is None:
            return candidates.recalled(self.name, [], [], source=corpus)
        k = need_depth(self.k, corpus)
        found = timely(corpus, candidates).search_vector(query, k, filter=candidates.query.filter)
        recalled = candidates.recalled(
            self.name, found.ids, found.scores, source=corpus, kind=self.kind
        )
        return recalled.noted(search="approximate") if found.approximate else recalled
