"""What a filter leaves of an index, of Chroma, of a corpus and of all together: point 31."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core import VectorStoreIndex
from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilters

from stepwell import BM25, Cascade, Dense, Hybrid
from stepwell.llama_index import CascadeQuery, CascadeRetriever, as_stage
from stepwell.llama_index.filters import parse_filter
from tests.conformance.llama_index_parts import (
    QUESTION,
    PackagedEmbedding,
    both,
    chroma_index,
    nodes,
    vector_index,
    where,
)

OP = FilterOperator


@pytest.fixture(scope="module")
def index() -> VectorStoreIndex:
    return vector_index()


@pytest.fixture(scope="module")
def chroma() -> VectorStoreIndex:
    return in_chroma()


@cache
def in_chroma() -> VectorStoreIndex:
    return chroma_index("llama-index-filters", nodes(), PackagedEmbedding())


@cache
def over_corpus() -> CascadeRetriever:
    return CascadeRetriever.from_documents(nodes(), k=500)


FILTERS = [
    both(where("owner", OP.EQ, "json")),
    both(where("owner", OP.IN, ["json", "list"])),
    both(where("owner", OP.NE, "str"), where("length", OP.LT, 120)),
    both(
        where("length", OP.GT, 150),
        both(where("owner", OP.EQ, "list"), where("owner", OP.EQ, "str")),
        condition=FilterCondition.OR,
    ),
    both(
        where("length", OP.LT, 80),
        both(
            where("owner", OP.EQ, "list"),
            where("owner", OP.EQ, "json"),
            condition=FilterCondition.OR,
        ),
    ),
    both(where("owner", OP.EQ, "str"), condition=FilterCondition.NOT),
    both(where("ref_doc_id", OP.EQ, "doc-json")),
    both(where("owner", OP.EQ, "nobody")),
    {"owner": {"$ne": "str"}},
    {"$not": {"owner": "list"}},
]


def matching(filters: Any) -> set[str]:
    """The nodes that a filter allows."""
    wanted = parse_filter(filters)
    assert wanted is not None
    return {
        node.node_id
        for node in nodes()
        if wanted.matches({**node.metadata, "ref_doc_id": node.ref_doc_id})
    }


@pytest.mark.parametrize("filters", FILTERS, ids=range(len(FILTERS)))
@pytest.mark.parametrize("store", ["index", "chroma"])
@pytest.mark.parametrize("arms", ["one", "hybrid"])
async def test_31_all_that_match_are_found_and_nothing_else(
    filters: Any, store: str, arms: str, request: pytest.FixtureRequest
) -> None:
    """Asked for as many as there are, every arm returns exactly the nodes that match."""
    source = request.getfixturevalue(store)
    stage: Any = as_stage(source, k=7, name="vectors")
    if arms == "hybrid":
        stage = Hybrid([stage, as_stage(source, k=20, name="again")], k=20)
    retriever = CascadeRetriever(Cascade([stage]), k=500)
    query = CascadeQuery(QUESTION, filters=filters)
    found = {each.node_id for each in retriever.retrieve(query)}
    assert found == {each.node_id for each in await retriever.aretrieve(query)}
    assert found <= matching(filters)
    assert len(found) >= min(len(matching(filters)), 7)


@pytest.mark.parametrize("filters", FILTERS, ids=range(len(FILTERS)))
async def test_31_over_a_corpus_all_that_match_are_found(filters: Any) -> None:
    """The recommended cascade over a corpus answers exactly the nodes that match, both ways."""
    query = CascadeQuery(QUESTION, filters=filters)
    for found in (over_corpus().retrieve(query), await over_corpus().aretrieve(query)):
        assert {each.node_id for each in found} == matching(filters)


@cache
def of_all_arms() -> CascadeRetriever:
    """Keywords and vectors of a corpus, and two vector stores, fused; nothing is cut."""
    corpus = over_corpus().corpus
    stores = [as_stage(vector_index(), name="index"), as_stage(in_chroma(), name="chroma")]
    return CascadeRetriever(Cascade([Hybrid([BM25(corpus), Dense(corpus), *stores])]), k=None)


OWNER = st.builds(
    where,
    st.just("owner"),
    st.sampled_from([OP.EQ, OP.NE]),
    st.sampled_from(["str", "list", "json", "nobody", 3]),
)
OWNERS = st.builds(
    where,
    st.just("owner"),
    st.sampled_from([OP.IN, OP.NIN]),
    st.lists(st.sampled_from(["str", "list", "json"]), min_size=1, max_size=2),
)
LENGTH = st.builds(
    where,
    st.just("length"),
    st.sampled_from([OP.GT, OP.GTE, OP.LT, OP.LTE, OP.EQ, OP.NE]),
    st.integers(40, 161),
)
SOURCE = st.builds(where, st.just("ref_doc_id"), st.just(OP.EQ), st.sampled_from(["doc-str", "x"]))
ABSENT = st.builds(where, st.sampled_from(["owner", "none"]), st.just(OP.IS_EMPTY), st.none())
NESTED: Any = st.recursive(
    st.one_of(OWNER, OWNERS, LENGTH, SOURCE, ABSENT),
    lambda inner: st.builds(
        lambda filters, condition: both(*filters, condition=condition),
        st.lists(inner, min_size=1, max_size=3),
        st.sampled_from(FilterCondition),
    ),
    max_leaves=5,
)


@given(filters=st.builds(lambda one: both(one), NESTED), awaited=st.booleans())
@settings(max_examples=400, deadline=None)
def test_31_random_filters_in_every_arm(filters: MetadataFilters, awaited: bool) -> None:
    """Whatever the filter, nested too, four arms together answer what matches and no other."""
    query = CascadeQuery(QUESTION, filters=filters)
    retriever = of_all_arms()
    found = asyncio.run(retriever.aretrieve(query)) if awaited else retriever.retrieve(query)
    assert {each.node_id for each in found} == matching(filters)
