"""Awaited calls leave the event loop free, and can be given up: point 30."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest
from blockbuster import blockbuster_ctx
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore

from stepwell import Cascade, CrossEncoder
from stepwell.llama_index import CascadePostprocessor, CascadeRetriever, as_stage
from tests.conformance.llama_index_parts import (
    QUESTION,
    Door,
    PackagedEmbedding,
    chroma_index,
    nodes,
    scored,
    vector_index,
)


class SlowQueries(PackagedEmbedding):
    """An embedding whose query side waits, in both its methods, until the door is open."""

    door: Any

    def _get_query_embedding(self, query: str) -> list[float]:
        self.door(query, [])
        return super()._get_query_embedding(query)


async def opened_by_the_loop(waiting: Any, door: Door) -> list[NodeWithScore]:
    """The answer of a call that ends only when the event loop, free meanwhile, opens the door."""
    task = asyncio.ensure_future(waiting)
    while not door.entered.is_set():
        await asyncio.sleep(0.005)
    door.open.set()
    return await task


async def test_30_a_slow_model_leaves_the_loop_free() -> None:
    """Both `apostprocess_nodes` and `aretrieve` wait for the model off the loop."""
    door = Door()
    made = CascadePostprocessor(3, Cascade([CrossEncoder(door)]))
    kept = await opened_by_the_loop(made.apostprocess_nodes(scored(nodes()), query_str="q"), door)
    assert len(kept) == 3
    assert door.was_opened
    door = Door()
    retriever = CascadeRetriever(Cascade([as_stage(vector_index()), CrossEncoder(door)]), k=3)
    assert len(await opened_by_the_loop(retriever.aretrieve(QUESTION), door)) == 3
    assert door.was_opened


async def test_30_a_store_that_blocks_leaves_the_loop_free() -> None:
    """Chroma's asynchronous query is a blocking one; as a stage it runs in a thread."""
    door = Door()
    index = chroma_index("llama-index-async", nodes(("str",)), SlowQueries(door=door))
    retriever = CascadeRetriever(Cascade([as_stage(index)]), k=3)
    assert len(await opened_by_the_loop(retriever.aretrieve(QUESTION), door)) == 3
    assert door.was_opened


async def test_30_many_at_once_agree_with_one_at_a_time() -> None:
    """Eight concurrent calls of one instance answer as eight calls in a row."""
    retriever = CascadeRetriever(Cascade([as_stage(vector_index(), k=9), CrossEncoder()]), k=4)
    made, few = CascadePostprocessor(4, Cascade([CrossEncoder()])), scored(nodes(("json",)))
    questions = [QUESTION, "remove an item", "write to a file", "sort"] * 2
    together = await asyncio.gather(*(retriever.aretrieve(each) for each in questions))
    assert together == [retriever.retrieve(each) for each in questions]
    ranked = await asyncio.gather(
        *(made.apostprocess_nodes(few, query_str=each) for each in questions)
    )
    assert ranked == [made.postprocess_nodes(few, query_str=each) for each in questions]


async def test_30_a_cancelled_call_leaves_the_instance_usable() -> None:
    """After a time-out the same instance answers the next call in full."""
    door = Door()
    made = CascadePostprocessor(3, Cascade([CrossEncoder(door)]))
    task = asyncio.ensure_future(made.apostprocess_nodes(scored(nodes()), query_str="q"))
    while not door.entered.is_set():
        await asyncio.sleep(0.005)
    task.cancel()
    results = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    door.open.set()
    assert len(await made.apostprocess_nodes(scored(nodes()), query_str="q")) == 3


async def test_30_a_retriever_that_timed_out_is_usable() -> None:
    """After `wait_for` gave up, and after a cancellation, the same retriever answers in full."""
    door = Door()
    retriever = CascadeRetriever(Cascade([as_stage(vector_index()), CrossEncoder(door)]), k=3)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(retriever.aretrieve(QUESTION), timeout=0.05)
    task = asyncio.ensure_future(retriever.aretrieve(QUESTION))
    while not door.entered.is_set():
        await asyncio.sleep(0.005)
    task.cancel()
    results = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    door.open.set()
    found = await retriever.aretrieve(QUESTION)
    assert len(found) == 3
    assert not found[0].node.metadata["stepwell"]["degraded"]
    assert found == retriever.retrieve(QUESTION)


@pytest.mark.parametrize("kind", ["index", "chroma", "corpus", "postprocessor"])
async def test_30_nothing_blocks(kind: str) -> None:
    """Eight concurrent calls make no blocking call on the event loop, whatever is asked."""
    made: Any = CascadePostprocessor(3)
    given = scored(nodes(("json",)))
    if kind == "corpus":
        made = CascadeRetriever.from_documents(nodes(("json",)), k=3)
    elif kind != "postprocessor":
        index = vector_index()
        if kind == "chroma":
            index = chroma_index("llama-index-blocks", nodes(("json",)), PackagedEmbedding())
        made = CascadeRetriever.from_retriever(index, k=3)

    def ask(query: str) -> Any:
        if kind == "postprocessor":
            return made.apostprocess_nodes(given, query_str=query)
        return made.aretrieve(query)

    questions = [QUESTION, "remove an item", "write to a file", "sort"] * 2
    first = [await ask(each) for each in questions]
    with blockbuster_ctx():
        assert await asyncio.gather(*(ask(each) for each in questions)) == first
    assert [len(each) for each in first] == [3] * 8


async def test_30_the_postprocessor_awaits_without_llama_indexs_default() -> None:
    """Its asynchronous hook is its own: a stage with `arun` is awaited on the loop."""

    class Awaited:
        name = "awaited"
        loops: list[Any] = []

        def run(self, candidates: Any, /) -> Any:
            raise AssertionError

        async def arun(self, candidates: Any, /) -> Any:
            self.loops.append(asyncio.get_running_loop())
            return candidates

    stage = Awaited()
    made = CascadePostprocessor(3, Cascade([stage]))
    assert type(made)._apostprocess_nodes is not BaseNodePostprocessor._apostprocess_nodes
    await copy.deepcopy(made).apostprocess_nodes(scored(nodes()), query_str="q")
    assert stage.loops == [asyncio.get_running_loop()]
