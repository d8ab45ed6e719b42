"""A filter pushed down to Milvus picks what `Filter.matches` picks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepwell import Document, Filter, InputError
from tests.corpus.test_matching import FILTERS, METADATA
from tests.milvus.conftest import Make

NUMBERS = [
    2**53,
    2**53 + 1,
    float(2**53),
    2**63 - 2,
    2**63 - 1,
    -(2**63),
    0,
    -0.0,
    0.5,
    -0.5,
    1e300,
    -1e300,
]
TRICKY: list[dict[str, Any]] = [
    {},
    {"a": None},
    {"a": []},
    {"a": [None]},
    {"a": 1},
    {"a": 1.0},
    {"a": "1"},
    {"a": True},
    {"a": [1, "1", True]},
    {"a": {"b": 1}},
    {"a.b": 1},
    {"a": [1, 5]},
    {"a": 3},
    {"a": "x" * 500},
    {"a": "x" * 127 + "y"},
    {"a": "say \"hi\" \\ or 'not'"},
]


def expected(metadata: list[dict[str, Any]], spec: Any) -> list[str]:
    parsed = Filter.parse(spec)
    assert parsed is not None
    return [str(at) for at, each in enumerate(metadata) if parsed.matches(each)]


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(METADATA, min_size=8, max_size=30),
    st.lists(FILTERS, min_size=8, max_size=30),
)
def test_milvus_matches_what_the_filter_matches(
    make: Make, metadata: list[dict[str, Any]], filters: list[dict[str, Any]]
) -> None:
    """Every filter picks from the collection the documents that `Filter.matches` picks."""
    corpus = make(encoder=None)
    corpus.add(Document(str(at), "", each) for at, each in enumerate(metadata))
    for spec in filters:
        assert corpus.match(spec) == expected(metadata, spec), spec


def test_missing_null_lists_and_kinds_keep_apart(make: Make) -> None:
    """What lacks a field, has null, a list, a number or its text is told apart as everywhere."""
    corpus = make(encoder=None)
    corpus.add(Document(str(at), "", each) for at, each in enumerate(TRICKY))
    values = [None, 1, 1.0, "1", True, False, 3, "x" * 500, "say \"hi\" \\ or 'not'"]
    specs: list[Any] = [{"a": {op: v}} for v in values for op in ("$eq", "$ne")]
    specs += [{"a": {op: 3}} for op in ("$gt", "$gte", "$lt", "$lte")]
    specs += [{"a": {op: "x" * 127}} for op in ("$gt", "$gte", "$lt", "$lte")]
    specs += [{"a": {"$not": {"$gt": 2}}}, {"a": {"$not": {"$lt": "z"}}}, {"a": {"$gte": False}}]
    specs += [{"a": {"$exists": yes}} for yes in (True, False)]
    specs += [{"a": {"$in": [1, None, "x"]}}, {"a": {"$nin": [1, None]}}, {"a": {"$in": []}}]
    specs += [{"a.b": 1}, {"$or": []}, {"$and": []}, {"$not": {"$or": []}}]
    for spec in specs:
        assert corpus.match(spec) == expected(TRICKY, spec), spec


@pytest.mark.parametrize("op", ["$eq", "$gt", "$gte", "$lt", "$lte"])
def test_numbers_compare_exactly(make: Make, op: str) -> None:
    """Integers and floats that a double cannot tell apart, and beyond 64 bits, are told apart."""
    metadata = [{"n": value} for value in NUMBERS]
    corpus = make(encoder=None)
    corpus.add(Document(str(at), "", each) for at, each in enumerate(metadata))
    asked = [*NUMBERS, 2**53 - 1, 2**63, -(2**63) - 1, 2**70 + 1, 10**400, -(10**400)]
    for value in [*asked, float("inf"), -float("inf")]:
        assert corpus.match({"n": {op: value}}) == expected(metadata, {"n": {op: value}}), value


def test_an_order_that_is_not_kept_is_refused(make: Make) -> None:
    """Ordering by a string longer than what is kept to order by is an error, never a wrong set."""
    corpus = make(encoder=None)
    with pytest.raises(InputError, match="first 128 bytes"):
        corpus.match({"a": {"$gt": "x" * 128}})


def test_a_long_list_and_a_deep_filter_are_answered(make: Make) -> None:
    """Five thousand values in one $in, and two hundred nested negations, pick what they should."""
    corpus = make(encoder=None)
    corpus.add(Document(str(n), "", {"n": n}) for n in range(100))
    assert len(corpus.match({"n": {"$in": list(range(50, 5050))}})) == 50
    spec: dict[str, Any] = {"n": 1}
    for _ in range(200):
        spec = {"$not": spec}
    assert corpus.match(spec) == ["1"]
