from __future__ import annotations

import pickle
from copy import deepcopy
from dataclasses import FrozenInstanceError

import pytest

from stepwell import Document, InputError, Query
from stepwell.documents import InMemory, Overlay, Source, overlay, well_formed


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"id": "", "text": "x"}, "non-empty"),
        ({"id": 3, "text": "x"}, "non-empty string"),
        ({"id": "a", "text": None}, "'a'.*NoneType"),
        ({"id": "a", "text": b"x"}, "bytes"),
        ({"id": "a", "text": "x", "metadata": [1]}, "mapping"),
        ({"id": "a", "text": "x", "metadata": {1: 2}}, "key 1"),
    ],
)
def test_a_document_that_is_none_is_refused_and_named(fields, says):
    with pytest.raises(InputError, match=says):
        Document(**fields)


def test_a_document_is_frozen_and_apart_from_the_callers_mapping():
    metadata = {"a": 1}
    document = Document("x", "t", metadata)
    metadata["a"] = 2
    assert document.metadata["a"] == 1
    with pytest.raises(TypeError):
        document.metadata["a"] = 3
    with pytest.raises(FrozenInstanceError):
        document.text = "other"


def test_documents_compare_hash_copy_and_pickle_by_value():
    document = Document("x", "t", {"a": [1]})
    assert document == Document("x", "t", {"a": [1]})
    assert document != Document("x", "t", {"a": [2]})
    assert len({document, Document("x", "t", {"a": [1]})}) == 1
    assert pickle.loads(pickle.dumps(document)) == document
    assert deepcopy(document) == document


def test_a_query_can_be_encoded_whatever_it_holds():
    assert Query("a\ud800b").text == "a?b"


def test_a_query_parses_its_filter():
    assert Query("q", {"a": 1}).filter.matches({"a": 1})
    assert Query("q", {}).filter is None
    with pytest.raises(InputError):
        Query("q", {"a": {"$near": 1}})
    with pytest.raises(InputError, match="NoneType"):
        Query(None)


@pytest.mark.parametrize(("text", "blank"), [("", True), (" \t\n\u3000", True), (" a ", False)])
def test_a_query_knows_whether_it_is_blank(text, blank):
    assert Query(text).is_blank is blank


def test_sources_answer_in_the_order_asked_and_none_for_what_is_not_there():
    source = InMemory([Document("a", "1"), Document("b", "2")])
    assert isinstance(source, Source)
    assert [d and d.id for d in source.get_many(["b", "x", "a", "b"])] == ["b", None, "a", "b"]
    with pytest.raises(InputError, match="'a'"):
        InMemory([Document("a", "1"), Document("a", "2")])


def test_of_overlaid_sources_the_first_that_has_it_answers():
    one, two = (
        InMemory([Document("a", "one")]),
        InMemory([Document("a", "two"), Document("b", "b")]),
    )
    found = overlay([one, two]).get_many(["b", "a", "x"])
    assert [d and d.text for d in found] == ["b", "one", None]
    assert overlay([one, one]) is one
    nested = overlay([overlay([one, two]), two, one])
    assert isinstance(nested, Overlay)
    assert nested.sources == (one, two)


def test_lone_surrogates_are_replaced_and_nothing_else():
    assert well_formed("a\ud800b") == "a?b"
    assert well_formed("äöü 日本 \U0001f600") == "äöü 日本 \U0001f600"
