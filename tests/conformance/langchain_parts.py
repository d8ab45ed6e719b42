"""Real parts that the LangChain tests share: documents, models, stores, a recorder of runs."""

from __future__ import annotations

import heapq
import inspect
import json
import shutil
import textwrap
from functools import cache
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore

import stepwell as sw
from stepwell.langchain import CascadeRetriever, as_embeddings, as_stage
from stepwell.models import PairScores, load_scorer

MODULES = (heapq, json, shutil, textwrap)
QUERY = "copy a whole directory tree to another place"
QUESTIONS = [QUERY, "pretty print a JSON file", "wrap a paragraph", "the smallest items of a heap"]


@cache
def documents() -> tuple[Document, ...]:
    """What these modules of the standard library say of themselves."""
    found = []
    for module in MODULES:
        for name in sorted(vars(module)):
            text = inspect.getdoc(getattr(module, name)) or ""
            if not name.startswith("_") and inspect.isroutine(getattr(module, name)) and text:
                metadata = {"module": module.__name__, "size": len(text), "tags": ["std"]}
                id = f"{module.__name__}.{name}"
                found.append(Document(id=id, page_content=text[:200], metadata=metadata))
    return tuple(found)


@cache
def memory_store() -> InMemoryVectorStore:
    return InMemoryVectorStore.from_documents(list(documents()), as_embeddings())


@cache
def over_corpus() -> CascadeRetriever:
    """The recommended cascade over a corpus."""
    return CascadeRetriever.from_documents(documents(), k=5)


@cache
def over_store() -> CascadeRetriever:
    """The recommended re-scoring over a vector store of LangChain."""
    return CascadeRetriever.from_retriever(memory_store(), k=5)


def cascade_of(*stages: Any) -> sw.Cascade:
    """A cascade that recalls from the vector store, then runs these."""
    return sw.Cascade([as_stage(memory_store()), *stages])


class Spy:
    """The packaged scorer, its calls counted, with something to do before each."""

    name = "spy"
    kind = "logit"

    def __init__(self, before: Any = None) -> None:
        self.calls = 0
        self.before = before

    def score(self, query: str, passages: Any, /, *, stop: Any = None) -> PairScores:
        self.calls += 1
        if self.before is not None:
            self.before()
        return load_scorer().score(query, passages, stop=stop)


class Recorder(BaseCallbackHandler):
    """Every event of retrievers, chains and stages, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def of(self, event: str) -> list[dict[str, Any]]:
        return [about for kind, about in self.events if kind == event]

    def on_retriever_start(self, serialized: Any, query: str, **about: Any) -> None:
        self.events.append(("start", {**about, "query": query}))

    def on_retriever_end(self, documents: Any, **about: Any) -> None:
        self.events.append(("end", {**about, "documents": documents}))

    def on_retriever_error(self, error: BaseException, **about: Any) -> None:
        self.events.append(("error", {**about, "error": error}))

    def on_chain_start(self, serialized: Any, inputs: Any, **about: Any) -> None:
        self.events.append(("chain start", about))

    def on_chain_end(self, outputs: Any, **about: Any) -> None:
        self.events.append(("chain end", about))

    def on_chain_error(self, error: BaseException, **about: Any) -> None:
        self.events.append(("chain error", about))

    def on_custom_event(self, name: str, data: Any, **about: Any) -> None:
        self.events.append(("custom", {**about, "name": name, "data": data}))


def shape(found: list[Document]) -> list[tuple[str | None, float]]:
    """What must be equal between two ways to ask: ids and scores."""
    return [(document.id, round(document.metadata["relevance_score"], 6)) for document in found]
