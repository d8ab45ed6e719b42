"""LangChain runs: who is running now, nested runs for recall, one event a stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, TypeAlias
from uuid import UUID

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForRetrieverRun,
    CallbackManager,
    CallbackManagerForRetrieverRun,
    adispatch_custom_event,
    dispatch_custom_event,
)
from langchain_core.callbacks.manager import AsyncParentRunManager, ParentRunManager
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config

from stepwell.documents import Query
from stepwell.trace import Trace

STAGE_EVENT = "stepwell.stage"
"""Name of the custom event that each stage of a run gives: the stage's record, without text."""

Run: TypeAlias = CallbackManagerForRetrieverRun | AsyncCallbackManagerForRetrieverRun

# By the identity of the query, since many queries may be answered in step.
_RUNS: ContextVar[Mapping[int, Run]] = ContextVar(
    "stepwell_langchain_runs", default=MappingProxyType({})
)


@contextmanager
def running(runs: Mapping[int, Run]) -> Iterator[None]:
    """Make these the runs whose children the stages start; keys are `id(query)`."""
    token = _RUNS.set({**_RUNS.get(), **runs})
    try:
        yield
    finally:
        _RUNS.reset(token)


def child_config(query: Query, stage: str) -> RunnableConfig:
    """A config that nests what a stage starts under the run of its query, if there is one."""
    run = _RUNS.get().get(id(query))
    if run is None:
        return {}
    sync = run.get_sync() if isinstance(run, AsyncCallbackManagerForRetrieverRun) else run
    return {"callbacks": sync.get_child(f"stage:{stage}")}


def achild_config(query: Query, stage: str) -> RunnableConfig:
    """`child_config` for a stage that is awaited."""
    run = _RUNS.get().get(id(query))
    return {} if run is None else {"callbacks": run.get_child(f"stage:{stage}")}


def begin(
    retriever: BaseRetriever, query: str, config: RunnableConfig | None, **kwargs: Any
) -> CallbackManagerForRetrieverRun:
    """Start a run as `BaseRetriever.invoke` does, for a retriever that is not invoked."""
    config = ensure_config(config)
    manager = CallbackManager.configure(**_managed(retriever, config, kwargs))
    return manager.on_retriever_start(None, query, **_named(retriever, config))


async def abegin(
    retriever: BaseRetriever, query: str, config: RunnableConfig | None, **kwargs: Any
) -> AsyncCallbackManagerForRetrieverRun:
    """`begin`, awaited."""
    config = ensure_config(config)
    manager = AsyncCallbackManager.configure(**_managed(retriever, config, kwargs))
    return await manager.on_retriever_start(None, query, **_named(retriever, config))


def tell(run: ParentRunManager, trace: Trace | None) -> None:
    """Give one event a stage, bound to the run."""
    if trace is None or not run.handlers:
        return
    config: RunnableConfig = {"callbacks": run.get_child()}
    for record in trace.records:
        dispatch_custom_event(STAGE_EVENT, record.to_dict(), config=config)


async def atell(run: AsyncParentRunManager, trace: Trace | None) -> None:
    """`tell`, awaited."""
    if trace is None or not run.handlers:
        return
    config: RunnableConfig = {"callbacks": run.get_child()}
    for record in trace.records:
        await adispatch_custom_event(STAGE_EVENT, record.to_dict(), config=config)


def _managed(
    retriever: BaseRetriever, config: RunnableConfig, kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    about = {**(config.get("metadata") or {}), **retriever._get_ls_params(**kwargs)}
    return {
        "inheritable_callbacks": config.get("callbacks"),
        "inheritable_tags": config.get("tags"),
        "local_tags": retriever.tags,
        "inheritable_metadata": about,
        "local_metadata": retriever.metadata,
    }


def _named(retriever: BaseRetriever, config: RunnableConfig) -> dict[str, Any]:
    run_id: UUID | None = config.get("run_id")
    return {"name": config.get("run_name") or retriever.get_name(), "run_id": run_id}
