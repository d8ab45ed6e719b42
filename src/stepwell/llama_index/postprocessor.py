"""`CascadePostprocessor`: the cascade over the nodes that a query engine retrieved."""

from __future__ import annotations

import math
from typing import Any

from llama_index.core.bridge.pydantic import BaseModel, Field, PrivateAttr, field_serializer
from llama_index.core.callbacks import CallbackManager
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

from stepwell.ask import Ask
from stepwell.candidates import check_k
from stepwell.cascade import Cascade
from stepwell.errors import ConfigurationError
from stepwell.llama_index.events import report, watched
from stepwell.llama_index.nodes import as_they_were, document_of, scored_nodes, unique
from stepwell.llama_index.query import read_query
from stepwell.result import Result


class CascadePostprocessor(BaseNodePostprocessor):
    """Ranks the nodes that a query engine, a chat engine or a tool retrieved.

    The nodes themselves are never changed; the answer is new `NodeWithScore` objects, whose scores
    are floats and never increase along the list. Repeated ids are answered once.

    Without a query there is nothing to rank by: the first `top_n` come back as they were. The same
    goes for a blank one.

    Args:
        top_n: How many nodes to answer.
        cascade: Its stages; those that only recall are left out. None means the recommended one.
        metadata_mode: Which text of a node the stages read.
        deadline: Seconds for the whole; later stages are skipped when they are over.
        detail_key: The metadata key under which an answered node, a copy then, says what each stage
            made of it: `{"scores", "ranks", "degraded"}`. It is hidden from embedding and from the
            language model. None answers the very nodes that came in.
        trace: Also put the query's whole trace there.
        callback_manager: LlamaIndex assigns its own when an engine is made.

    Raises:
        ConfigurationError: top_n is below 1, or the cascade is none.

    Example:
        >>> from llama_index.core.schema import NodeWithScore, TextNode
        >>> nodes = [NodeWithScore(node=TextNode(id_="a", text="x")) for _ in range(3)]
        >>> [each.node_id for each in CascadePostprocessor(top_n=2).postprocess_nodes(nodes)]
        ['a']
    """

    top_n: int = 5
    cascade: Any = Field(default=None, repr=False)
    metadata_mode: MetadataMode = MetadataMode.EMBED
    deadline: float | None = None
    detail_key: str | None = "stepwell"
    trace: bool = False
    _default: Cascade | None = PrivateAttr(default=None)

    def __init__(
        self,
        top_n: int = 5,
        cascade: Cascade | None = None,
        *,
        metadata_mode: MetadataMode = MetadataMode.EMBED,
        deadline: float | None = None,
        detail_key: str | None = "stepwell",
        trace: bool = False,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        check_k(top_n, what="top_n")
        if cascade is not None and not isinstance(cascade, Cascade):
            raise ConfigurationError(
                f"cascade must be a Cascade, not {cascade!r}; a cascade is not kept in JSON, so "
                "hand it over again: from_dict(data, cascade=...)"
            )
        fields: dict[str, Any] = {
            "top_n": top_n,
            "cascade": cascade,
            "metadata_mode": metadata_mode,
            "deadline": deadline,
            "detail_key": detail_key,
            "trace": trace,
            "callback_manager": callback_manager or CallbackManager(),
        }
        super().__init__(**fields)

    @classmethod
    def class_name(cls) -> str:
        """The name under which it is serialised."""
        return "StepwellCascadePostprocessor"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CascadePostprocessor):
            return NotImplemented
        # The callback manager is the engine's, and two of them never compare equal.
        return self._settings() == other._settings()

    def __getstate__(self) -> dict[str, Any]:
        # LlamaIndex's own way pickles every attribute to try it, and makes everything anew after.
        state = BaseModel.__getstate__(self)
        return {**state, "__dict__": self._settings(), "__pydantic_private__": {"_default": None}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        fields = {**state["__dict__"], "callback_manager": CallbackManager()}
        BaseModel.__setstate__(self, {**state, "__dict__": fields})

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> CascadePostprocessor:
        """A copy that shares the cascade, its corpus and its models."""
        return self.model_copy()

    @field_serializer("cascade")
    def _described(self, cascade: Cascade | None) -> str | None:
        return None if cascade is None else repr(cascade)

    def _settings(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "callback_manager"}

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        plan = self._plan(nodes, query_bundle)
        if isinstance(plan, list):
            return plan
        cascade, ask = plan
        return self._answer(cascade.rank(**ask))

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        plan = self._plan(nodes, query_bundle)
        if isinstance(plan, list):
            return plan
        cascade, ask = plan
        return self._answer(await cascade.arank(**ask))

    def _plan(
        self, nodes: list[NodeWithScore], bundle: QueryBundle | None
    ) -> list[NodeWithScore] | tuple[Cascade, dict[str, Any]]:
        """The answer where there is nothing to rank by; else a cascade and what to ask it."""
        nodes = unique(nodes)
        if bundle is None:
            return as_they_were(nodes[: self.top_n])
        query, limits = read_query(bundle, k=self.top_n, deadline=self.deadline)
        documents = [document_of(each.node, self.metadata_mode) for each in nodes]
        if query.is_blank:
            asked = Ask.of(query, filter=None, **limits)
            wanted = asked.query.filter
            allowed = [
                each
                for each, document in zip(nodes, documents)
                if wanted is None or wanted.matches(document.metadata)
            ]
            return as_they_were(allowed[: asked.k])
        scores = [math.nan if each.score is None else each.score for each in nodes]
        cascade = watched(self._stages(), bundle, self.callback_manager)
        return cascade, {"query": query, "documents": documents, "scores": scores, **limits}

    def _stages(self) -> Cascade:
        if self.cascade is not None:
            return self.cascade  # type: ignore[no-any-return]
        if self._default is None:
            self._default = Cascade.default(k=self.top_n)
        return self._default

    def _answer(self, result: Result) -> list[NodeWithScore]:
        report(result)
        return scored_nodes(result, detail_key=self.detail_key, trace=self.trace)
