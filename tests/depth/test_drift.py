"""The alarm: late enough where all is well, soon enough where it is not."""

from __future__ import annotations

import itertools
import logging
import pickle
from dataclasses import replace

import numpy as np
import pytest

import stepwell as sw
from stepwell.depth import Depth, Detector, Watch
from tests.depth.formulas import MOST, QUESTIONS, cascade


def _runs(rate: float, true: float, *, patience: float = 200.0, times: int = 40) -> list[int]:
    """How many values each of some streams has until the alarm, or 5,000."""
    rng = np.random.default_rng(1)
    lengths = []
    for _ in range(times):
        detector = Detector(rate, patience)
        while not detector.sounds and detector.seen < 5000:
            detector.heard(bool(rng.random() < true))
        lengths.append(detector.seen)
    return lengths


def test_a_false_alarm_takes_as_long_as_was_promised() -> None:
    """At the promised rate itself, looked at after each value, alarms are that far apart."""
    assert np.mean(_runs(0.1, 0.1)) > 200


@pytest.mark.parametrize(("audit", "seed"), [(0.2, 1), (0.005, 2)])
def test_three_alarms_together_are_as_patient_as_was_promised(
    depth: Depth, audit: float, seed: int
) -> None:
    """At the very rates that are allowed, the first false alarm of any comes late on average."""
    rng = np.random.default_rng(seed)
    patience, counts = 5.0, []
    worst = replace(
        depth, error_rate=0.1, deep_low=0.4, deep_high=0.4, audit=audit, patience=patience
    )
    for _ in range(50):
        watch = Watch(worst)
        for question in itertools.count():
            deep, audited, wrong = rng.random(3) < (0.4, audit, 0.1)
            read = worst.deep + 1 if deep else worst.deep
            if watch.heard(f"{question}", read=read, wrong=bool(wrong) if audited else None):
                break
        counts.append(question * audit)
    assert np.mean(counts) > patience


def test_a_rate_that_trebled_is_found_soon() -> None:
    """Three times as many errors as promised sound within about a hundred audited queries."""
    assert np.median(_runs(0.05, 0.15, patience=3000)) < 120


def test_a_good_past_does_not_hide_what_comes() -> None:
    """After thousands without an error the alarm is hardly later than from the start."""
    detector = Detector(0.05, 1000)
    for _ in range(3000):
        detector.heard(False)
    count = 0
    while not detector.sounds:
        detector.heard(True)
        count += 1
    assert count < 8


def test_audited_questions_are_the_same_ones_always(depth: Depth) -> None:
    """A share of the questions is audited, which ones depends on their text alone."""
    watch = Watch(replace(depth, audit=0.2))
    audited = [each for each in (f"q{at}" for at in range(1000)) if watch.audits(each)]
    again = pickle.loads(pickle.dumps(watch))
    assert 140 < len(audited) < 260
    assert all(again.audits(each) for each in audited)
    assert not any(Watch(depth).audits(each) for each in audited)


def test_a_question_counts_once(depth: Depth) -> None:
    """However often a question comes, it is one piece of evidence."""
    watch = Watch(depth)
    for _ in range(50):
        watch.heard("the same", read=MOST, wrong=True)
    assert watch.to_dict()["audited"] == 1
    assert not watch.alarm


def test_an_audited_answer_is_that_of_the_full_depth(depth: Depth) -> None:
    """What was paid for is given: all read, and whether stopping would have been an error."""
    audited, plain = cascade(replace(depth, audit=1.0)), cascade(MOST)
    result = audited.search(QUESTIONS[7])
    notes = result.trace.records[1].notes
    assert result.ids == plain.search(QUESTIONS[7]).ids
    assert notes["audited"] == 1
    assert notes["changed"] in (0, 1)
    assert notes["read"] == MOST


@pytest.mark.parametrize("on_drift", ["warn", "full"])
def test_broken_promises_sound_and_full_depth_follows_if_asked(
    depth: Depth, on_drift: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A depth far too bold for its rate warns once, without the question, and reads all if told."""
    bold = replace(depth, bar=0.95, error_rate=0.01, audit=1.0, patience=50.0, on_drift=on_drift)
    made = cascade(bold)
    stage = made.stages[1]
    assert isinstance(stage, sw.CrossEncoder)
    assert stage.watch is not None
    with caplog.at_level(logging.WARNING, logger="stepwell"):
        results = [made.search(f"live {at}") for at in range(150)]
    assert stage.watch.alarm == "more errors than promised"
    assert [each.getMessage() for each in caplog.records if "live" in each.getMessage()] == []
    assert len(caplog.records) == 1
    assert sum(each.trace.records[1].notes.get("alarm", 0) for each in results) == 1
    assert stage.watch.reads_all is (on_drift == "full")


def test_questions_that_need_other_reading_sound_without_any_audit(depth: Depth) -> None:
    """Where nothing is audited, a shift of how much is read is noticed, to both sides."""
    deeper, shallower = (Watch(replace(depth, patience=20.0)) for _ in "ab")
    for at in range(400):
        deeper.heard(f"q{at}", read=MOST, wrong=None)
        shallower.heard(f"q{at}", read=depth.k, wrong=None)
    assert deeper.alarm == "questions need more reading"
    assert shallower.alarm in ("questions need less reading", "")
    assert deeper.to_dict()["audited"] == 0
