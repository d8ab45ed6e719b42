"""Index nodes stand for something else: a node, a retriever, a query engine."""

from __future__ import annotations

from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import IndexNode, NodeWithScore, QueryBundle

from stepwell.llama_index.nodes import unique


class Resolving(BaseRetriever):
    """A retriever that puts their objects in the place of index nodes, one level deep.

    LlamaIndex's own resolution reads a score of 0.0, or none, as 1.0; here it stays what it is.
    """

    def _object_of(self, node: IndexNode) -> Any:
        return node.obj if node.obj is not None else self.object_map.get(node.index_id)

    def _handle_recursive_retrieval(
        self, query_bundle: QueryBundle, nodes: list[NodeWithScore]
    ) -> list[NodeWithScore]:
        found: list[NodeWithScore] = []
        for each in nodes:
            obj = self._object_of(each.node) if isinstance(each.node, IndexNode) else None
            if obj is None:
                found.append(each)
            else:
                score: Any = each.score
                found += self._retrieve_from_object(obj, query_bundle, score)
        return unique(found)

    async def _ahandle_recursive_retrieval(
        self, query_bundle: QueryBundle, nodes: list[NodeWithScore]
    ) -> list[NodeWithScore]:
        found: list[NodeWithScore] = []
        for each in nodes:
            obj = self._object_of(each.node) if isinstance(each.node, IndexNode) else None
            if obj is None:
                found.append(each)
            else:
                score: Any = each.score
                found += await self._aretrieve_from_object(obj, query_bundle, score)
        return unique(found)


class Resolved(Resolving):
    """Another retriever with this resolution.

    Attributes:
        n_found: How many nodes the other one found last, before they were resolved.
    """

    def __init__(self, inner: BaseRetriever) -> None:
        super().__init__(
            callback_manager=getattr(inner, "callback_manager", None),
            object_map=getattr(inner, "object_map", None),
        )
        self.inner = inner
        self.n_found = 0

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        found = self.inner._retrieve(query_bundle)
        self.n_found = len(found)
        return found

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        found = await self.inner._aretrieve(query_bundle)
        self.n_found = len(found)
        return found
