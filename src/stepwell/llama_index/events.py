"""What LlamaIndex's handlers are told: rerank events for each stage, and the trace at the end."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.event_handlers import NullEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.schema import NodeWithScore, QueryBundle

from stepwell.candidates import Candidates
from stepwell.cascade import Cascade
from stepwell.llama_index.nodes import node_of
from stepwell.result import Result
from stepwell.stage import AsyncStage

dispatcher = get_dispatcher(__name__)


class CascadeEvent(BaseEvent):
    """What each stage did with one query: counts, times and states; no text, no ids.

    Attributes:
        trace: `Trace.to_dict()`.
        degraded: Whether a stage failed, was skipped or ran out of time.
    """

    trace: dict[str, Any]
    degraded: bool

    @classmethod
    def class_name(cls) -> str:
        """The name under which the event is serialised."""
        return "CascadeEvent"


def report(result: Result) -> None:
    """Tell the event handlers what the stages did."""
    if _is_heard():
        dispatcher.event(CascadeEvent(trace=result.trace.to_dict(), degraded=result.degraded))


def watched(cascade: Cascade, bundle: QueryBundle, manager: CallbackManager) -> Cascade:
    """The cascade, telling handlers of each re-scoring; itself when there are no handlers."""
    if not manager.handlers and not _is_heard():
        return cascade
    one = copy.copy(cascade)
    one.stages = tuple(
        (_WatchedAsync if isinstance(stage, AsyncStage) else _Watched)(stage, bundle, manager)
        for stage in cascade.stages
    )
    return one


class _Watched:
    """A stage that says when it begins and ends to re-score; in all else the stage itself."""

    def __init__(self, stage: Any, bundle: QueryBundle, manager: CallbackManager) -> None:
        self._stage = stage
        self._bundle = bundle
        self._manager = manager

    @property
    def name(self) -> str:
        return str(self._stage.name)

    def __getattr__(self, name: str) -> Any:
        # What the stage declares of itself counts; ways to run it would pass by the telling.
        if name in ("_stage", "arun", "run_many"):
            raise AttributeError(name)
        return getattr(self._stage, name)

    def run(self, candidates: Candidates, /) -> Candidates:
        with self._told(candidates) as end:
            return end(self._stage.run(candidates))

    @contextmanager
    def _told(self, candidates: Candidates) -> Iterator[Callable[[Candidates], Candidates]]:
        last = candidates

        def end(after: Candidates) -> Candidates:
            nonlocal last
            last = after
            return after

        if candidates.fresh or getattr(self._stage, "decides", False):
            yield end
            return
        nodes, model = _nodes(candidates), _model(self._stage)
        top_n = getattr(self._stage, "k", None) or len(candidates)
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: model,
            EventPayload.QUERY_STR: self._bundle.query_str,
            EventPayload.TOP_K: top_n,
        }
        dispatcher.event(
            ReRankStartEvent(query=self._bundle, nodes=nodes, top_n=top_n, model_name=model)
        )
        try:
            with self._manager.event(CBEventType.RERANKING, payload=payload) as event:
                yield end
                nodes = _nodes(last)
                event.on_end(payload={EventPayload.NODES: nodes})
        finally:
            dispatcher.event(ReRankEndEvent(nodes=nodes))


class _WatchedAsync(_Watched):
    async def arun(self, candidates: Candidates, /) -> Candidates:
        with self._told(candidates) as end:
            return end(await self._stage.arun(candidates))


def _nodes(candidates: Candidates) -> list[NodeWithScore]:
    scores = candidates.score.tolist()
    return [
        NodeWithScore(node=node_of(document), score=score)
        for document, score in zip(candidates.documents(), scores)
        if document is not None
    ]


def _model(stage: Any) -> str:
    # Not by truth: a scorer that keeps pairs is false while it keeps none.
    for model in (getattr(stage, "scorer", None), getattr(stage, "encoder", None)):
        if model is not None:
            return str(model.name)
    return str(stage.name)


def _is_heard() -> bool:
    at = dispatcher
    while True:
        if any(not isinstance(handler, NullEventHandler) for handler in at.event_handlers):
            return True
        if not at.propagate:
            return False
        at = at.parent
