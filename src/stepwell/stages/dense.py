"""`Dense`: recall by meaning, the nearest stored vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepwell.candidates import Candidates, check_k
from stepwell.stages.needs import need_corpus, need_depth, no_corpus
from stepwell.stages.vectors import PassageVectors

if TYPE_CHECKING:
    from stepwell.corpus import Corpus


class Dense:
    """Recalls the documents whose vectors are nearest to the query's; given a set, scores it.

    Args:
        corpus: Where to search, with the encoder it was opened with; None scores only documents
            that are brought, with the embedded encoder.
        k: How many to recall, or to keep of a set; None for all.
        name: The column its scores (cosines, -1 to 1) are kept under.

    Raises:
        ConfigurationError: k is below 1, or the corpus has no encoder.
    """

    recall_only = False

    def __init__(
        self, corpus: Corpus | None = None, k: int | None = 1000, *, name: str = "dense"
    ) -> None:
        if corpus is not None:
            need_corpus(corpus, name, "search_vector", "vectors_for")
        self.name = name
        self.k = check_k(k)
        self.corpus = corpus
        self._passages = PassageVectors(corpus)
        self.encoder = self._passages.encoder

    def __repr__(self) -> str:
        return f"Dense({self.corpus!r}, k={self.k})"

    def run(self, candidates: Candidates, /) -> Candidates:
        """Recall, or score the set; a blank query recalls nothing and leaves a set as it is."""
        query = candidates.query
        if not candidates.fresh:
            if query.is_blank:
                return candidates.top(self.k)
            return self._passages.rescored(candidates, self.name).top(self.k)
        if (corpus := self.corpus) is None:
            raise no_corpus(self.name)
        if query.is_blank:
            return candidates.recalled(self.name, [], [], source=corpus)
        vector = self._passages.of_query(query.text)
        found = corpus.search_vector(vector, need_depth(self.k, corpus), filter=query.filter)
        return candidates.recalled(self.name, found.ids, found.scores, source=corpus)
