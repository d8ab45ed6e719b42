"""Filters of both languages hold in every arm, per call: point 31."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core import SummaryIndex, VectorStoreIndex
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)
from packaging.version import Version

from stepwell import Candidates, Cascade, Filter, InputError, Query
from stepwell.llama_index import CascadeQuery, CascadeRetriever, as_stage
from stepwell.llama_index.filters import parse_filter, store_filters
from tests.conformance.llama_index_parts import QUESTION, both, vector_index, where

OP = FilterOperator


def held_by_their_store(metadata: dict[str, Any], filters: MetadataFilters) -> bool:
    """Whether LlamaIndex's in-memory store returns a node with this metadata."""
    store = SimpleVectorStore()
    store.add([TextNode(id_="a", metadata=metadata, embedding=[1.0])])
    return bool(store.query(VectorStoreQuery([1.0], filters=filters)).ids)


@pytest.fixture(scope="module")
def index() -> VectorStoreIndex:
    return vector_index()


VALUES = st.one_of(st.integers(0, 3), st.sampled_from(["a", "b", "ab"]))
METADATA = st.dictionaries(st.sampled_from("xyz"), VALUES, max_size=3)
SINGLE = st.one_of(
    st.builds(where, st.sampled_from("xyz"), st.sampled_from([OP.EQ, OP.NE]), VALUES),
    st.builds(
        where,
        st.sampled_from("xyz"),
        st.sampled_from([OP.IN, OP.NIN]),
        st.lists(st.integers(0, 3), min_size=1, max_size=3),
    ),
    st.builds(lambda key: where(key, OP.IS_EMPTY, None), st.sampled_from("xyz")),
)


@pytest.mark.skipif(
    Version(version("llama-index-core")) < Version("0.14.25"),
    reason="earlier in-memory stores know no NOT, and read a missing field otherwise",
)
@given(
    filters=st.lists(SINGLE, min_size=1, max_size=4),
    condition=st.sampled_from(FilterCondition),
    metadata=METADATA,
)
@settings(max_examples=300, deadline=None)
def test_31_a_filter_means_what_it_means_to_llama_index(
    filters: list[MetadataFilter], condition: FilterCondition, metadata: dict[str, Any]
) -> None:
    """Over plain metadata the translation agrees with LlamaIndex's own in-memory store."""
    theirs = both(*filters, condition=condition)
    ours = parse_filter(theirs)
    assert ours is not None
    assert ours.matches(metadata) == held_by_their_store(metadata, theirs)


@pytest.mark.parametrize(
    ("operator", "value", "metadata", "expected"),
    [
        (OP.GT, 3, {"k": 4}, True),
        (OP.GTE, 3, {"k": 3}, True),
        (OP.LT, 3, {"k": 3}, False),
        (OP.LTE, 3, {"k": 3}, True),
        (OP.ANY, ["a", "b"], {"k": ["b", "c"]}, True),
        (OP.ANY, ["a"], {"k": ["b", "c"]}, False),
        (OP.ALL, ["b", "c"], {"k": ["b", "c", "d"]}, True),
        (OP.ALL, ["b", "x"], {"k": ["b", "c", "d"]}, False),
        (OP.CONTAINS, "b", {"k": ["b", "c"]}, True),
        (OP.IS_EMPTY, None, {"k": []}, True),
        (OP.IS_EMPTY, None, {"k": 0}, False),
    ],
)
def test_31_each_operator(
    operator: FilterOperator, value: Any, metadata: dict[str, Any], expected: bool
) -> None:
    """Ordering, lists and emptiness hold as LlamaIndex documents them."""
    parsed = parse_filter(both(where("k", operator, value)))
    assert parsed is not None
    assert parsed.matches(metadata) is expected


def test_31_conditions_nest() -> None:
    """A list of filters inside another keeps its own condition."""
    inner = both(where("x", OP.EQ, 1), where("y", OP.EQ, 1), condition=FilterCondition.OR)
    parsed = parse_filter(both(where("z", OP.EQ, 1), inner))
    assert parsed is not None
    assert parsed.matches({"z": 1, "y": 1})
    assert not parsed.matches({"z": 1})
    assert not parsed.matches({"y": 1})


@pytest.mark.parametrize(
    "filters",
    [
        both(where("k", OP.TEXT_MATCH, "a")),
        both(where("k", OP.TEXT_MATCH_INSENSITIVE, "a")),
        both(where("k", OP.IN, "abc")),
        both(where("k", OP.ALL, "abc")),
        both(where("$k", OP.EQ, "abc")),
        {"k": {"$near": 1}},
        ["k"],
        "k = 1",
    ],
)
def test_31_what_cannot_be_honoured_is_a_typed_error(filters: Any) -> None:
    """An operator, a value or an object that is no filter is an InputError, never no filter."""
    with pytest.raises(InputError):
        parse_filter(filters)


def test_31_no_filters_are_no_filter() -> None:
    """None, an empty mapping and an empty list of filters allow everything."""
    assert parse_filter(None) is parse_filter({}) is parse_filter(both()) is None


@given(
    filters=st.lists(SINGLE, min_size=1, max_size=3),
    condition=st.sampled_from(FilterCondition),
    metadata=METADATA,
)
@settings(max_examples=300, deadline=None)
def test_31_what_a_store_is_asked_excludes_nothing_allowed(
    filters: list[MetadataFilter], condition: FilterCondition, metadata: dict[str, Any]
) -> None:
    """The part of a filter that is pushed down matches whatever the whole filter matches."""
    whole = parse_filter(both(*filters, condition=condition))
    pushed = store_filters(whole)
    assert whole is not None
    if pushed is not None and whole.matches(metadata):
        assert held_by_their_store(metadata, pushed)


def test_31_equality_and_membership_are_pushed_down() -> None:
    """A conjunction of plain comparisons reaches the store whole, as one flat list."""
    pushed = store_filters(Filter.parse({"owner": {"$in": ["a", "b"]}, "year": {"$gte": 2020}}))
    assert pushed is not None
    assert [(each.key, each.operator, each.value) for each in pushed.filters] == [
        ("owner", OP.IN, ["a", "b"]),
        ("year", OP.GTE, 2020),
    ]


def test_31_the_stage_checks_and_asks_for_more_by_itself(index: VectorStoreIndex) -> None:
    """What a store cannot be asked, the stage sorts out, and fetches until it has its k."""
    stage = as_stage(index, k=7)
    query = Query(QUESTION, Filter.parse({"owner": {"$ne": "str"}}))
    found = stage.run(Candidates.start(query))
    assert len(found) == 7
    owners = {document.metadata["owner"] for document in found.documents() if document}
    assert owners <= {"json", "list"}


def test_31_the_retrievers_filters_and_the_calls_both_hold(index: VectorStoreIndex) -> None:
    """A call can narrow what its retriever may answer, never widen it."""
    mine = CascadeRetriever(Cascade([as_stage(index)]), k=50, filters={"owner": "str"})
    assert mine.retrieve(CascadeQuery(QUESTION, filters={"owner": "json"})) == []
    wide = {each.node.metadata["owner"] for each in mine.retrieve(QUESTION)}
    assert wide == {"str"}


def test_31_the_filters_of_an_existing_retriever_stay(index: VectorStoreIndex) -> None:
    """What the existing retriever was set to is joined with the call's filter, and not changed."""
    own = both(where("owner", OP.IN, ["json", "list"]))
    existing = index.as_retriever(filters=own, similarity_top_k=2)
    mine = CascadeRetriever(Cascade([as_stage(existing)]), k=50)
    assert {each.node.metadata["owner"] for each in mine.retrieve(QUESTION)} == {"json", "list"}
    short = CascadeQuery(QUESTION, filters={"length": {"$gt": 100}})
    assert {each.node.metadata["owner"] for each in mine.retrieve(short)} == {"json", "list"}
    assert existing._filters is own
    assert existing.similarity_top_k == 2


def test_31_a_retriever_that_cannot_filter_says_so() -> None:
    """Where nothing can be pushed nor asked for more, a filter is an InputError, or opted into."""
    given = [TextNode(id_=str(at), text="x", metadata={"n": at}) for at in range(5)]
    query = CascadeQuery("x", filters={"n": {"$gte": 3}})
    plain = CascadeRetriever(Cascade([as_stage(SummaryIndex(given))]))
    with pytest.raises(InputError, match="filter='after'"):
        plain.retrieve(query)
    after = CascadeRetriever(Cascade([as_stage(SummaryIndex(given), filter="after")]))
    assert [each.node_id for each in after.retrieve(query)] == ["3", "4"]


@given(metadata=st.lists(METADATA, min_size=1, max_size=12), filters=st.lists(SINGLE, max_size=3))
@settings(max_examples=150, deadline=None)
def test_31_a_leaking_retriever_leaks_nothing(
    metadata: list[dict[str, Any]], filters: list[MetadataFilter]
) -> None:
    """Whatever the retriever returns, a node that does not match is not answered."""
    given = [TextNode(id_=str(at), text="x", metadata=each) for at, each in enumerate(metadata)]
    wanted = parse_filter(both(*filters))
    stage = as_stage(SummaryIndex(given), filter="after")
    found = CascadeRetriever(Cascade([stage]), k=20).retrieve(
        CascadeQuery("x", filters=both(*filters))
    )
    assert {each.node_id for each in found} == {
        node.node_id for node in given if wanted is None or wanted.matches(node.metadata)
    }
