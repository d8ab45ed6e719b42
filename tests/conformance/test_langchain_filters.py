"""Point 4: a filter of a call holds in every arm, or the call is an error."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import stepwell as sw
from stepwell.langchain import CascadeRetriever, as_stage
from tests.conformance.langchain_filters import (
    Listed,
    Normed,
    allowed,
    distance,
    filters,
    sorted_out,
    stores,
)
from tests.conformance.langchain_parts import QUERY, memory_store


@pytest.mark.parametrize("kind", ["memory", "chroma", "unknown"])
@settings(max_examples=350, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(filter=filters())
@example(filter={"year": {"$lt": 2020.5}})
@example(filter={"year": {"$gt": 2019.5}})
@example(filter={"year": {"$ne": 2020.5}})
@example(filter={"year": {"$in": []}})
@example(filter={"$not": {"year": {"$gte": 2020}}})
def test_04_all_and_only_what_matches(kind: str, filter: dict[str, Any]) -> None:
    """Through every store a filter gives all documents that match it, and no other."""
    retriever = CascadeRetriever(cascade=sw.Cascade([as_stage(stores()[kind])]), k=None)
    assert {each.id for each in retriever.invoke(QUERY, filter=filter)} == allowed(filter)


@cache
def of_all_arms() -> CascadeRetriever:
    """Keywords and vectors of a corpus, and every store, fused; nothing of the answer is cut."""
    corpus = CascadeRetriever.from_documents(sorted_out()).corpus
    arms = [as_stage(store, name=kind) for kind, store in stores().items()]
    hybrid = sw.Hybrid([sw.BM25(corpus), sw.Dense(corpus), *arms])
    return CascadeRetriever(cascade=sw.Cascade([hybrid]), k=None)


WAYS = {
    "invoke": lambda where: of_all_arms().invoke(QUERY, filter=where),
    "ainvoke": lambda where: asyncio.run(of_all_arms().ainvoke(QUERY, filter=where)),
    "batch": lambda where: of_all_arms().batch([QUERY], search_kwargs={"filter": where})[0],
    "abatch": lambda where: asyncio.run(of_all_arms().abatch([QUERY], filter=where))[0],
}


@settings(max_examples=1000, deadline=None)
@given(filter=filters(), way=st.sampled_from(sorted(WAYS)))
def test_04_a_thousand_filters_in_every_arm(filter: dict[str, Any], way: str) -> None:
    """Whatever the filter and the way to ask, five arms together give what matches and no other."""
    assert {each.id for each in WAYS[way](filter)} == allowed(filter)


@pytest.mark.parametrize("kind", ["memory", "chroma", "unknown"])
async def test_04_filters_add_up(kind: str) -> None:
    """The retriever's filter holds whatever a call, a batch or the store's retriever adds."""
    own: Any = {"memory": lambda each: each.metadata.get("lang") == "en", "chroma": {"lang": "en"}}
    kwargs = {"search_kwargs": {"filter": own[kind]}} if kind in own else {}
    stage = as_stage(stores()[kind].as_retriever(**kwargs))
    retriever = CascadeRetriever(cascade=sw.Cascade([stage]), k=None, filter={"lang": "en"})
    expected = allowed({"lang": "en", "draft": True, "year": {"$gte": 2000}})
    call = {"filter": {"draft": True}, "search_kwargs": {"filter": {"year": {"$gte": 2000}}}}
    assert expected
    for found in (
        retriever.invoke(QUERY, **call),
        await retriever.ainvoke(QUERY, **call),
        retriever.batch([QUERY], **call)[0],
        (await retriever.abatch([QUERY], **call))[0],
    ):
        assert {each.id for each in found} == expected


@pytest.mark.parametrize("kind", ["memory", "chroma", "unknown", "corpus"])
async def test_04_nothing_matches(kind: str) -> None:
    """A filter that nothing matches gives an empty list, in every way to ask."""
    call = {"filter": {"lang": "tlh"}}
    if kind == "corpus":
        retriever = CascadeRetriever.from_documents(sorted_out())
    else:
        retriever = CascadeRetriever.from_retriever(stores()[kind])
    assert retriever.invoke(QUERY, **call) == await retriever.ainvoke(QUERY, **call) == []
    assert retriever.batch([QUERY], **call) == await retriever.abatch([QUERY], **call) == [[]]
    assert len(retriever.invoke(QUERY)) == 5


@pytest.mark.parametrize("wrong", [{"lang": {"$like": "e"}}, "lang", lambda document: True])
def test_04_bad_filter(wrong: Any) -> None:
    """A filter that is none is a typed error, in a call and as a field."""
    retriever = CascadeRetriever.from_retriever(memory_store())
    with pytest.raises(sw.InputError, match="filter"):
        retriever.invoke(QUERY, filter=wrong)
    with pytest.raises(ValueError, match="filter"):
        CascadeRetriever(cascade=retriever.cascade, filter=wrong)


@pytest.mark.parametrize("kind", ["memory", "chroma", "unknown", "listed"])
async def test_04_later_stages_see_only_what_matches(kind: str) -> None:
    """A stage itself gives nothing that the filter excludes, so no later stage reads it."""
    listed = Listed(found=list(sorted_out()))
    stage = as_stage(listed, filter="after") if kind == "listed" else as_stage(stores()[kind])
    start = sw.Candidates.start(sw.Query(QUERY, {"lang": {"$exists": True}, "draft": True}))
    expected = allowed({"lang": {"$exists": True}, "draft": True})
    assert set(stage.run(start).ids) == set((await stage.arun(start)).ids) == expected


def test_04_a_retriever_refuses_a_filter() -> None:
    """A retriever that cannot filter refuses one, unless told how or to check afterwards."""
    listed = Listed(found=list(sorted_out()))
    spec = {"lang": "en"}
    with pytest.raises(sw.InputError, match="Listed cannot filter"):
        CascadeRetriever.from_retriever(listed).invoke(QUERY, filter=spec)
    mmr = Normed(memory_store(), distance).as_retriever(search_type="mmr")
    with pytest.raises(sw.InputError, match="how Normed filters"):
        CascadeRetriever.from_retriever(mmr).invoke(QUERY, filter=spec)
    after = sw.Cascade([as_stage(listed, filter="after")])
    found = CascadeRetriever(cascade=after, k=None).invoke(QUERY, filter=spec)
    assert {each.id for each in found} == allowed(spec)


def test_04_declared_push_down() -> None:
    """A declared function turns the filter into the store's own arguments."""
    seen = []

    def push(filter: sw.Filter) -> dict[str, Any]:
        seen.append(filter)
        return {"filter": lambda document: document.metadata.get("lang") == "en"}

    stage = as_stage(stores()["memory"], filter=push)
    found = CascadeRetriever(cascade=sw.Cascade([stage]), k=None).invoke(
        QUERY, filter={"lang": "en"}
    )
    assert {each.id for each in found} == allowed({"lang": "en"})
    assert seen == [sw.Filter.parse({"lang": "en"})]
    clash = stores()["memory"].as_retriever(search_kwargs={"filter": lambda document: True})
    with pytest.raises(sw.InputError, match="both set 'filter'"):
        sw.Cascade([as_stage(clash, filter=push)]).search(QUERY, filter={"lang": "en"})


def test_04_asks_deeper_for_a_filter() -> None:
    """A store that cannot filter is asked for more until enough match, and only then."""
    store = Normed(stores()["memory"], distance)
    cascade = sw.Cascade([as_stage(store, k=3)])
    assert len(cascade.search(QUERY)) == 3
    assert store.asked == [3]
    assert len(cascade.search(QUERY, filter={"lang": "de"})) == 3
    assert store.asked[1] == 3
    assert store.asked[2] == 12
