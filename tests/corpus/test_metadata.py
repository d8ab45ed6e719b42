"""What a corpus cannot give back as it got it, it does not take."""

from __future__ import annotations

import math
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell import Corpus, Document, InputError
from stepwell.corpus.metadata import checked

PLAIN = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(exclude_categories=["Cs"])),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3),
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), PLAIN, max_size=4))
def test_what_is_taken_comes_back(metadata: dict[str, Any]) -> None:
    """Metadata that passes is the same after JSON, types and signs of zero included."""
    import json

    assert repr(json.loads(checked(Document("a", "", metadata)))) == repr(metadata)


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (date(2024, 1, 1), "isoformat"),
        (math.nan, "None"),
        (math.inf, "None"),
        (2**63, "string"),
        ((1, 2), "list"),
        ({1, 2}, "list"),
        (np.int64(3), "item"),
        ({1: "x"}, "string keys"),
        (b"bytes", "use strings"),
        (object(), "use strings"),
        ("\ud800", "well_formed"),
        ({"a": {"b": [1, (2,)]}}, "list"),
    ],
)
def test_what_would_change_is_refused(value: Any, remedy: str) -> None:
    """The error names the document, the key and what to use instead."""
    with Corpus.temporary(encoder=None) as corpus:
        good = Document("good", "x", {"k": 1})
        with pytest.raises(InputError, match=rf"'bad'.*key.*{remedy}"):
            corpus.add([good, Document("bad", "x", {"key": value})])
        assert len(corpus) == 0


def test_metadata_nested_beyond_reason_is_refused() -> None:
    """A thousand levels are an error of ours, not of the interpreter's stack."""
    deep: Any = 1
    for _ in range(3000):
        deep = [deep]
    with pytest.raises(InputError, match="nested too deeply"):
        checked(Document("a", "", {"k": deep}))


@pytest.mark.parametrize(
    "document", [Document("a", "broken \ud800 text"), Document("\udfff", "x"), "no document"]
)
def test_text_that_is_no_text_is_refused(document: Any) -> None:
    """A lone surrogate in text or id, and what is no document, are named."""
    with (
        Corpus.temporary(encoder=None) as corpus,
        pytest.raises(InputError, match=r"surrogate|str"),
    ):
        corpus.add([document])
