"""The signals of an answer, by hand."""

from __future__ import annotations

import pytest

from stepwell import Cascade, ConfigurationError, CrossEncoder, Document, Hybrid, MinScore, TopK
from stepwell.stages.guarded import Guarded
from stepwell.telemetry import configure, rank_biased_overlap, signals
from tests.telemetry.cascades import Fail, Recall, Score

RISING = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


def test_a_stage_that_turns_the_order_round() -> None:
    """Six turned round: the overlap, the ranks in the recall and the margin are those by hand."""
    told = signals(Cascade([Recall(), Score(RISING)]).search("q"))
    ids = [f"key-{at}" for at in range(6)]
    assert told.overlap == {"score": pytest.approx(rank_biased_overlap(ids, ids[::-1]))}
    assert told.recall_ranks == (6, 5, 4, 3, 2, 1)
    assert told.margin == pytest.approx(1 / 5)
    assert told.good is None


def test_what_a_stage_cut_for_depth_was_ranked_by_it() -> None:
    """A stage that keeps its first two of six has moved all six."""
    whole = signals(Cascade([Recall(), Score(RISING)]).search("q"))
    cut = signals(Cascade([Recall(), Score(RISING, k=2)]).search("q"))
    assert cut.overlap == whole.overlap
    assert cut.recall_ranks == (6, 5)


def test_a_stage_that_moves_nothing_overlaps_wholly() -> None:
    """The same order is 1, whatever the scores."""
    told = signals(Cascade([Recall(), Score(RISING[::-1], k=3)]).search("q"))
    assert told.overlap == {"score": pytest.approx(1.0)}


def test_stages_that_only_cut_or_failed_say_nothing_of_the_order() -> None:
    """Cuts, thresholds and a stage that failed have no overlap."""
    stages = [Recall(), TopK(5), MinScore(0.0), Fail()]
    assert signals(Cascade(stages).search("q")).overlap == {}


def test_documents_that_are_brought_are_the_order_to_begin_with() -> None:
    """Ranking moves the caller's order, and its ranks are those of the caller."""
    documents = [Document(name, "x" * size) for name, size in (("a", 1), ("b", 3), ("c", 2))]
    length = CrossEncoder(lambda query, texts: [len(text) for text in texts], blend=1.0)
    told = signals(Cascade([length]).rank("q", documents))
    assert told.recall_ranks == (2, 3, 1)
    assert told.overlap == {"cross-encoder": pytest.approx(rank_biased_overlap("abc", "bca"))}
    assert told.margin == pytest.approx(0.5)


def test_the_arms_of_a_hybrid_are_part_of_its_recall() -> None:
    """The fused order is where hits come from; an arm is no stage before another."""
    found = Cascade([Hybrid([Recall("one"), Recall("two")]), Score(RISING)]).search("q", k=2)
    told = signals(found)
    assert told.recall_ranks == (6, 5)
    assert list(told.overlap) == ["score"]


def test_the_recall_inside_a_cascade_inside() -> None:
    """A cascade as first stage: ranks are of its own first stage, and its re-scoring counts."""
    inner = Cascade([Recall(), Score(RISING)], name="inner")
    told = signals(Cascade([inner, Score(RISING, "last")]).search("q", k=2))
    assert told.recall_ranks == (1, 2)
    assert list(told.overlap) == ["score", "last"]


def test_the_inner_stages_of_a_cascade_that_ranks_are_one_step() -> None:
    """A cascade that re-scores what it is given moves it as one stage."""
    inner = Cascade([Score(RISING), Score(RISING, "back")], name="inner")
    told = signals(Cascade([Recall(), inner]).search("q"))
    assert told.overlap == {"inner": pytest.approx(1.0)}


def test_a_fallback_counts_where_the_stage_failed() -> None:
    """A guarded stage under its own name has the overlap of what answered in its place."""
    guarded = Guarded(Fail(), Score(RISING[::-1], "second"))
    told = signals(Cascade([Recall(), guarded]).search("q"))
    assert told.overlap == {"fail": pytest.approx(1.0)}


def test_candidates_left_unscored_have_no_part_in_the_margin() -> None:
    """Of four scored and two left, the range is that of the four."""
    nan = float("nan")
    late = Score([8.0, 5.0, 4.0, 0.0, nan, nan], unscored=2)
    assert signals(Cascade([Recall(), late]).search("q")).margin == pytest.approx(3 / 8)


@pytest.mark.parametrize(
    ("values", "margin"), [([1.0] * 6, 0.0), ([2.0, 1.0, 1.0, 1.0, 1.0, 1.0], 1.0)]
)
def test_the_ends_of_the_margin(values: list[float], margin: float) -> None:
    """All alike is 0; one above five that are alike is 1."""
    assert signals(Cascade([Recall(), Score(values)]).search("q")).margin == margin


def test_fewer_than_three_have_no_margin() -> None:
    """Of two, the lead is all of the range, whatever it is."""
    assert signals(Cascade([Recall(), Score(RISING, k=2)]).search("q")).margin is None


def test_without_hits() -> None:
    """An empty answer has no ranks, no margin and no overlap; and no good hit, once that is set."""
    empty = Cascade([Recall(documents=[]), Score([])]).search("q")
    told = signals(empty)
    assert (told.overlap, told.recall_ranks, told.margin, told.good) == ({}, (), None, None)
    assert signals(empty, good={"score": 0.0}).good is False


@pytest.mark.parametrize(
    ("least", "good"),
    [({"score": 6.0}, True), ({"score": 6.5}, False), ({"another": 1.0}, None), ({}, None)],
)
def test_a_good_hit_reaches_the_least_raw_score(least: dict[str, float], good: bool | None) -> None:
    """One hit that reaches it makes the answer good; a stage that did not score cannot tell."""
    result = Cascade([Recall(), Score(RISING)]).search("q", k=2)
    assert signals(result, good=least).good is good
    configure(good=least)
    assert signals(result).good is good


def test_a_blank_query_is_not_judged() -> None:
    """Nothing was asked, so nothing is bad."""
    assert signals(Cascade([Recall(documents=[])]).search(" "), good={"score": 0.0}).good is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "6", None, True])
def test_a_least_score_is_a_number(value: object) -> None:
    """What is no finite number is refused, naming the stage, and changes nothing."""
    configure(good={"score": 1.0})
    with pytest.raises(ConfigurationError, match="'score'"):
        configure(good={"score": value})  # type: ignore[dict-item]
    assert configure().good == {"score": 1.0}
