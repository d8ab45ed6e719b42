from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from stepwell.models.texts import clean, shorten, spans


@given(st.text(alphabet=st.characters(), max_size=30), st.sampled_from(["", "\ud800", "\udc00x"]))
def test_clean_text_is_encodable(text: str, broken: str) -> None:
    """Cleaning makes any string encodable and leaves a whole one alone."""
    clean(text + broken).encode("utf-8")
    assert clean(clean(text)) == clean(text)


@given(
    size=st.integers(0, 3000),
    room=st.integers(4, 300),
    overlap=st.integers(0, 80),
    most=st.integers(1, 20),
)
def test_spans_cover_from_the_start(size: int, room: int, overlap: int, most: int) -> None:
    """Windows are no longer than the room, no more than allowed, and leave no gap."""
    cuts = spans(size, room, overlap=min(overlap, room // 2), most=most)
    assert 1 <= len(cuts) <= most
    assert cuts[0][0] == 0
    assert all(0 <= b - a <= room for a, b in cuts)
    assert all(left[1] >= right[0] for left, right in pairwise(cuts))
    assert cuts[-1][1] == size or len(cuts) == most


def test_shorten_keeps_short_text() -> None:
    """A text within its room is returned as it is, blanks and all."""
    assert shorten("  a  b ", 10) == ("  a  b ", False)


def test_shorten_says_that_it_cut() -> None:
    """Text beyond the room is reported; blanks beyond it are not text."""
    assert shorten("word " * 1000, 10)[1]
    assert shorten("word" + " " * 10_000, 10) == ("word", False)
    assert shorten(" " * 100_000 + "end", 10) == ("", True)
