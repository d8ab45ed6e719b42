"""Filters in SQL mean what `Filter.matches` says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepwell import Corpus, Document, Filter, InputError

KEYS = st.sampled_from(["a", "b", "a.b", "c"])
TEXTS = st.sampled_from(["", "a", "b", "é", "\uffff", "\U0001f600", "Z", "a\0b", "10"])
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from(
        [
            float(2**70),
            -float(2**70),
            2**53,
            2**53 + 1,
            2**63 - 1,
            -(2**63),
            0.5,
            -0.0,
            1e300,
            float(2**53),
        ]
    ),
)
VALUES = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
FIELDS = st.one_of(VALUES, st.lists(VALUES, max_size=3), st.dictionaries(KEYS, VALUES, max_size=2))
METADATA = st.dictionaries(KEYS, FIELDS, max_size=3)
ASKED = st.one_of(
    VALUES, st.sampled_from([2**63, 2**70 + 1, -(2**70) - 1, 10**400, float("inf"), "\ud800"])
)


def _ordered(value: Any) -> bool:
    return value is not None


CONDITIONS = st.one_of(
    ASKED,
    st.builds(lambda op, v: {op: v}, st.sampled_from(["$eq", "$ne"]), ASKED),
    st.builds(
        lambda op, v: {op: v},
        st.sampled_from(["$gt", "$gte", "$lt", "$lte"]),
        ASKED.filter(_ordered),
    ),
    st.builds(lambda op, v: {op: v}, st.sampled_from(["$in", "$nin"]), st.lists(ASKED, max_size=3)),
    st.builds(lambda v: {"$exists": v}, st.booleans()),
)
FIELD_FILTERS = st.dictionaries(KEYS, CONDITIONS, min_size=1, max_size=2)
FILTERS = st.recursive(
    FIELD_FILTERS,
    lambda inner: st.one_of(
        st.builds(lambda parts: {"$and": parts}, st.lists(inner, max_size=3)),
        st.builds(lambda parts: {"$or": parts}, st.lists(inner, max_size=3)),
        st.builds(lambda part: {"$not": part}, inner),
    ),
    max_leaves=6,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(METADATA, min_size=1, max_size=12), st.lists(FILTERS, min_size=1, max_size=12))
def test_the_corpus_matches_what_the_filter_matches(
    metadata: list[dict[str, Any]], filters: list[dict[str, Any]]
) -> None:
    """Every filter picks from a corpus the documents that `Filter.matches` picks."""
    with Corpus.temporary(encoder=None) as corpus:
        corpus.add(Document(str(at), "", each) for at, each in enumerate(metadata))
        for spec in filters:
            parsed = Filter.parse(spec)
            assert parsed is not None
            expected = [str(at) for at, each in enumerate(metadata) if parsed.matches(each)]
            assert corpus.match(parsed) == expected, spec


@pytest.mark.parametrize("op", ["$eq", "$gt", "$gte", "$lt", "$lte"])
def test_integers_beyond_64_bits_compare_exactly(op: str) -> None:
    """A filter's integer that SQLite cannot take is compared with floats near it as in Python."""
    near = [float(2**70), -float(2**70), float(2**63), 1e300, -1e300, 2**63 - 1, -(2**63)]
    asked = [sign * (2**70 + off) for sign in (1, -1) for off in (-(2**30), -1, 0, 1, 2**30)]
    with Corpus.temporary(encoder=None) as corpus:
        corpus.add(Document(str(at), "", {"n": value}) for at, value in enumerate(near))
        for value in [*asked, 2**63, -(2**63) - 1, 10**400, -(10**400)]:
            spec = Filter.parse({"n": {op: value}})
            assert spec is not None
            expected = [str(at) for at, n in enumerate(near) if spec.matches({"n": n})]
            assert corpus.match(spec) == expected, value


def test_a_deep_filter_is_no_harder_than_a_flat_one() -> None:
    """Two hundred nested negations are answered."""
    spec: dict[str, Any] = {"n": 1}
    for _ in range(200):
        spec = {"$not": spec}
    with Corpus.temporary(encoder=None) as corpus:
        corpus.add([Document("a", "", {"n": 1}), Document("b", "", {"n": 2})])
        assert corpus.match(spec) == ["a"]


def test_a_long_list_of_values_is_answered() -> None:
    """Five thousand values in one $in pick those documents that have one of them."""
    with Corpus.temporary(encoder=None) as corpus:
        corpus.add(Document(str(n), "", {"n": n}) for n in range(100))
        assert len(corpus.match({"n": {"$in": list(range(50, 5050))}})) == 50


def test_match_stops_at_k() -> None:
    """`match` returns the first k documents in the order they were written."""
    with Corpus.temporary(encoder=None) as corpus:
        corpus.add(Document(str(n), "", {"n": n}) for n in range(10))
        assert corpus.match({"n": {"$gte": 4}}, 3) == ["4", "5", "6"]
        assert corpus.match(None, 2) == ["0", "1"]
        with pytest.raises(InputError, match="at least 1"):
            corpus.match(None, 0)


def test_replaced_metadata_is_forgotten() -> None:
    """After an upsert and a delete only the metadata that documents have now is matched."""
    with Corpus.temporary(encoder=None) as corpus:
        corpus.add(Document(str(n), "", {"tag": ["x", "x", "y"]}) for n in range(3))
        corpus.upsert([Document("0", "", {"tag": ["z"]})])
        corpus.delete(["1"])
        assert corpus.match({"tag": "x"}) == ["2"]
        assert corpus.match({"tag": "z"}) == ["0"]
        assert corpus.match({"tag": {"$exists": True}}) == ["2", "0"]
