"""A cross-encoder that stops when it is sure."""

from __future__ import annotations

import asyncio
import copy
import pickle
import time
from dataclasses import replace
from functools import wraps

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stepwell as sw
from stepwell.calibrator import Calibrator, Platt
from stepwell.candidates import blended
from stepwell.depth import Depth, Reading
from stepwell.depth.completions import Completions
from stepwell.models.protocols import PairScores
from tests.depth.formulas import MOST, QUESTIONS, K, cascade, curve, curves, found, reads


def _read(depth: Depth | None, seed: int, *, n: int = MOST, blend: float = 0.5) -> Reading:
    made = curve(np.random.default_rng(seed), n)
    reading = Reading(n, depth, made.prior, blend)
    while (part := reading.next()) is not None:
        reading.put(part, PairScores(made.values[part].astype(np.float32)))
    return reading


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(0, MOST), bar=st.sampled_from([0.0, 0.2, 0.6]))
def test_what_is_read_is_a_beginning_and_never_more_than_all(
    depth: Depth, seed: int, n: int, bar: float
) -> None:
    """Whatever the scores and the bar, the first ones are read, and the rest has no score."""
    reading = _read(replace(depth, bar=bar), seed, n=n)
    scored = ~np.isnan(reading.made().values)
    assert reading.read <= n
    assert scored[: reading.read].all()
    assert not scored[reading.read :].any()
    assert reading.confident == (reading.read < n)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), blend=st.sampled_from([0.0, 0.3, 1.0]))
def test_a_bar_that_nothing_passes_reads_all(depth: Depth, seed: int, blend: float) -> None:
    """With a bar below 0 every score is there, and those of a plain reading."""
    bounded = _read(replace(depth, bar=-1.0), seed, blend=blend)
    plain = _read(None, seed, blend=blend)
    np.testing.assert_array_equal(bounded.made().values, plain.made().values)
    assert bounded.whole
    assert not bounded.wrong


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), low=st.floats(0, 1), high=st.floats(0, 1))
def test_more_doubt_allowed_never_reads_more(
    depth: Depth, seed: int, low: float, high: float
) -> None:
    """A higher bar stops no later, and the same scores stop at the same place."""
    low, high = sorted((low, high))
    careful, bold = (_read(replace(depth, bar=bar), seed) for bar in (low, high))
    assert bold.read <= careful.read
    assert _read(replace(depth, bar=low), seed).read == careful.read


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_where_all_is_read_the_order_is_the_plain_one(depth: Depth, seed: int) -> None:
    """A bounded stage that was never sure answers what the plain one answers, to the score."""
    query = f"q{seed}"
    bounded = cascade(replace(depth, bar=-1.0)).search(query)
    plain = cascade(MOST).search(query)
    assert bounded.ids == plain.ids
    assert [hit.score for hit in bounded.hits] == [hit.score for hit in plain.hits]


def test_the_answer_says_what_was_read_and_what_was_left(depth: Depth) -> None:
    """The trace counts both, calls the stage whole, and says of a document that it was not read."""
    result = cascade(depth).search(QUESTIONS[3])
    record = result.trace.records[1]
    assert record.notes["read"] + record.notes["left"] == MOST
    assert record.status == "ok"
    assert record.reason == f"confident: {record.notes['left']} not read"
    assert not result.degraded
    assert "not read" in str(result.trace.why(f"d{MOST - 1}"))
    scores = [hit.score for hit in result.hits]
    assert scores == sorted(scores, reverse=True)


def test_nothing_is_said_of_candidates_that_it_left(depth: Depth) -> None:
    """Emptied by a threshold behind it, an answer speaks of those read and counts the others."""
    certain = sw.Probability(Calibrator(Platt(0.01, -9.0), stage="cross-encoder"), at_least=0.5)
    result = sw.Cascade([*cascade(depth).stages, certain]).search(QUESTIONS[3])
    left = result.trace.records[1].notes["left"]
    assert result.hits == ()
    assert result.empty_because.startswith("nothing relevant among those read: probability")
    assert result.empty_because.endswith(f"; {left} not read")


def test_no_more_passages_reach_the_model_than_are_noted(depth: Depth) -> None:
    """The model is shown as many passages as the trace says, each once."""
    seen: list[str] = []

    @wraps(reads)
    def counts(query: str, passages: list[str]) -> list[float]:
        seen.extend(passages)
        return reads(query, passages)

    stage = sw.CrossEncoder(counts, K, depth=depth, blend=0.5)
    result = sw.Cascade([found, stage]).search(QUESTIONS[5])
    assert len(seen) == len(set(seen)) == result.trace.records[1].notes["read"] < MOST


async def test_awaited_batched_cached_and_shared_it_reads_the_same(depth: Depth) -> None:
    """Whatever way a question goes, its answer and what was read for it are the same."""
    plain = [cascade(depth).search(query) for query in QUESTIONS[:8]]
    for options in ({}, {"cache": True}, {"shared": True}, {"cache": True, "shared": True}):
        bounded = cascade(depth, **options)
        awaited = await asyncio.gather(*(bounded.asearch(query) for query in QUESTIONS[:8]))
        for results in (awaited, bounded.search_many(QUESTIONS[:8])):
            assert [each.ids for each in results] == [each.ids for each in plain]
            notes = [each.trace.records[1].notes["read"] for each in results]
            assert notes == [each.trace.records[1].notes["read"] for each in plain]


def test_a_deadline_is_told_apart_from_being_sure(depth: Depth) -> None:
    """Where time ends the reading, the record is partial and says deadline, not confident."""

    @wraps(reads)
    def slow(query: str, passages: list[str]) -> list[float]:
        time.sleep(0.02 * len(passages))
        return reads(query, passages)

    stage = sw.CrossEncoder(slow, K, depth=replace(depth, bar=-1.0), blend=0.5)
    result = sw.Cascade([found, stage]).search(QUESTIONS[0], deadline=0.3)
    record = result.trace.records[1]
    assert record.status == "partial"
    assert record.reason.startswith("deadline")
    assert "left" not in record.notes
    assert 0 < record.notes["read"] < MOST


def test_documents_gone_meanwhile_are_neither_read_nor_in_the_way(depth: Depth) -> None:
    """Deleted candidates are passed over, and the rest is read best first."""
    documents = [sw.Document(f"d{at}", f"passage number {at}") for at in range(0, MOST, 2)]
    given = found.run(sw.Candidates.start(QUESTIONS[1]))
    given = replace(given, source=sw.Candidates.of("q", documents).source)
    after = cascade(depth).stages[1].run(given)
    assert len(after) == K
    assert all(int(id[1:]) % 2 == 0 for id in after.ids)


def test_an_uncalibrated_depth_refuses_and_says_what_to_run() -> None:
    """`depth="auto"` answers nothing before it is calibrated; the message names the command."""
    with pytest.raises(sw.ConfigurationError, match="stepwell depth"):
        cascade("auto").search("q")
    with pytest.raises(sw.ConfigurationError, match="'deep'"):
        cascade("deep")


@pytest.mark.parametrize(
    ("options", "named"), [({"k": 7}, "k is 7"), ({"blend": 0.9}, "blend is 0.9")]
)
def test_other_settings_than_those_calibrated_with_are_refused(
    depth: Depth, options: dict[str, object], named: str
) -> None:
    """Another k or blend is named as the stage is made."""
    with pytest.raises(sw.ConfigurationError, match=named):
        sw.CrossEncoder(reads, **{"k": K, "blend": 0.5, "depth": depth, **options})  # type: ignore[arg-type]


def test_another_model_or_recall_is_refused(depth: Depth) -> None:
    """A model of another name, or another stage before it, is named as the cascade is built."""
    with pytest.raises(sw.ConfigurationError, match="scorer"):
        sw.CrossEncoder(lambda query, texts: [1.0] * len(texts), K, blend=0.5, depth=depth)
    stage = sw.CrossEncoder(reads, K, blend=0.5, depth=depth)
    for before in ([], [sw.TopK(50)], [found, sw.TopK(50)]):
        with pytest.raises(sw.ConfigurationError, match=r"found|top-k"):
            sw.Cascade([*before, stage])


def test_a_depth_inside_guarded_is_checked_too(depth: Depth) -> None:
    """As the stage or as the fallback, behind another recall it is refused by name."""
    stage = sw.CrossEncoder(reads, K, blend=0.5, depth=depth)
    other = sw.CrossEncoder(reads, K, blend=0.5, name="other")
    for guarded in (sw.Guarded(stage), sw.Guarded(other, stage)):
        with pytest.raises(sw.ConfigurationError, match="top-k"):
            sw.Cascade([found, sw.TopK(50), guarded])
    made = sw.Cascade([found, sw.Guarded(stage)])
    assert made.search(QUESTIONS[3]).ids == cascade(depth).search(QUESTIONS[3]).ids


@pytest.mark.parametrize("guarded", [False, True])
@pytest.mark.parametrize("awaited", [False, True])
async def test_brought_documents_are_all_read_and_not_heard(
    depth: Depth, guarded: bool, awaited: bool
) -> None:
    """The promise does not speak of them: nothing is left, and they say nothing of the traffic."""
    bold = replace(depth, bar=1.0, audit=0.5)
    made = cascade(bold)
    stage = made.stages[1]
    assert isinstance(stage, sw.CrossEncoder)
    assert stage.watch is not None
    if guarded:
        made = sw.Cascade([found, sw.Guarded(stage)])
    documents = [sw.Document(f"d{at}", f"passage number {at}") for at in range(MOST)]
    given = {"scores": np.exp(-np.arange(MOST) / 12).tolist()}
    for query in QUESTIONS[:5]:
        ranked = made.arank(query, documents, **given) if awaited else None
        result = await ranked if ranked else made.rank(query, documents, **given)
        assert result.ids == cascade(MOST).rank(query, documents, **given).ids
        assert result.trace.records[-1].notes == {"read": MOST}
    assert stage.watch.to_dict()["asked"] == 0
    made.search(QUESTIONS[0])
    assert stage.watch.to_dict()["asked"] == 1


def test_a_stage_with_a_depth_is_copied_and_pickled(depth: Depth) -> None:
    """Copies answer the same, and begin their own watch."""
    made = cascade(depth)
    one = copy.deepcopy(made.stages[1])
    two = pickle.loads(pickle.dumps(made.stages[1]))
    for stage in (one, two):
        again = sw.Cascade([found, stage]).search(QUESTIONS[2])
        assert again.ids == made.search(QUESTIONS[2]).ids
        assert stage.watch is not made.stages[1].watch


def test_the_expected_order_is_nearer_to_the_whole_than_the_naive_one() -> None:
    """Scores on the scale that is expected find the top more often than on what was read."""
    known = Completions(np.stack([each.values for each in curves(60, seed=1)]))
    better = naive = 0
    for made in curves(150, seed=2):
        whole = set(blended(made.prior, made.values, 0.5)[0][:K].tolist())
        cut = made.values.copy()
        cut[15:] = np.nan
        naive += set(blended(made.prior, cut, 0.5)[0][:K].tolist()) == whole
        outlook = known.outlook(made.prior, made.values[:15], k=K, blend=0.5)
        better += set(outlook.order[:K].tolist()) == whole
    assert better > naive
