from __future__ import annotations

from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell import Filter, InputError
from stepwell.filters import facets

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.5, 1.0]), st.sampled_from("ab")
)
FIELDS = st.sampled_from(["x", "y"])
METADATA = st.dictionaries(FIELDS, st.one_of(VALUES, st.lists(VALUES, max_size=3)), max_size=2)
CONDITIONS = st.one_of(
    VALUES,
    st.builds(lambda v: {"$eq": v}, VALUES),
    st.builds(lambda v: {"$ne": v}, VALUES),
    st.builds(
        lambda op, v: {op: v}, st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), st.integers()
    ),
    st.builds(lambda v: {"$in": v}, st.lists(VALUES, max_size=3)),
    st.builds(lambda v: {"$nin": v}, st.lists(VALUES, max_size=3)),
    st.builds(lambda v: {"$exists": v}, st.booleans()),
)
FILTERS = st.recursive(
    st.dictionaries(FIELDS, CONDITIONS, min_size=1, max_size=2),
    lambda inner: st.one_of(
        st.builds(lambda f: {"$not": f}, inner),
        st.builds(lambda f: {"$and": f}, st.lists(inner, max_size=3)),
        st.builds(lambda f: {"$or": f}, st.lists(inner, max_size=3)),
    ),
    max_leaves=5,
)


def holds(spec, metadata):
    return Filter.parse(spec).matches(metadata)


@pytest.mark.parametrize(
    ("spec", "metadata", "expected"),
    [
        ({"lang": "en"}, {"lang": "en"}, True),
        ({"lang": "en"}, {"lang": "de"}, False),
        ({"lang": "en"}, {}, False),
        ({"year": {"$gte": 2020, "$lt": 2023}}, {"year": 2022}, True),
        ({"year": {"$gte": 2020, "$lt": 2023}}, {"year": 2023}, False),
        ({"year": 2020}, {"year": 2020.0}, True),
        ({"year": {"$gt": 1}}, {"year": "2"}, False),
        ({"flag": 1}, {"flag": True}, False),
        ({"flag": True}, {"flag": True}, True),
        ({"tag": {"$in": ["a", "b"]}}, {"tag": ["c", "b"]}, True),
        ({"tag": "a"}, {"tag": ["b", "a"]}, True),
        ({"tag": {"$nin": ["a"]}}, {}, True),
        ({"tag": {"$ne": "a"}}, {"tag": ["a", "b"]}, False),
        ({"a.b": 1}, {"a": {"b": 1}}, True),
        ({"a": {"$exists": True}}, {"a": None}, True),
        ({"a": {"$exists": False}}, {}, True),
        ({"a": None}, {"a": None}, True),
        ({"a": None}, {}, False),
        ({"day": {"$lt": date(2024, 5, 1)}}, {"day": date(2024, 4, 30)}, True),
        ({"day": {"$lt": "2024-05-01"}}, {"day": datetime(2024, 4, 30, 1)}, True),
        ({"x": float("inf")}, {"x": float("nan")}, False),
        ({"a": {"$not": {"$gt": 1}}}, {"a": 1}, True),
        ({"$or": []}, {"a": 1}, False),
        ({"$and": []}, {"a": 1}, True),
        ({"name": {"$gt": "Z"}}, {"name": "a"}, True),
    ],
)
def test_what_a_filter_means(spec, metadata, expected):
    assert holds(spec, metadata) is expected


@given(FILTERS, METADATA)
def test_not_is_the_opposite(spec, metadata):
    assert holds({"$not": spec}, metadata) is not holds(spec, metadata)


@given(FILTERS, FILTERS, METADATA)
def test_and_and_or_are_what_they_say(one, other, metadata):
    both = [holds(one, metadata), holds(other, metadata)]
    assert holds({"$and": [one, other]}, metadata) is all(both)
    assert holds({"$or": [one, other]}, metadata) is any(both)
    assert (Filter.parse(one) & Filter.parse(other)).matches(metadata) is all(both)


@given(st.dictionaries(FIELDS, CONDITIONS, min_size=2, max_size=2), METADATA)
def test_fields_side_by_side_are_joined_by_and(spec, metadata):
    parts = [holds({field: condition}, metadata) for field, condition in spec.items()]
    assert holds(spec, metadata) is all(parts)


@given(FIELDS, VALUES, METADATA)
def test_the_negations_of_eq_and_in(field, value, metadata):
    assert holds({field: {"$ne": value}}, metadata) is not holds({field: value}, metadata)
    assert holds({field: {"$in": [value]}}, metadata) is holds({field: value}, metadata)
    assert holds({field: {"$nin": [value]}}, metadata) is not holds({field: value}, metadata)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"a": {"$near": 1}}, r"\$near"),
        ({"$nor": []}, r"\$nor"),
        ({"$eq": 1}, r"\$eq stands under a field, such as \{'team': \{'\$eq': \.\.\.\}\}"),
        ({"a": {"gte": 1}}, r"'gte' in field 'a'; did you mean '\$gte'\?"),
        ({"a": {"b": 1}}, r"for the value of 'b' inside 'a' write 'a\.b'"),
        ({"a": {"$lessthan": 1}}, r"'\$lessthan' in field 'a'; known are \$eq"),
        ({"a": {}}, "empty condition"),
        ({"a": {"$in": "abc"}}, "takes a list"),
        ({"$and": {"a": 1}}, "takes a list"),
        ({"a": {"$exists": 1}}, r"\$exists"),
        ({"a": {"$gt": None}}, "order None"),
        ({"a": object()}, "object"),
        ({"a": [1, 2]}, r"\[1, 2\]"),
        ({"a": {"$gt": float("nan")}}, "nan"),
        ({1: 2}, "field must be a string"),
        ([("a", 1)], "must be a mapping"),
        ({"$not": 3}, "must be a mapping"),
        ("a = 1", "must be a mapping"),
    ],
)
def test_what_cannot_be_honoured_is_refused_and_named(spec, says):
    with pytest.raises(InputError, match=says):
        Filter.parse(spec)


def test_no_filter_is_no_filter():
    assert Filter.parse(None) is None
    assert Filter.parse({}) is None
    parsed = Filter.parse({"a": 1})
    assert Filter.parse(parsed) is parsed


def test_facets_open_lists_and_mappings_and_leave_out_what_no_filter_can_see():
    seen = list(facets({"a": [1, "x", object()], "b": {"c": True}, "d": float("nan"), "e": {1}}))
    assert seen == [
        ("a", "number", 1),
        ("a", "string", "x"),
        ("b.c", "bool", True),
        ("e", "number", 1),
    ]
