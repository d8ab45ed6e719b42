"""`Answers`: what is asked of a corpus, whoever writes to it meanwhile."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stepwell.candidates import check_k
from stepwell.corpus import reading
from stepwell.corpus.fetching import documents_by_id, documents_by_row, ids_by_row, rows_by_id
from stepwell.corpus.kinds import Searches
from stepwell.corpus.matching import every_row, matching_rows
from stepwell.corpus.opening import Options
from stepwell.corpus.reading import Found
from stepwell.corpus.record import Rows, fact
from stepwell.corpus.snapshot import Snapshot
from stepwell.corpus.store import Store
from stepwell.corpus.terms import Scores
from stepwell.corpus.verifying import Report, searches_of, verify
from stepwell.documents import Document
from stepwell.errors import CorpusError, InputError
from stepwell.filters import Filter
from stepwell.models.protocols import Encoder, Vectors
from stepwell.moment import one_moment, present

FilterSpec = Mapping[str, Any] | Filter | None

_PART = 512


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

    @property
    def searches(self) -> Searches | None:
        """How the vectors are searched now; None for a corpus without vectors."""
        with self._snapshot() as snapshot:
            return searches_of(self._store, snapshot)

    def verify(self, *, progress: Callable[[int, int], object] | None = None) -> Report:
        """Compare the record with every index, reading all of them; nobody waits for it.

        Args:
            progress: Called with the number of documents read so far, and of all.
        """
        return verify(self._store, progress)

    # -- documents -------------------------------------------------------------------------

    def get(self, id: str) -> Document | None:
        """The document of this id, or None."""
        return self.get_many([id])[0]

    def get_many(self, ids: Sequence[str], /) -> list[Document | None]:
        """The documents with these ids, in this order; None where there is none."""
        with self._record() as connection:
            return documents_by_id(connection, ids)

    def documents(self, filter: FilterSpec = None) -> Iterator[Document]:
        """All documents, in the order they were written, or those that a filter matches."""
        parsed = Filter.parse(filter)
        if present() is None:
            with self._store.record.held() as connection:
                yield from _documents(lambda: nullcontext(connection), parsed)
            return
        with self._snapshot() as snapshot:
            yield from _documents(snapshot.reading, parsed)

    def match(self, filter: FilterSpec, k: int | None = None) -> list[str]:
        """The ids of documents whose metadata matches, in the order they were written.

        Raises:
            InputError: The filter is unknown or k below 1.
        """
        parsed, limit = Filter.parse(filter), check_k(k, error=InputError)
        with self._record() as connection:
            found = ids_by_row(connection, _rows(connection, parsed)[:limit].tolist())
        return [id for id in found if id is not None]

    def __len__(self) -> int:
        with self._record() as connection:
            return int(fact(connection, "count"))

    def __contains__(self, id: object) -> bool:
        with self._record() as connection:
            return isinstance(id, str) and id in rows_by_id(connection, [id])

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
        with self._snapshot() as snapshot:
            return reading.by_text(snapshot, text, limit, parsed, phrase=phrase)

    def score_text(self, text: str, ids: Sequence[str]) -> Scores:
        """(n,) float64 BM25 of these documents; 0 where no term of the text occurs."""
        with self._snapshot() as snapshot:
            return reading.text_scores(snapshot, text, ids)

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
        with self._snapshot() as snapshot:
            return reading.by_vector(snapshot, query, limit, parsed)

    def vectors_of(self, ids: Sequence[str]) -> Vectors:
        """(n, d) float32 stored vectors; a row of NaN where there is none.

        Raises:
            CorpusError: The corpus has no vectors.
        """
        self._dimension()
        with self._snapshot() as snapshot:
            return reading.stored(snapshot, ids)

    # -- moments ---------------------------------------------------------------------------

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """What is asked of the corpus inside is answered from its present state.

        A search by a cascade does this by itself. What is written inside, here or by anyone,
        shows when it is over; while it lasts the log of the record grows with what is written.
        """
        with one_moment() as moment:
            moment.of(self._store, self._store.pin)
            yield

    def pinned(self) -> Snapshot:
        """The present state, for who closes it."""
        return self._store.pin()

    @contextmanager
    def _snapshot(self) -> Iterator[Snapshot]:
        moment = present()
        kept = moment.of(self._store, self._store.pin) if moment is not None else None
        snapshot = kept or self._store.pin()
        try:
            yield snapshot
        finally:
            if kept is None:
                snapshot.close()

    @contextmanager
    def _record(self) -> Iterator[sqlite3.Connection]:
        """The record alone, which needs no index to be looked at."""
        if present() is None:
            with self._store.record.held() as connection:
                yield connection
            return
        with self._snapshot() as snapshot, snapshot.reading() as connection:
            yield connection

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


def _rows(connection: sqlite3.Connection, filter: Filter | None) -> Rows:
    """The rows that a filter matches, ascending; all when there is none."""
    return every_row(connection) if filter is None else matching_rows(connection, filter)


def _documents(
    reading: Callable[[], AbstractContextManager[sqlite3.Connection]], filter: Filter | None
) -> Iterator[Document]:
    with reading() as connection:
        rows = _rows(connection, filter)
    for start in range(0, len(rows), _PART):
        # Not read from while the caller has the turn.
        with reading() as connection:
            part = documents_by_row(connection, rows[start : start + _PART].tolist())
        yield from part
