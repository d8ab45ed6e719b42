"""`as_stage`: a retriever or an index that you already run, as the recall stage of a cascade."""

from __future__ import annotations

import copy
import math
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.indices.base import BaseIndex
from llama_index.core.indices.vector_store import VectorIndexRetriever
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from llama_index.core.vector_stores.types import FilterCondition, MetadataFilters

from stepwell.candidates import Candidates, check_k
from stepwell.documents import Document, InMemory, Query
from stepwell.errors import ConfigurationError, InputError
from stepwell.llama_index.embeddings import as_encoder
from stepwell.llama_index.filters import store_filters
from stepwell.llama_index.nodes import document_of, unique
from stepwell.llama_index.query import BundleQuery
from stepwell.llama_index.recursion import Resolved
from stepwell.llama_index.stored import stored_vectors
from stepwell.meaning import Meaning
from stepwell.models.protocols import Encoder, Vectors

ScoreKind: TypeAlias = Literal["similarity", "distance", "rank"]
_Found: TypeAlias = list[tuple[Document, float | None]]
_Walk: TypeAlias = Generator[tuple[BaseRetriever, QueryBundle], list[NodeWithScore], Candidates]

USUAL = 100
"""Recalled where nothing says how many."""
# Deeper than this stores refuse, or time out.
_DEEPEST = 10_000


def as_stage(
    source: BaseRetriever | BaseIndex[Any],
    *,
    k: int | None = None,
    name: str | None = None,
    score: ScoreKind = "similarity",
    filter: Literal["after"] | None = None,
    metadata_mode: MetadataMode = MetadataMode.EMBED,
    native_async: bool = False,
) -> RetrieverStage:
    """A recall stage from any LlamaIndex retriever or index, which is itself not changed.

    A filter of the query is checked on every node that comes back. Before that, a vector store
    filters as far as every store understands, and whatever has a `similarity_top_k` is asked for
    more until `k` nodes match or it has no more. Another retriever refuses a filter, with an
    `InputError`, unless `filter` says what to do.

    Args:
        source: A retriever, or an index, whose `as_retriever` is called.
        k: How many to recall. What has a `similarity_top_k` is asked for that many (by default for
            100, or its own number if that is more); what another returns is cut there.
        name: The column its scores are kept under; by default the retriever's class.
        score: "similarity" (higher is better), "distance" (lower is better; kept negated) or "rank"
            (only the order counts). A node without a score follows those that have one.
        filter: "after" to check a filter only on what was returned, which may leave few or none.
        metadata_mode: Which text of a node the later stages read.
        native_async: Await the retriever's own `aretrieve`. Off, its `retrieve` runs in a thread,
            because the asynchronous methods of many retrievers and stores block the event loop.

    Raises:
        ConfigurationError: It is neither a retriever nor an index, k is below 1, or an option is
            unknown.

    Example:
        >>> from llama_index.core import SummaryIndex
        >>> from llama_index.core.schema import TextNode
        >>> as_stage(SummaryIndex([TextNode(text="rotate the logs")])).name
        'SummaryIndexRetriever'
    """
    if isinstance(source, BaseIndex):
        source = source.as_retriever()
    if not isinstance(source, BaseRetriever):
        raise ConfigurationError(
            f"as_stage takes a LlamaIndex retriever or index, not {type(source).__name__}; "
            "for a vector store, pass VectorStoreIndex.from_vector_store(store, embed_model)"
        )
    if score not in get_args(ScoreKind):
        raise ConfigurationError(f"score must be one of {get_args(ScoreKind)}, not {score!r}")
    if filter not in (None, "after"):
        raise ConfigurationError(f"filter must be None or 'after', not {filter!r}")
    kind = AsyncRetrieverStage if native_async else RetrieverStage
    return kind(source, k=k, name=name, score=score, filter=filter, metadata_mode=metadata_mode)


class RetrieverStage:
    """Recalls by asking a retriever; made by `as_stage`, which explains the arguments.

    Index nodes are resolved first, so that later stages read what is answered. Where it is a vector
    index that is asked, `BiEncoder` and `MMR` take this stage in the place of a corpus, to read the
    store's own vectors.
    """

    recall_only = True

    def __init__(
        self,
        retriever: BaseRetriever,
        *,
        k: int | None = None,
        name: str | None = None,
        score: ScoreKind = "similarity",
        filter: Literal["after"] | None = None,
        metadata_mode: MetadataMode = MetadataMode.EMBED,
    ) -> None:
        self.retriever = retriever
        self.k = check_k(k)
        self.name = name or type(retriever).__name__
        self.score = score
        self.filter = filter
        self.metadata_mode = metadata_mode

    def __repr__(self) -> str:
        return f"<stage {self.name}>"

    def run(self, candidates: Candidates, /) -> Candidates:
        """Ask; a blank query recalls nothing."""
        walk = self._walk(candidates)
        try:
            asked, bundle = next(walk)
            while True:
                asked, bundle = walk.send(asked.retrieve(bundle))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    @property
    def kind(self) -> Meaning:
        """What its scores mean: places, or the store's own closeness."""
        return "rank" if self.score == "rank" else "similarity"

    @property
    def encoder(self) -> Encoder:
        """The embedding of the vector index that is asked.

        Raises:
            ConfigurationError: It is another retriever.
        """
        return as_encoder(self._index._embed_model)

    def stored_vectors(self, documents: Sequence[Document], /, *, dimension: int) -> Vectors:
        """The index's vectors, (n, d) float32 unit rows; NaN where its store has, or gives, none.

        `SimpleVectorStore` and `ChromaVectorStore` give theirs.
        """
        return stored_vectors(self._index, documents, dimension=dimension)

    @property
    def _index(self) -> VectorIndexRetriever:
        if not isinstance(self.retriever, VectorIndexRetriever):
            raise ConfigurationError(
                f"{type(self.retriever).__name__} stores no vectors; give as_stage a "
                "VectorStoreIndex, or let the stage embed what is brought"
            )
        return self.retriever

    def _walk(self, candidates: Candidates) -> _Walk:
        """Yield a retriever and what to ask it, receive its nodes, return what was recalled."""
        query = candidates.query
        if query.is_blank:
            return candidates.recalled(self.name, [], [], source=InMemory())
        # A copy, because retrievers write the query's vector into the bundle that they are given.
        bundle = replace(_bundle(query))
        own: int | None = getattr(self.retriever, "similarity_top_k", None)
        if own is None:
            nodes = yield Resolved(self._as_it_is(query)), bundle
            return self._recalled(candidates, self._allowed(query, nodes))
        wanted = depth = self.k or max(own, USUAL)
        while True:
            asked = Resolved(self._set_to(depth, query))
            found = self._allowed(query, (yield asked, bundle))
            more = query.filter is not None and self.filter is None and depth < _DEEPEST
            if not more or len(found) >= wanted or asked.n_found < depth:
                return self._recalled(candidates, found[:wanted])
            depth = min(4 * depth, _DEEPEST)

    def _as_it_is(self, query: Query) -> BaseRetriever:
        if query.filter is not None and self.filter is None:
            raise InputError(
                f"{self.name} cannot filter. Give as_stage a vector index instead, or check only "
                "what it returns, filter='after'"
            )
        return self.retriever

    def _set_to(self, depth: int, query: Query) -> BaseRetriever:
        """A copy of the retriever, set to this depth and to this query's filter."""
        asked: Any = copy.copy(self.retriever)
        asked.similarity_top_k = depth
        if isinstance(asked, VectorIndexRetriever):
            # There is no public way to hand a filter to a retriever that exists already.
            asked._filters = _both(asked._filters, store_filters(query.filter))
        return asked  # type: ignore[no-any-return]

    def _allowed(self, query: Query, nodes: list[NodeWithScore]) -> _Found:
        found = [(document_of(each.node, self.metadata_mode), each.score) for each in unique(nodes)]
        wanted = query.filter
        return [pair for pair in found if wanted is None or wanted.matches(pair[0].metadata)]

    def _recalled(self, candidates: Candidates, found: _Found) -> Candidates:
        documents = [document for document, _ in found]
        ids = [document.id for document in documents]
        order = np.arange(len(ids), 0, -1)
        base = candidates.recalled(self.name, ids, order, source=InMemory(documents))
        values = [self._value(score) for _, score in found]
        return base.scored(self.name, values, kind=self.kind).top(self.k)

    def _value(self, score: float | None) -> float:
        """The score with higher for better; NaN for none, which is not the same as 0.0."""
        if score is None or self.score == "rank" or not math.isfinite(score):
            return math.nan
        return -float(score) if self.score == "distance" else float(score)


class AsyncRetrieverStage(RetrieverStage):
    """A retriever whose own asynchronous methods are awaited."""

    async def arun(self, candidates: Candidates, /) -> Candidates:
        """`run`, awaited."""
        walk = self._walk(candidates)
        # A StopIteration cannot cross a coroutine's edge, so it is caught where it is raised.
        nodes: list[NodeWithScore] | None = None
        while True:
            try:
                asked, bundle = next(walk) if nodes is None else walk.send(nodes)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            nodes = await asked.aretrieve(bundle)


def _bundle(query: Query) -> QueryBundle:
    if isinstance(query, BundleQuery) and query.bundle is not None:
        return query.bundle
    return QueryBundle(query.text)


def _both(own: MetadataFilters | None, asked: MetadataFilters | None) -> MetadataFilters | None:
    """Both in one flat list, as not every store takes a nested one; else the retriever's own."""
    if own is None or not own.filters or asked is None:
        return own or asked
    if not (_is_and(own) and _is_and(asked)):
        return own
    return MetadataFilters(filters=[*own.filters, *asked.filters], condition=FilterCondition.AND)


def _is_and(filters: MetadataFilters) -> bool:
    one = len(filters.filters) == 1 and filters.condition is FilterCondition.OR
    return one or filters.condition in (None, FilterCondition.AND)
