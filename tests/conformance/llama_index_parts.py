"""What the LlamaIndex tests share: real nodes, a real index, ears, and a door to hold open."""

from __future__ import annotations

import inspect
import json
import math
import statistics
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.schema import (
    NodeRelationship,
    NodeWithScore,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

from stepwell.models import load_encoder

QUESTION = "split a string into a list of words"
QUESTIONS = (
    QUESTION,
    "join two lists",
    "write an object as text to a file",
    "the place of a value in a list",
    "does a string begin with another one",
)


@cache
def _docstrings() -> tuple[tuple[str, str, str], ...]:
    found = []
    for owner in (str, list, dict, set, json, math, statistics):
        for name, value in sorted(vars(owner).items()):
            text = inspect.getdoc(value) if callable(value) and name[0] != "_" else None
            if text:
                found.append((owner.__name__, f"{owner.__name__}.{name}", f"{name}: {text}"[:160]))
    return tuple(found)


def nodes(owners: Sequence[str] = ("str", "list", "json")) -> list[TextNode]:
    """The docstrings of some types and modules of the standard library, one a node."""
    return [
        TextNode(
            id_=name,
            text=text,
            metadata={"owner": owner, "length": len(text)},
            excluded_embed_metadata_keys=["length"],
            excluded_llm_metadata_keys=["length"],
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"doc-{owner}")},
        )
        for owner, name, text in _docstrings()
        if owner in owners
    ]


def scored(given: Sequence[TextNode], score: float | None = None) -> list[NodeWithScore]:
    return [NodeWithScore(node=node, score=score) for node in given]


@cache
def _query_vector(query: str) -> tuple[float, ...]:
    return tuple(load_encoder().encode([query], kind="query")[0].tolist())


class PackagedEmbedding(BaseEmbedding):
    """Stepwell's packaged encoder as a LlamaIndex embedding; it embeds a query once."""

    def _get_query_embedding(self, query: str) -> list[float]:
        return list(_query_vector(query))

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return load_encoder().encode(texts, kind="passage").tolist()


@cache
def vector_index() -> VectorStoreIndex:
    """LlamaIndex's own index over the nodes; nobody changes it."""
    return VectorStoreIndex(nodes(), embed_model=PackagedEmbedding())


def chroma_index(name: str, given: Sequence[TextNode], embedding: BaseEmbedding) -> Any:
    """The nodes in LlamaIndex's Chroma store; the test is skipped where that is not installed."""
    reason = "needs chromadb and llama-index-vector-stores-chroma"
    chromadb = pytest.importorskip("chromadb", reason=reason)
    chroma = pytest.importorskip("llama_index.vector_stores.chroma", reason=reason)
    collection = chromadb.EphemeralClient().get_or_create_collection(name)
    store = StorageContext.from_defaults(vector_store=chroma.ChromaVectorStore(collection))
    return VectorStoreIndex(list(given), storage_context=store, embed_model=embedding)


def where(key: str, operator: FilterOperator, value: Any) -> MetadataFilter:
    return MetadataFilter(key=key, operator=operator, value=value)


def both(*filters: Any, condition: FilterCondition = FilterCondition.AND) -> MetadataFilters:
    return MetadataFilters(filters=list(filters), condition=condition)


class Ears(BaseEventHandler):
    """Keeps every event."""

    events: list[Any] = []

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        self.events.append(event)

    def named(self, name: str) -> list[Any]:
        return [event for event in self.events if event.class_name() == name]


@contextmanager
def listening() -> Iterator[Ears]:
    """All events of LlamaIndex's instrumentation while inside."""
    root, ears = get_dispatcher(), Ears(events=[])
    before = list(root.event_handlers)
    root.add_event_handler(ears)
    try:
        yield ears
    finally:
        root.event_handlers = before


class Callbacks(BaseCallbackHandler):
    """Keeps the starts and ends of LlamaIndex's older callback events."""

    def __init__(self) -> None:
        super().__init__([], [])
        self.started: list[tuple[Any, Any]] = []
        self.ended: list[tuple[Any, Any]] = []

    def on_event_start(self, event_type: Any, payload: Any = None, **kwargs: Any) -> str:
        self.started.append((event_type, payload))
        return str(kwargs.get("event_id", ""))

    def on_event_end(self, event_type: Any, payload: Any = None, **kwargs: Any) -> None:
        self.ended.append((event_type, payload))

    def start_trace(self, trace_id: str | None = None) -> None: ...

    def end_trace(self, trace_id: str | None = None, trace_map: Any = None) -> None: ...


class Door:
    """A pair scorer that waits inside `score` until somebody opens, as a slow model would."""

    name = "door"
    kind = "logit"

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self.was_opened = False

    def __call__(self, query: str, passages: list[str]) -> list[float]:
        self.entered.set()
        self.was_opened = self.open.wait(timeout=20)
        return [float(len(passage)) for passage in passages]
