"""`as_stage`: what a LangChain user already runs, as a recall stage with its scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

from langchain_core.documents import Document as LangChainDocument
from langchain_core.runnables import Runnable
from langchain_core.runnables.config import ContextThreadPoolExecutor
from langchain_core.vectorstores import VectorStore, VectorStoreRetriever

from stepwell.candidates import Candidates, check_k
from stepwell.documents import Query
from stepwell.errors import ConfigurationError, InputError
from stepwell.filters import Filter
from stepwell.langchain.convert import recalled
from stepwell.langchain.runs import achild_config, child_config
from stepwell.langchain.stores import (
    AT_ONCE,
    FilterPolicy,
    Found,
    ScoreKind,
    StoreStage,
    known,
    pushed,
    scored,
)
from stepwell.meaning import Meaning

if TYPE_CHECKING:
    from stepwell.langchain.retriever import CascadeRetriever


def as_stage(
    existing: Any,
    *,
    k: int | None = None,
    name: str | None = None,
    score: ScoreKind | None = None,
    filter: FilterPolicy = None,
    id_key: str | None = None,
    score_key: str | None = None,
) -> RetrieverStage | StoreStage:
    """A recall stage from a LangChain vector store, retriever, or chain that returns documents.

    A `VectorStoreRetriever` is asked through its store, with its `search_kwargs`, because it would
    throw the scores away; its run is still reported. Any other is invoked.

    A filter of the query is checked on every document that comes back. Before that, Chroma and
    `InMemoryVectorStore` filter themselves; another store is asked for more until `k` documents
    match or it has no more. A retriever cannot be asked for more, so it refuses a filter, with an
    `InputError`, unless `filter` says what to do.

    Args:
        existing: A `VectorStore`, a retriever or any `Runnable` from a string to documents.
        k: How many to recall. A vector store is asked for that many (by default for 100, or what
            its retriever asks for if that is more); what a retriever returns is cut there.
        name: Of the stage; by default the class.
        score: What a store's number is: "similarity" (higher is better), "distance" (lower is
            better; kept negated), "relevance" (LangChain's 0 to 1 form) or "rank" (none). By
            default what is known of the store, else "relevance".
        filter: "after" to check a filter only on what was returned, which may leave few or no
            documents; or a function from the `Filter` to keyword arguments for the search.
        id_key: Metadata key that identifies a document; by default `Document.id`, else its
            content.
        score_key: Metadata key in which a retriever leaves a score, higher is better; a
            `CascadeRetriever`'s own is known. Without one, `1 / (60 + rank)` is the score.

    Raises:
        ConfigurationError: It is none of these, or the store does not say what its scores mean.
    """
    if filter is not None and filter != "after" and not callable(filter):
        raise ConfigurationError(f"filter must be 'after' or a function, not {filter!r}")
    if isinstance(existing, VectorStore):
        existing = existing.as_retriever()
    if _is_plain_similarity(existing):
        return StoreStage(existing, k=k, name=name, score=score, filter=filter, id_key=id_key)
    if not isinstance(existing, Runnable):
        raise ConfigurationError(
            f"{type(existing).__name__} cannot recall: as_stage takes a LangChain vector store, "
            "retriever or Runnable that returns documents"
        )
    if score_key is None and _is_cascade(existing):
        score_key = existing.score_key
    return RetrieverStage(
        existing, k=k, name=name, filter=filter, id_key=id_key, score_key=score_key
    )


class RetrieverStage:
    """Recalls by invoking a retriever; made by `as_stage`, which explains the arguments."""

    recall_only = True

    def __init__(
        self,
        retriever: Runnable[str, list[LangChainDocument]],
        *,
        k: int | None = None,
        name: str | None = None,
        filter: FilterPolicy = None,
        id_key: str | None = None,
        score_key: str | None = None,
    ) -> None:
        self.retriever = retriever
        self.k = check_k(k)
        self.name = name or retriever.get_name()
        self.filter = filter
        self.id_key = id_key
        self.score_key = score_key

    @property
    def kind(self) -> Meaning | None:
        """What its scores mean: places, unless the retriever leaves a score, which may be any."""
        return "rank" if self.score_key is None else None

    def __repr__(self) -> str:
        return f"<stage {self.name}>"

    def run(self, candidates: Candidates, /) -> Candidates:
        """Invoke the retriever as a child of the run at work."""
        query = candidates.query
        if query.is_blank:
            return recalled(candidates, self.name, [])
        config = child_config(query, self.name)
        found = self.retriever.invoke(query.text, config, **self._arguments(query))
        kept = self._kept(query, found)
        return recalled(candidates, self.name, kept, id_key=self.id_key, kind=self.kind)

    async def arun(self, candidates: Candidates, /) -> Candidates:
        """`run`, awaited."""
        query = candidates.query
        if query.is_blank:
            return recalled(candidates, self.name, [])
        config = achild_config(query, self.name)
        found = await self.retriever.ainvoke(query.text, config, **self._arguments(query))
        kept = self._kept(query, found)
        return recalled(candidates, self.name, kept, id_key=self.id_key, kind=self.kind)

    def run_many(self, many: Sequence[Candidates], /) -> list[Candidates]:
        """`run` for each, side by side: a retriever mostly waits."""
        with ContextThreadPoolExecutor(max_workers=AT_ONCE) as threads:
            return list(threads.map(self.run, many))

    def _arguments(self, query: Query) -> Mapping[str, Any]:
        if _is_cascade(self.retriever):
            depth = {} if self.k is None else {"k": self.k}
            return {**depth, "filter": query.filter}
        if query.filter is None or self.filter == "after":
            return {}
        if isinstance(self.retriever, VectorStoreRetriever):
            return self._pushed_to_store(self.retriever, query.filter)
        if callable(self.filter):
            return self.filter(query.filter)
        raise InputError(
            f"{self.name} cannot filter. Give as_stage its vector store instead, or say how it "
            "filters, filter=function, or check only what it returns, filter='after'"
        )

    def _pushed_to_store(
        self, retriever: VectorStoreRetriever, filter: Filter
    ) -> Mapping[str, Any]:
        if self.filter is None and known(retriever.vectorstore) is None:
            raise InputError(
                f"it is not known how {type(retriever.vectorstore).__name__} filters; say it with "
                "as_stage(..., filter=function), or check only what it returns, filter='after'"
            )
        return pushed(retriever.vectorstore, self.filter, retriever.search_kwargs, filter)

    def _kept(self, query: Query, found: Any) -> Found:
        if not isinstance(found, list):
            kind = type(found).__name__
            raise InputError(f"{self.name} returned a {kind}, not a list of Documents")
        pairs = _by_key(found, self.score_key)
        allowed = query.filter
        kept = [
            (document, score)
            for document, score in pairs
            if allowed is None or allowed.matches(document.metadata)
        ]
        return kept[: self.k]


def _is_plain_similarity(existing: Any) -> bool:
    """Whether asking the store itself finds what the retriever would, in the same order."""
    if not isinstance(existing, VectorStoreRetriever) or existing.search_type == "mmr":
        return False
    own = type(existing)
    return (
        own._get_relevant_documents is VectorStoreRetriever._get_relevant_documents
        and own._aget_relevant_documents is VectorStoreRetriever._aget_relevant_documents
    )


def _is_cascade(retriever: Any) -> TypeGuard[CascadeRetriever]:
    # Imported late: the retriever is built from stages like this one.
    from stepwell.langchain.retriever import CascadeRetriever

    return isinstance(retriever, CascadeRetriever)


def _by_key(documents: Sequence[LangChainDocument], score_key: str | None) -> Found:
    if score_key is None:
        return scored(documents)
    try:
        return [(document, float(document.metadata[score_key])) for document in documents]
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"a document has no number under metadata[{score_key!r}], the score_key"
        ) from None
