"""What the LangChain tests filter: documents with metadata, the stores that hold them, filters."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from itertools import chain
from typing import Any

import chromadb
from hypothesis import strategies as st
from langchain_chroma import Chroma
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore

import stepwell as sw
from stepwell.langchain import as_embeddings
from tests.conformance.langchain_parts import documents

FIELDS = {
    "lang": ["en", "de", "fr"],
    "year": [1999, 2020, 2020.5, 2024],
    "draft": [True, False],
}


class QuickEmbeddings(Embeddings):
    """The packaged encoder; a query that was asked before is not encoded again."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return as_embeddings().embed_documents(texts)

    @staticmethod
    @cache
    def embed_query(text: str) -> list[float]:  # type: ignore[override]
        return as_embeddings().embed_query(text)


class Unfiltered(VectorStore):
    """A store of which nothing is known: it answers by distance and takes no filter."""

    def __init__(self, inner: InMemoryVectorStore, score: Callable[[float], float]) -> None:
        self.inner, self.score = inner, score
        self.asked: list[int] = []

    def similarity_search_with_score(self, query: str, k: int = 4, **kwargs: Any) -> Any:
        assert not kwargs
        self.asked.append(k)
        found = self.inner.similarity_search_with_score(query, k=k)
        return [(document, self.score(value)) for document, value in found]

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        return [each for each, _ in self.similarity_search_with_score(query, k, **kwargs)]

    @classmethod
    def from_texts(cls, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


class Normed(Unfiltered):
    """One that says how its number becomes a relevance."""

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return lambda distance: 1.0 - distance / 2.0


class Listed(BaseRetriever):
    """A retriever of somebody's own, which knows no filter."""

    found: list[Document]

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return self.found


def distance(similarity: float) -> float:
    return 1.0 - similarity


@cache
def sorted_out() -> tuple[Document, ...]:
    """The documents with metadata to filter by; any field may be missing."""
    draw = random.Random(7)
    made = []
    for document in documents():
        metadata = {key: draw.choice(pool) for key, pool in FIELDS.items() if draw.random() < 0.8}
        made.append(Document(id=document.id, page_content=document.page_content, metadata=metadata))
    return tuple(made)


@cache
def stores() -> dict[str, VectorStore]:
    memory = InMemoryVectorStore.from_documents(list(sorted_out()), QuickEmbeddings())
    chroma = Chroma("conformance", QuickEmbeddings(), client=chromadb.EphemeralClient())
    chroma.add_documents(list(sorted_out()))
    return {"memory": memory, "chroma": chroma, "unknown": Normed(memory, distance)}


def _values() -> st.SearchStrategy[Any]:
    return st.sampled_from([*chain.from_iterable(FIELDS.values()), 1, 0, "2020", None, "zz"])


def _conditions() -> st.SearchStrategy[Any]:
    numbers = st.sampled_from([0, 1, 2000, 2020, 2020.5, 1e300])
    return st.one_of(
        _values(),
        st.builds(lambda value: {"$eq": value}, _values()),
        st.builds(lambda value: {"$ne": value}, _values()),
        st.builds(lambda value: {"$in": value}, st.lists(_values(), max_size=3)),
        st.builds(lambda value: {"$nin": value}, st.lists(_values(), max_size=3)),
        st.builds(lambda op, n: {op: n}, st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), numbers),
        st.builds(lambda text: {"$gt": text}, st.sampled_from(["d", "en"])),
        st.builds(lambda flag: {"$exists": flag}, st.booleans()),
    )


def filters() -> st.SearchStrategy[dict[str, Any]]:
    one = st.builds(
        lambda key, value: {key: value}, st.sampled_from([*FIELDS, "none"]), _conditions()
    )
    return st.recursive(
        one,
        lambda inner: st.one_of(
            st.builds(lambda parts: {"$and": parts}, st.lists(inner, max_size=3)),
            st.builds(lambda parts: {"$or": parts}, st.lists(inner, max_size=3)),
            st.builds(lambda part: {"$not": part}, inner),
        ),
        max_leaves=4,
    )


def allowed(filter: dict[str, Any]) -> set[str | None]:
    parsed = sw.Filter.parse(filter)
    return {each.id for each in sorted_out() if parsed is None or parsed.matches(each.metadata)}
