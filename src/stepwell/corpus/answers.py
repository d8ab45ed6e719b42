"""`Answers`: what is asked of a corpus, whoever writes to it meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stepwell.candidates import check_k
from stepwell.corpus import reading
from stepwell.corpus.lexical import Scores
from stepwell.corpus.opening import Options
from stepwell.corpus.reading import Found
from stepwell.corpus.store import Store
from stepwell.corpus.verifying import Report, verify
from stepwell.documents import Document
from stepwell.errors import CorpusError, InputError
from stepwell.filters import Filter
from stepwell.models.protocols import Encoder, Vectors

FilterSpec = Mapping[str, Any] | Filter | None


class Answers:
    """The half of `Corpus` that reads."""

    _store: Store
    _options: Options

    # -- facts -----------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """The folder."""
        return self._store.path

    @property
    def analyzer(self) -> str:
        """The name of what makes terms of texts."""
        return self._store.analyzer.name

    @property
    def encoder(self) -> Encoder | None:
        """What makes the vectors; None when there is none at hand."""
        return self._options.model

    def verify(self) -> Report:
        """Compare the record with every index, reading all of them."""
        return self._store.settled(lambda state: verify(self._store, state))

    # -- documents -------------------------------------------------------------------------

    def get(self, id: str) -> Document | None:
        """The document of this id, or None."""
        return self.get_many([id])[0]

    def get_many(self, ids: Sequence[str], /) -> list[Document | None]:
        """The documents with these ids, in this order; None where there is none."""
        return self._store.record.get_many(ids)

    def documents(self, filter: FilterSpec = None) -> Iterator[Document]:
        """All documents, in the order they were written, or those that a filter matches."""
        parsed = Filter.parse(filter)
        rows = self._store.settled(lambda state: reading.rows(self._store, state, parsed))
        for start in range(0, len(rows), 512):
            yield from self._store.record.documents_at(rows[start : start + 512].tolist())

    def match(self, filter: FilterSpec, k: int | None = None) -> list[str]:
        """The ids of documents whose metadata matches, in the order they were written.

        Raises:
            InputError: The filter is unknown or k below 1.
        """
        parsed, limit = Filter.parse(filter), check_k(k, error=InputError)
        return self._store.settled(lambda state: reading.matched(self._store, state, parsed, limit))

    def __len__(self) -> int:
        return self._store.state().count

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and bool(self._store.record.rows_of([id])[0] >= 0)

    def __iter__(self) -> Iterator[Document]:
        return self.documents()

    # -- asking ----------------------------------------------------------------------------

    def search_text(
        self, text: str, k: int, *, filter: FilterSpec = None, phrase: bool = False
    ) -> Found:
        """The best documents by BM25; a filter changes no score. Ties go to the earlier one.

        Args:
            text: Plain words: nothing in it is read as query syntax.
            k: How many at most.
            filter: See `stepwell.filters`.
            phrase: Whether the words must stand together, in this order.

        Raises:
            InputError: k is below 1 or the filter unknown.
        """
        limit = check_k(k, error=InputError) or 1
        parsed = Filter.parse(filter)
        return self._store.settled(
            lambda state: reading.by_text(self._store, state, text, limit, parsed, phrase=phrase)
        )

    def score_text(self, text: str, ids: Sequence[str]) -> Scores:
        """(n,) float64 BM25 of these documents; 0 where no term of the text occurs."""
        return self._store.settled(lambda state: reading.text_scores(self._store, state, text, ids))

    def search_vector(self, vector: ArrayLike, k: int, *, filter: FilterSpec = None) -> Found:
        """The documents nearest to a vector, by cosine. Ties go to the earlier one.

        Args:
            vector: (d,) of any length but zero.
            k: How many at most.
            filter: See `stepwell.filters`.

        Raises:
            InputError: k is below 1, the filter unknown, or the vector of another dimension or NaN.
            CorpusError: The corpus has no vectors.
        """
        limit = check_k(k, error=InputError) or 1
        parsed = Filter.parse(filter)
        query = self._checked_vector(vector)
        return self._store.settled(
            lambda state: reading.by_vector(self._store, state, query, limit, parsed)
        )

    def vectors_of(self, ids: Sequence[str]) -> Vectors:
        """(n, d) float32 stored vectors; a row of NaN where there is none.

        Raises:
            CorpusError: The corpus has no vectors.
        """
        self._dimension()
        return self._store.settled(lambda state: reading.stored(self._store, state, ids))

    # -- inside ----------------------------------------------------------------------------

    def _space(self) -> int:
        """The number of the corpus' vectors; 0 for none.

        Raises:
            CorpusError: Another process gave the corpus vectors of another encoder.
        """
        space = self._store.state().space
        if space and self.encoder is not None:
            name, _ = self._store.encoder_of(space)
            if name != self.encoder.name:
                raise CorpusError(
                    f"corpus {str(self.path)!r} was given vectors of encoder {name!r} since it was "
                    "opened; open it again with that encoder"
                )
        return space

    def _checked_vector(self, vector: ArrayLike) -> NDArray[np.float32]:
        query = np.asarray(vector, np.float32)
        dimension = self._dimension()
        if query.shape != (dimension,):
            raise InputError(
                f"a query vector must have shape ({dimension},) here, not {query.shape}"
            )
        if not np.isfinite(query).all():
            raise InputError("the query vector has NaN or infinity in it; mend the encoder")
        return query

    def _dimension(self) -> int:
        space = self._space()
        if not space:
            raise CorpusError(
                f"corpus {str(self.path)!r} has no vectors: it was made with encoder=None; give "
                "it some with corpus.reencode('embedded'), or with any other encoder"
            )
        return self._store.file(space).dimension
