"""Points 8 and 35: what each stage made of a document, and of the query, through every door."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import stepwell as sw
import stepwell.langchain as lc
import stepwell.llama_index as li
from tests.conformance.langchain_parts import QUERY, documents, memory_store
from tests.conformance.llama_index_parts import nodes, scored, vector_index

Told = list[dict[str, Any]]
Door = Callable[..., Awaitable[Told]]
KEY = "how"


def of_documents(found: Any) -> Told:
    return [each.metadata.get(KEY) for each in found]


def of_nodes(found: Any) -> Told:
    return [each.node.metadata.get(KEY) for each in found]


async def lc_retriever(way: str, stages: list[Any], policy: Any = None, **options: Any) -> Told:
    cascade = sw.Cascade(
        [lc.as_stage(memory_store(), name="recall", k=30), *stages], on_failure=policy
    )
    made = lc.CascadeRetriever(cascade=cascade, k=3, **options)
    match way:
        case "called":
            return of_documents(made.invoke(QUERY))
        case "awaited":
            return of_documents(await made.ainvoke(QUERY))
        case "batch":
            return of_documents(made.batch([QUERY, "heap"])[0])
    return of_documents((await made.abatch(["heap", QUERY]))[1])


async def lc_compressor(way: str, stages: list[Any], policy: Any = None, **options: Any) -> Told:
    made = lc.CascadeCompressor(cascade=sw.Cascade(stages, on_failure=policy), top_n=3, **options)
    given = list(documents()[:30])
    if way == "called":
        return of_documents(made.compress_documents(given, QUERY))
    return of_documents(await made.acompress_documents(given, QUERY))


async def li_retriever(way: str, stages: list[Any], policy: Any = None, **options: Any) -> Told:
    cascade = sw.Cascade(
        [li.as_stage(vector_index(), name="recall", k=30), *stages], on_failure=policy
    )
    made = li.CascadeRetriever(cascade, k=3, **options)
    return of_nodes(made.retrieve(QUERY) if way == "called" else await made.aretrieve(QUERY))


async def li_postprocessor(way: str, stages: list[Any], policy: Any = None, **options: Any) -> Told:
    made = li.CascadePostprocessor(3, sw.Cascade(stages, on_failure=policy), **options)
    given = scored(nodes()[:30], score=0.5)
    if way == "called":
        return of_nodes(made.postprocess_nodes(given, query_str=QUERY))
    return of_nodes(await made.apostprocess_nodes(given, query_str=QUERY))


RETRIEVING = [lc_retriever, li_retriever]
DOORS = [
    *[(lc_retriever, way) for way in ("called", "awaited", "batch", "abatch")],
    *[
        (door, way)
        for door in (lc_compressor, li_retriever, li_postprocessor)
        for way in ("called", "awaited")
    ],
]
every_door = pytest.mark.parametrize(("door", "way"), DOORS)


def narrowing() -> list[Any]:
    return [sw.BiEncoder(k=20), sw.CrossEncoder(k=5, blend=1.0)]


@every_door
async def test_08_each_document_says_its_scores_and_ranks(door: Door, way: str) -> None:
    """Under the detail key is every stage's score, a float, and rank; the last ranks the answer."""
    told = await door(way, narrowing(), detail_key=KEY)
    recall = {"recall"} if door in RETRIEVING else set()
    given = {"given"} if door is li_postprocessor else set()
    assert len(told) == 3
    for place, detail in enumerate(told, 1):
        assert set(detail) == {"scores", "kinds", "ranks", "degraded"}
        assert detail["kinds"]["bi-encoder"] == "similarity"
        assert detail["kinds"]["cross-encoder"] in ("logit", "similarity")
        assert set(detail["scores"]) == {"bi-encoder", "cross-encoder"} | recall | given
        assert set(detail["ranks"]) == {"bi-encoder", "cross-encoder"} | recall
        assert {type(score) for score in detail["scores"].values()} == {float}
        assert {type(rank) for rank in detail["ranks"].values()} == {int}
        assert 1 <= detail["ranks"]["bi-encoder"] <= 20
        assert detail["ranks"]["cross-encoder"] == place
        assert detail["degraded"] is False
    last = [detail["scores"]["cross-encoder"] for detail in told]
    assert last == sorted(last, reverse=True)
    assert len(set(last)) == 3


@every_door
async def test_08_the_trace_says_what_each_stage_did(door: Door, way: str) -> None:
    """With trace=True each stage's state, counts and milliseconds come along, as plain JSON."""
    told = await door(way, narrowing(), detail_key=KEY, trace=True)
    assert json.loads(json.dumps(told)) == told
    steps = {"recall": ("ok", 0, 30)} if door in RETRIEVING else {}
    steps |= {"bi-encoder": ("ok", 30, 20), "cross-encoder": ("ok", 20, 5)}
    for detail in told:
        trace = detail["trace"]
        assert {
            stage["name"]: (stage["status"], stage["n_in"], stage["n_out"])
            for stage in trace["stages"]
        } == steps
        assert all(type(stage["ms"]) is float and stage["ms"] >= 0 for stage in trace["stages"])
        assert trace["ms"] > 0
        assert trace["k"] == 3


@every_door
async def test_08_both_can_be_left_out(door: Door, way: str) -> None:
    """Without trace=True there is no trace, and with detail_key=None no detail at all."""
    assert all("trace" not in detail for detail in await door(way, narrowing(), detail_key=KEY))
    assert await door(way, narrowing(), detail_key=None, trace=True) == [None] * 3


def broken(query: str, passages: list[str]) -> Any:
    raise RuntimeError("the model is gone")


@every_door
async def test_35_a_failure_is_flagged_in_the_trace(door: Door, way: str) -> None:
    """A failed stage leaves the order of the one before, and each document says so."""
    before = await door(way, [sw.BiEncoder(k=20)], detail_key=KEY)
    told = await door(
        way, [sw.BiEncoder(k=20), sw.CrossEncoder(broken)], detail_key=KEY, trace=True
    )
    assert [detail["degraded"] for detail in told] == [True] * 3
    assert [detail["scores"] for detail in told] == [detail["scores"] for detail in before]
    stage = told[0]["trace"]["stages"][-1]
    assert (stage["status"], stage["reason"]) == ("failed", "RuntimeError")
    assert (stage["n_in"], stage["n_out"]) == (20, 10)
    assert told[0]["trace"]["degraded"] is True


@every_door
async def test_35_a_deadline_is_flagged_in_the_trace(door: Door, way: str) -> None:
    """What begins after the deadline is skipped, said on each document and in the trace."""
    told = await door(way, narrowing(), detail_key=KEY, trace=True, deadline=1e-9)
    assert [detail["degraded"] for detail in told] == [True] * 3
    assert [stage["status"] for stage in told[0]["trace"]["stages"][-2:]] == ["skipped"] * 2
    assert "cross-encoder" not in told[0]["scores"]


@every_door
async def test_35_raise_is_a_policy_too(door: Door, way: str) -> None:
    """With on_failure "raise" there is no answer but an error that names the stage."""
    with pytest.raises(sw.StageError, match="cross-encoder") as caught:
        await door(way, [sw.CrossEncoder(broken)], policy={"cross-encoder": "raise"})
    assert isinstance(caught.value.__cause__, RuntimeError)
