from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell import Candidates, Cascade, ConfigurationError, Dedupe, Document, stage
from stepwell.stages.dedupe import SHINGLE

WORDS = st.lists(st.sampled_from("abc"), max_size=9).map(" ".join)


def kept(texts, near=None):
    documents = [Document(str(at), text) for at, text in enumerate(texts)]
    return [int(id) for id in Dedupe(near=near).run(Candidates.of("q", documents)).ids]


def test_case_and_spacing_make_no_difference():
    """Nor does the form of a character: a ligature or a wide letter is the letter."""
    assert kept(["Rotate the files", "rotate\n THE files ", "rotate the disks"]) == [0, 2]
    assert kept(["Stra\u00dfe \ufb01le", "STRASSE file", "\uff33trasse file"]) == [0]


def test_punctuation_makes_another_text():
    """What only a sign tells apart may mean another thing, so both stay."""
    for texts in (["C++ guide", "C# guide", "C guide"], ["x = -1", "x = 1"]):
        assert kept(texts) == list(range(len(texts)))
    assert kept(["C++ guide", "c++  guide"]) == [0]


@given(st.lists(WORDS, max_size=12))
def test_the_best_ranked_of_each_text_stays(texts):
    expected = [at for at, text in enumerate(texts) if not text or text not in texts[:at]]
    assert kept(texts) == expected


@given(st.lists(WORDS, max_size=10), st.floats(0.1, 1.0))
def test_nothing_that_is_kept_is_near_to_something_better_that_is_kept(texts, near):
    """And whatever is dropped is near to something better that is kept: by the definition."""

    def runs(text):
        words = text.split()
        return {tuple(words[at : at + SHINGLE]) for at in range(max(len(words) - SHINGLE + 1, 1))}

    def alike(one, other):
        a, b = runs(texts[one]), runs(texts[other])
        return bool(texts[one]) and len(a & b) / len(a | b) >= near

    stay = kept(texts, near)
    for at, text in enumerate(texts):
        better = [other for other in stay if other < at and texts[other]]
        assert (at in stay) is not (bool(text) and any(alike(at, other) for other in better))


def test_texts_without_words_are_not_the_same_for_that():
    assert kept(["+", "-", "", ""]) == [0, 1, 2, 3]
    assert kept(["+", "-", "", ""], near=0.5) == [0, 1, 2, 3]


def test_what_it_drops_does_not_come_back_and_the_trace_says_why():
    result = Cascade([Dedupe(near=0.5)]).rank(
        "q", ["a b c d e f", "A b c d e f", "a b c d e f g"], k=3
    )
    assert result.ids == ["0"]
    assert result.trace.why("1").reason == "same text as a better one"
    assert result.trace.why("2").reason == "nearly the same text as a better one"


def test_a_document_that_is_gone_is_no_duplicate():
    before = Candidates.of("q", [Document("a", "x")])
    gone = before.recalled("r", ["gone", "also gone", "a"], [3, 2, 1], source=before.source)
    assert len(Dedupe(near=0.5).run(gone)) == 3


@pytest.mark.parametrize("near", [0, -1, 1.01, float("nan")])
def test_a_nearness_that_is_none_is_refused(near):
    with pytest.raises(ConfigurationError, match="near"):
        Dedupe(near=near)


def test_repr():
    assert repr(Dedupe()) == "Dedupe()"
    assert repr(Dedupe(near=0.8)) == "Dedupe(near=0.8)"


def test_what_it_never_saw_does_not_come_back():
    """A depth before it cut two that might not have passed."""

    @stage(decides=False)
    def depth(candidates):
        return candidates.top(1)

    result = Cascade([depth, Dedupe()]).rank("q", ["a", "b", "c"], k=3)
    assert result.ids == ["0"]
