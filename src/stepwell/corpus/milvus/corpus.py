"""`MilvusCorpus`: documents, terms and vectors in Milvus, searched by the same stages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from stepwell.candidates import Scores, check_k
from stepwell.corpus.analyzers import analyzer as named
from stepwell.corpus.milvus import reading
from stepwell.corpus.milvus.conditions import expression
from stepwell.corpus.milvus.entities import DOCUMENT, document_of
from stepwell.corpus.milvus.link import address_of
from stepwell.corpus.milvus.opening import Asked, opened
from stepwell.corpus.milvus.searching import Searcher
from stepwell.corpus.milvus.writing import check_documents, put, removed
from stepwell.corpus.reading import Found
from stepwell.documents import Document
from stepwell.errors import CorpusError, InputError
from stepwell.filters import Filter
from stepwell.models.loading import EMBEDDED, EncoderSpec
from stepwell.models.protocols import Encoder, Vectors

FilterSpec = Mapping[str, Any] | Filter | None
Consistency = Literal["strong", "session", "bounded", "eventually"]

_KEPT = "MilvusCorpus has no {}(): Milvus keeps its files whole and small itself"
_LACKING = {
    "snapshot": "MilvusCorpus has no snapshot(): each call sees the state of its moment; "
    "consistency='strong' sees what any process wrote until then",
    "reencode": "MilvusCorpus has no reencode(): index the documents into a new collection",
    **{name: _KEPT.format(name) for name in ("verify", "rebuild", "compact")},
}


class MilvusCorpus:
    """A corpus in Milvus: a file on one machine (Milvus Lite), or a cluster.

    The same stages search it as a `Corpus`. Terms are made by the same analyzers, filters mean the
    same, and what the stages re-score is scored where it is, or by its stored vector.

    Args:
        uri: ``http://host:port``, or a file's path that ends in ``.db``.
        collection: The name of the collection; made if there is none.
        encoder: As in `Corpus.open`; it must be the one that the collection records.
        analyzer: As in `Corpus.open`.
        token: "user:password" or an API key. The environment's ``MILVUS_TOKEN`` by default; a
            copy in another process reads it there.
        database: Of the server.
        create: Whether to make a collection where there is none.
        timeout: Seconds that one call may take; in a query with a deadline, what is left of it.
        consistency: What a search sees: "session", what this process wrote; "strong", what any
            process wrote; "bounded" and "eventually", sooner or later.
        index: How vectors are indexed in a new collection, as arguments of pymilvus's `add_index`.
            By default a graph (HNSW) on a server, and no index, so exact, in a file.
        search: Parameters of that index for a search, such as ``{"nprobe": 64}``.
        shards: Over how many nodes the writes of a new collection are spread.

    Raises:
        ConfigurationError: The URI, the encoder, the analyzer or the consistency is unknown, or
            the type of the index to Milvus Lite.
        CorpusError: Milvus cannot be reached or refuses, or the collection is not a corpus, or one
            of another encoder or analyzer.
        MissingExtraError: pymilvus is not installed.
    """

    computes = False  # Its time is the server's, not this machine's.

    def __init__(
        self,
        uri: str | Path,
        *,
        collection: str = "stepwell",
        encoder: EncoderSpec = EMBEDDED,
        analyzer: str | None = None,
        token: str | None = None,
        database: str = "",
        create: bool = True,
        timeout: float = 30.0,
        consistency: Consistency = "session",
        index: Mapping[str, Any] | None = None,
        search: Mapping[str, Any] | None = None,
        shards: int = 1,
    ) -> None:
        self._asked = Asked(
            collection, encoder, analyzer, create, timeout, consistency, index, search, shards
        )
        address = address_of(uri, token=token, database=database)
        self._address = address
        self._link, self._facts, self._model, self._lite = opened(address, self._asked)
        self._analyzer = named(self._facts.analyzer)
        self._level: dict[str, Any] = {"consistency_level": self._asked.level}

    def close(self) -> None:
        """Let go of the connection; the last corpus of a file lets go of the file."""
        self._link.close()

    def __enter__(self) -> MilvusCorpus:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"MilvusCorpus({self._address.uri!r}, collection={self._link.collection!r})"

    if not TYPE_CHECKING:  # to which a missing attribute stays one

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(_LACKING.get(name, f"MilvusCorpus has no attribute {name!r}"))

    def __reduce__(self) -> tuple[object, ...]:
        # A copy is the same collection, opened again; the token does not travel.
        return _reopened, (self._address.uri, self._address.database, self._asked)

    def __deepcopy__(self, _: dict[int, Any]) -> MilvusCorpus:
        token = self._address.token
        return _reopened(
            self._address.uri,
            self._address.database,
            self._asked,
            token=token.reveal() if token else None,
        )

    def within(self, deadline: float) -> MilvusCorpus:
        """This corpus, each call of which ends by then; it shares the connection.

        Args:
            deadline: `time.monotonic()` seconds.
        """
        bound = object.__new__(MilvusCorpus)
        bound.__dict__.update(self.__dict__, _link=self._link.until(deadline))
        return bound

    # -- facts -----------------------------------------------------------------------------

    @property
    def uri(self) -> str:
        """Where Milvus is, without credentials."""
        return self._address.uri

    @property
    def repaired(self) -> tuple[str, ...]:
        """Nothing: what is damaged is Milvus's to repair."""
        return ()

    @property
    def analyzer(self) -> str:
        """The name of what makes terms of texts."""
        return self._analyzer.name

    @property
    def encoder(self) -> Encoder | None:
        """What makes the vectors; None when there is none at hand."""
        return self._model

    # -- writing ---------------------------------------------------------------------------

    def add(
        self, documents: Iterable[Document], *, progress: Callable[[int], object] | None = None
    ) -> int:
        """Add documents with new ids, as `Corpus.add` does.

        A batch is one request. One that fails may have been written in part; written again by
        `upsert` it is whole.

        Raises:
            InputError: An id exists or repeats, a document cannot be kept, or its vector is NaN;
                nothing of its batch was written.
            CorpusError: Milvus fails, or the corpus was opened without its encoder.
        """
        return self._put(documents, progress, replace=False)

    def upsert(
        self, documents: Iterable[Document], *, progress: Callable[[int], object] | None = None
    ) -> int:
        """Add documents, replacing those of the same ids; of two in one call, the later counts.

        Raises:
            InputError: As in `add`, but for ids.
            CorpusError: As in `add`.
        """
        return self._put(documents, progress, replace=True)

    def delete(self, ids: Iterable[str]) -> int:
        """Delete documents; ids that the corpus does not hold are passed over.

        Returns:
            How many were deleted.

        Raises:
            CorpusError: Milvus fails.
        """
        if isinstance(ids, str):
            raise InputError(f"delete takes a list of ids, not the string {ids!r}")
        return removed(self._link, list(dict.fromkeys(ids)), lite=self._lite, **self._level)

    def _put(
        self,
        documents: Iterable[Document],
        progress: Callable[[int], object] | None,
        *,
        replace: bool,
    ) -> int:
        check_documents(documents)
        if self._facts.dimension and self._model is None:
            raise CorpusError(
                f"{self!r} was opened with encoder=None but has vectors; open it with its encoder "
                "to write to it"
            )
        return put(
            self._link,
            documents,
            analyzer=self._analyzer,
            encoder=self._model,
            replace=replace,
            lite=self._lite,
            progress=progress,
            **self._level,
        )

    # -- documents -------------------------------------------------------------------------

    def get(self, id: str) -> Document | None:
        """The document of this id, or None."""
        return self.get_many([id])[0]

    def get_many(self, ids: Sequence[str], /) -> list[Document | None]:
        """The documents with these ids, in this order; None where there is none."""
        rows = reading.by_keys(self._link, ids, DOCUMENT, **self._level)
        return [document_of(rows[id]) if id in rows else None for id in ids]

    def documents(self, filter: FilterSpec = None) -> Iterator[Document]:
        """All documents, in the order they were written, or those that a filter matches."""
        ids = self._matching(Filter.parse(filter))
        while part := list(islice(ids, 512)):
            yield from (each for each in self.get_many(part) if each is not None)

    def match(self, filter: FilterSpec, k: int | None = None) -> list[str]:
        """The ids of documents whose metadata matches, in the order they were written.

        Raises:
            InputError: The filter is unknown or k below 1.
        """
        parsed, limit = Filter.parse(filter), check_k(k, error=InputError)
        return list(islice(self._matching(parsed), limit))

    def _matching(self, filter: Filter | None) -> Iterator[str]:
        return reading.in_order(self._link, expression(filter), time.time_ns() + 1, **self._level)

    def __len__(self) -> int:
        return reading.count(self._link, **self._level)

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and id in reading.by_keys(self._link, [id], [], **self._level)

    def __iter__(self) -> Iterator[Document]:
        return self.documents()

    # -- asking ----------------------------------------------------------------------------

    def search_text(
        self, text: str, k: int, *, filter: FilterSpec = None, phrase: bool = False
    ) -> Found:
        """The best documents by BM25, as `Corpus.search_text` finds them.

        Raises:
            InputError: k is below 1 or more than Milvus gives, or the filter unknown.
            CorpusError: Milvus fails, or not in time.
        """
        limit = check_k(k, error=InputError) or 1
        where = expression(Filter.parse(filter))
        searcher = self._searcher()
        if phrase and len(self._analyzer.placed(text)) > 1:
            return searcher.phrase(text, limit, where)
        return reading.found(lambda n: searcher.text(text, n, where), limit)

    def score_text(self, text: str, ids: Sequence[str]) -> Scores:
        """(n,) float64 BM25 of these documents; 0 where no term of the text occurs."""
        searcher = self._searcher()
        scores = reading.scores_of(lambda where, n: searcher.text(text, n, where), ids)
        return np.array([scores.get(id, 0.0) for id in ids], np.float64)

    def search_vector(self, vector: ArrayLike, k: int, *, filter: FilterSpec = None) -> Found:
        """The documents nearest to a vector, by cosine, as far as the index finds them.

        Raises:
            InputError: k is below 1 or more than Milvus gives, the filter unknown, or the vector
                of another dimension or NaN.
            CorpusError: The corpus has no vectors, or Milvus fails, or not in time.
        """
        limit = check_k(k, error=InputError) or 1
        where = expression(Filter.parse(filter))
        query, searcher = self._checked_vector(vector), self._searcher()
        return reading.found(lambda n: searcher.vector(query, n, where), limit)

    def vectors_of(self, ids: Sequence[str]) -> Vectors:
        """(n, d) float32 stored vectors; a row of NaN where there is none.

        They are fetched by id: a search among ids leaves out what an approximate index passes by.

        Raises:
            CorpusError: The corpus has no vectors, or Milvus fails, or not in time.
        """
        vectors = np.full((len(ids), self._dimension()), np.nan, np.float32)
        rows = reading.by_keys(self._link, ids, ["vector"], **self._level)
        for at, id in enumerate(ids):
            if id in rows:
                vectors[at] = rows[id]["vector"]
        return vectors

    def vectors_for(self, ids: Sequence[str]) -> Vectors:
        """`vectors_of`: no document is written without its vector."""
        return self.vectors_of(ids)

    # -- inside ----------------------------------------------------------------------------

    def _searcher(self) -> Searcher:
        parameters = self._asked.searched
        return Searcher(self._link, self._analyzer, self._level, parameters, lite=self._lite)

    def _checked_vector(self, vector: ArrayLike) -> Vectors:
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
        if not self._facts.dimension:
            raise CorpusError(
                f"{self!r} has no vectors: it was made with encoder=None; index the documents into "
                "a new collection with an encoder"
            )
        return self._facts.dimension


def _reopened(uri: str, database: str, asked: Asked, *, token: str | None = None) -> MilvusCorpus:
    return MilvusCorpus(uri, token=token, database=database, **asked.again())
