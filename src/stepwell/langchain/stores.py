"""`StoreStage`: a LangChain vector store as a recall stage, asked so that its scores are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias

from langchain_core.documents import Document as LangChainDocument
from langchain_core.runnables.config import ContextThreadPoolExecutor
from langchain_core.vectorstores import VectorStore, VectorStoreRetriever

from stepwell.candidates import Candidates, check_k
from stepwell.documents import Document, Query
from stepwell.errors import ConfigurationError, InputError
from stepwell.filters import Filter
from stepwell.langchain.convert import recalled
from stepwell.langchain.embeddings import as_encoder
from stepwell.langchain.runs import abegin, achild_config, begin, child_config
from stepwell.langchain.stored import Read, of_chroma, of_memory, stored_vectors
from stepwell.langchain.where import where_of
from stepwell.meaning import Meaning
from stepwell.models.protocols import Encoder, Vectors

ScoreKind: TypeAlias = Literal["similarity", "distance", "relevance", "rank"]
FilterPolicy: TypeAlias = Literal["after"] | Callable[[Filter], Mapping[str, Any]] | None
Found: TypeAlias = list[tuple[LangChainDocument, float]]

AT_ONCE = 8
"""Searches made side by side for a batch of queries."""
USUAL = 100
"""Recalled where nothing says how many."""
# Deeper than this stores refuse, or time out.
_DEEPEST = 10_000
# Sync and async. The public search by relevance warns, whole documents in the warning, when a score
# is outside 0 to 1; the one that a store implements does not.
_SEARCH: dict[ScoreKind, tuple[str, str]] = {
    "similarity": ("similarity_search_with_score", "asimilarity_search_with_score"),
    "distance": ("similarity_search_with_score", "asimilarity_search_with_score"),
    "relevance": (
        "_similarity_search_with_relevance_scores",
        "_asimilarity_search_with_relevance_scores",
    ),
    "rank": ("similarity_search", "asimilarity_search"),
}


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a store.

    Attributes:
        score: What the number is that comes with a document.
        push: Joins a filter with the store's own `filter` argument.
        read: Reads stored vectors by id.
        blocks: Its awaited search computes on the event loop.
    """

    score: ScoreKind
    push: Callable[[Filter, Any], Any]
    read: Read
    blocks: bool = False


def _predicate(filter: Filter, own: Any) -> Callable[[LangChainDocument], bool]:
    return lambda document: (own is None or own(document)) and filter.matches(document.metadata)


_KNOWN = {
    "langchain_core.InMemoryVectorStore": Known("similarity", _predicate, of_memory, blocks=True),
    "langchain_chroma.Chroma": Known("distance", where_of, of_chroma),
}


def known(store: VectorStore) -> Known | None:
    """What is known of the store's class or a class that it extends."""
    for kind in type(store).__mro__:
        found = _KNOWN.get(f"{kind.__module__.partition('.')[0]}.{kind.__name__}")
        if found is not None:
            return found
    return None


def pushed(
    store: VectorStore, policy: FilterPolicy, own: Mapping[str, Any], filter: Filter
) -> dict[str, Any]:
    """Keyword arguments with which the store filters by itself, as far as it can.

    Raises:
        InputError: A declared push-down sets what the retriever's own `search_kwargs` set.
    """
    about = known(store)
    if policy is None:
        joined = about.push(filter, own.get("filter")) if about else None
        return {} if joined is None else {"filter": joined}
    if policy == "after":
        return {}
    extra = dict(policy(filter))
    for name in own.keys() & extra.keys():
        raise InputError(
            f"the filter and the retriever's search_kwargs both set {name!r} of "
            f"{type(store).__name__}; put the fixed part into the retriever's filter"
        )
    return extra


class StoreStage:
    """Recalls from a vector store; made by `as_stage`, which explains the arguments.

    `BiEncoder` and `MMR` take it in the place of a corpus, to read the store's own vectors.
    """

    recall_only = True

    def __init__(
        self,
        retriever: VectorStoreRetriever,
        *,
        k: int | None = None,
        name: str | None = None,
        score: ScoreKind | None = None,
        filter: FilterPolicy = None,
        id_key: str | None = None,
    ) -> None:
        self.retriever = retriever
        self.name = name or type(retriever.vectorstore).__name__
        self.k = check_k(k) or max(USUAL, int(retriever.search_kwargs.get("k", 0)))
        self.score = _score_kind(retriever, score)
        self.filter = filter
        self.id_key = id_key

    @property
    def kind(self) -> Meaning:
        """What its scores mean: places, or the store's own closeness."""
        return "rank" if self.score == "rank" else "similarity"

    def __repr__(self) -> str:
        return f"<stage {self.name}: {self.k} by {self.score}>"

    def run(self, candidates: Candidates, /) -> Candidates:
        """Search, deeper while a filter leaves too few."""
        query = candidates.query
        if query.is_blank:
            return recalled(candidates, self.name, [])
        search, _ = _SEARCH[self.score]
        run = begin(self.retriever, query.text, child_config(query, self.name))
        try:
            asked: dict[str, Any] | None = self._first(query)
            while asked is not None:
                answer = getattr(self._store, search)(query.text, **asked)
                found = self._read(answer)
                kept = self._kept(query, found)
                asked = self._deeper(query, asked, found, kept)
        except BaseException as error:
            run.on_retriever_error(error)
            raise
        run.on_retriever_end([document for document, _ in kept])
        return recalled(candidates, self.name, kept, id_key=self.id_key, kind=self.kind)

    async def arun(self, candidates: Candidates, /) -> Candidates:
        """`run`, awaited."""
        query = candidates.query
        about = known(self._store)
        if query.is_blank or (about is not None and about.blocks):
            return await asyncio.to_thread(self.run, candidates)
        _, search = _SEARCH[self.score]
        run = await abegin(self.retriever, query.text, achild_config(query, self.name))
        try:
            asked: dict[str, Any] | None = self._first(query)
            while asked is not None:
                answer = await getattr(self._store, search)(query.text, **asked)
                found = self._read(answer)
                kept = self._kept(query, found)
                asked = self._deeper(query, asked, found, kept)
        except BaseException as error:  # a cancelled search ends its run too
            await run.on_retriever_error(error)
            raise
        await run.on_retriever_end([document for document, _ in kept])
        return recalled(candidates, self.name, kept, id_key=self.id_key, kind=self.kind)

    def run_many(self, many: Sequence[Candidates], /) -> list[Candidates]:
        """`run` for each, side by side: a store mostly waits."""
        with ContextThreadPoolExecutor(max_workers=AT_ONCE) as threads:
            return list(threads.map(self.run, many))

    @property
    def encoder(self) -> Encoder:
        """The store's embeddings.

        Raises:
            ConfigurationError: It has none.
        """
        embeddings = self._store.embeddings
        if embeddings is None:
            raise ConfigurationError(
                f"{type(self._store).__name__} names no embeddings, so queries cannot be embedded "
                "as its documents were; make the store with its embeddings"
            )
        return as_encoder(embeddings)

    def stored_vectors(self, documents: Sequence[Document], /, *, dimension: int) -> Vectors:
        """The store's vectors, (n, d) float32 unit rows; NaN where it has, or gives, none.

        Chroma and `InMemoryVectorStore` give theirs.
        """
        about = known(self._store)
        read = about.read if about else None
        return stored_vectors(self._store, read, documents, dimension=dimension)

    @property
    def _store(self) -> VectorStore:
        return self.retriever.vectorstore

    def _first(self, query: Query) -> dict[str, Any]:
        own = {**self.retriever.search_kwargs}
        if self.retriever.search_type == "similarity_score_threshold":
            own.pop("score_threshold", None)  # applied in `_read`
        push = {} if query.filter is None else pushed(self._store, self.filter, own, query.filter)
        return {**own, **push, "k": self.k}

    def _read(self, answer: Sequence[Any]) -> Found:
        """What the store answered, with a score that is higher for better."""
        if self.score == "rank":
            return scored(answer)
        sign = -1.0 if self.score == "distance" else 1.0
        found = [(document, sign * float(score)) for document, score in answer]
        _check_direction(self._store, self.score, [score for _, score in found])
        lowest = self.retriever.search_kwargs.get("score_threshold")
        if lowest is None or self.retriever.search_type != "similarity_score_threshold":
            return found
        return [(document, score) for document, score in found if score >= lowest]

    def _kept(self, query: Query, found: Found) -> Found:
        allowed = query.filter
        if allowed is not None:
            found = [each for each in found if allowed.matches(each[0].metadata)]
        return found[: self.k]

    def _deeper(
        self, query: Query, asked: dict[str, Any], found: Found, kept: Found
    ) -> dict[str, Any] | None:
        """What to ask next, or None when there are enough, or no more to be had."""
        depth = asked["k"]
        enough = query.filter is None or self.filter == "after" or len(kept) >= self.k
        if enough or len(found) < depth:
            return None
        if depth >= _DEEPEST:
            raise InputError(
                f"{self.name} cannot apply this filter: of its first {depth} documents only "
                f"{len(kept)} match. Declare how it filters, as_stage(..., filter=function), or "
                "accept that few, filter='after'"
            )
        return {**asked, "k": min(depth * 4, _DEEPEST)}


def scored(documents: Sequence[LangChainDocument]) -> Found:
    """Documents best first with a score for their place, `1 / (60 + rank)`.

    The share of reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009): normalised, it
    falls off like the scores of a real stage.
    """
    return [(document, 1.0 / (60 + rank)) for rank, document in enumerate(documents, 1)]


def _score_kind(retriever: VectorStoreRetriever, score: ScoreKind | None) -> ScoreKind:
    store = retriever.vectorstore
    if retriever.search_type == "similarity_score_threshold":
        return "relevance"
    if score is not None:
        if score not in _SEARCH:
            raise ConfigurationError(f"score must be one of {', '.join(_SEARCH)}, not {score!r}")
        return score
    about = known(store)
    if about is not None:
        return about.score
    try:
        store._select_relevance_score_fn()
    except NotImplementedError:
        raise ConfigurationError(
            f"{type(store).__name__} does not say what its scores mean; pass score='similarity' "
            "(higher is better), 'distance' (lower is better) or 'rank'"
        ) from None
    return "relevance"


def _check_direction(store: VectorStore, score: ScoreKind, values: Sequence[float]) -> None:
    """Stores answer best first, so scores that rise along the list were declared wrongly."""
    rises = all(before <= after for before, after in pairwise(values))
    if len(values) > 1 and rises and values[0] < values[-1]:
        other = "similarity" if score == "distance" else "distance"
        raise ConfigurationError(
            f"the scores of {type(store).__name__} get worse towards its best document when read "
            f"as {score}; pass score={other!r} to as_stage"
        )
