"""Nodes as documents, documents as nodes, and answers as scored nodes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore

from stepwell.ask import several
from stepwell.documents import Document
from stepwell.errors import InputError
from stepwell.llama_index.keeping import unpacked, visible
from stepwell.result import Hit, Result


@dataclass(frozen=True, slots=True, eq=False)
class NodeDocument(Document):
    """A document that knows the node it was read from.

    Attributes:
        node: The caller's own object, never written to.
    """

    node: BaseNode | None = field(default=None, repr=False)

    def __reduce__(self) -> tuple[object, ...]:
        return NodeDocument, (self.id, self.text, dict(self.metadata), self.node)


def document_of(node: BaseNode, mode: MetadataMode = MetadataMode.EMBED) -> NodeDocument:
    """The node as a document: its id, its text in this mode, its metadata to filter by.

    The id of its source document can be filtered by too, under the names that vector stores give
    it (`ref_doc_id`, `doc_id`, `document_id`), unless the node's metadata uses them.

    Raises:
        InputError: The node has no id, or its metadata cannot be filtered by.
    """
    return NodeDocument(node.node_id, node.get_content(metadata_mode=mode), visible(node), node)


def node_of(document: Document) -> BaseNode:
    """The node that a document was read from, or the one that a corpus keeps in it."""
    if isinstance(document, NodeDocument) and document.node is not None:
        return document.node
    return unpacked(document)


def unique(nodes: Iterable[NodeWithScore]) -> list[NodeWithScore]:
    """The nodes without repeated ids; the first of each is kept.

    Raises:
        InputError: Something in the list is no `NodeWithScore`.
    """
    several(nodes, "nodes")
    first: dict[str, NodeWithScore] = {}
    for node in nodes:
        if not isinstance(node, NodeWithScore):
            raise InputError(f"expected a list of NodeWithScore, not of {type(node).__name__}")
        first.setdefault(node.node.node_id, node)
    return list(first.values())


def as_they_were(nodes: Iterable[NodeWithScore]) -> list[NodeWithScore]:
    """New `NodeWithScore` objects with the same nodes and scores; a missing score stays missing."""
    return [NodeWithScore(node=each.node, score=each.score) for each in nodes]


def scored_nodes(result: Result, *, detail_key: str | None, trace: bool) -> list[NodeWithScore]:
    """The answer as new `NodeWithScore` objects, best first.

    Args:
        result: The cascade's answer.
        detail_key: The metadata key under which a copy of each node says what each stage made of
            it, hidden from embedding and from the language model. None answers the nodes
            themselves.
        trace: Whether that includes the trace of the whole query.
    """
    return [
        NodeWithScore(
            node=_told(node_of(hit.document), detail_key, _detail(hit, result, trace)),
            score=float(hit.score),
        )
        for hit in result.hits
    ]


def _detail(hit: Hit, result: Result, trace: bool) -> dict[str, Any]:
    whole = {"trace": result.trace.to_dict()} if trace else {}
    return {
        "scores": dict(hit.scores),
        "kinds": result.kinds,
        "ranks": dict(hit.ranks),
        "degraded": result.degraded,
        **whole,
    }


def _told(node: BaseNode, key: str | None, detail: dict[str, Any]) -> BaseNode:
    if key is None:
        return node
    embed, llm = node.excluded_embed_metadata_keys, node.excluded_llm_metadata_keys
    return node.model_copy(
        update={
            "metadata": {**node.metadata, key: detail},
            "excluded_embed_metadata_keys": [*embed, key],
            "excluded_llm_metadata_keys": [*llm, key],
        }
    )
