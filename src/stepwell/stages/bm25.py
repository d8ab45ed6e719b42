"""`BM25`: recall by the words of the query."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from stepwell.candidates import Candidates, Scores, check_k
from stepwell.documents import Document, well_formed
from stepwell.errors import ConfigurationError
from stepwell.meaning import Meaning
from stepwell.stages.needs import need_corpus, need_depth, no_corpus, timely
from stepwell.stages.okapi import Okapi
from stepwell.stages.vectors import held_by

if TYPE_CHECKING:
    from stepwell.corpus.searchable import Searchable


class BM25:
    """Recalls the documents with the best BM25 score; given a set, scores that set by BM25.

    The order of a set becomes BM25's own; to blend it with the order before, put it in a `Hybrid`.

    Args:
        corpus: Where to search; None scores only documents that are brought. With the backend
            "rank-bm25": texts or documents, held in memory.
        k: How many to recall, or to keep of a set; None for all.
        name: The column its scores are kept under.
        backend: "tantivy" searches the corpus; "rank-bm25" needs the extra of that name.

    Raises:
        ConfigurationError: k is below 1, or the corpus does not fit the backend.
        MissingExtraError: rank-bm25 is asked for and not installed.
    """

    recall_only = False
    kind: Meaning = "lexical"
    floor = 0.0  # the score of what does not match: where a hybrid's scale begins

    def __init__(
        self,
        corpus: Searchable | Iterable[Document | str] | None = None,
        k: int | None = 1000,
        *,
        name: str = "bm25",
        backend: Literal["tantivy", "rank-bm25"] = "tantivy",
    ) -> None:
        self.name = name
        self.k = check_k(k)
        self.backend = backend
        self.corpus: Searchable | Okapi | None
        if backend == "rank-bm25":
            texts = cast("Iterable[Document | str] | None", corpus)
            self.corpus = Okapi.over(() if texts is None else texts)
        elif backend == "tantivy":
            if corpus is not None:
                need_corpus(corpus, name, "search_text", "score_text")
            self.corpus = cast("Searchable | None", corpus)
        else:
            raise ConfigurationError(f"backend must be 'tantivy' or 'rank-bm25', not {backend!r}")

    @property
    def computes(self) -> bool:
        """Whether its time is this machine's: a corpus may ask a server."""
        return bool(getattr(self.corpus, "computes", True))

    def __repr__(self) -> str:
        return f"BM25({self.corpus!r}, k={self.k})"

    def run(self, candidates: Candidates, /) -> Candidates:
        """Recall, or score the set; a blank query recalls nothing and leaves a set as it is."""
        query = candidates.query
        if candidates.fresh:
            if (corpus := self.corpus) is None:
                raise no_corpus(self.name)
            if query.is_blank:
                return candidates.recalled(self.name, [], [], source=corpus)
            k = need_depth(self.k, corpus)
            found = timely(corpus, candidates).search_text(query.text, k, filter=query.filter)
            return candidates.recalled(
                self.name, found.ids, found.scores, source=corpus, kind=self.kind
            )
        if query.is_blank:
            return candidates.top(self.k)
        scored = candidates.scored(self.name, self._scores(candidates), kind=self.kind)
        return scored.top(self.k)

    def _scores(self, candidates: Candidates) -> Scores:
        values = np.zeros(len(candidates))
        text = candidates.query.text
        held = held_by(self.corpus, candidates)
        if self.corpus is not None and held.any():
            corpus = timely(self.corpus, candidates)
            values[held] = corpus.score_text(text, candidates.ids[held].tolist())
        brought = candidates.ids[~held].tolist()
        if brought:
            documents = candidates.source.get_many(brought)
            texts = [well_formed(document.text) if document else "" for document in documents]
            values[~held] = self._of_texts(text, texts)
        return values

    def _of_texts(self, query: str, texts: list[str]) -> Scores:
        if self.backend == "rank-bm25":
            return Okapi.over(texts).scores(query)
        from stepwell.corpus.lexical import score_texts

        analyzer = getattr(self.corpus, "analyzer", "english")
        values: Scores = score_texts(query, texts, analyzer=analyzer)
        return values
