"""Probabilities stand beside the scores, and may leave nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stepwell as sw
from stepwell.calibrator import Calibrator, Isotonic, Platt
from stepwell.models.protocols import PairScores
from stepwell.testing import WordScorer

DOCUMENTS = [sw.Document(id, text) for id, text in [("a", "one two"), ("b", "two"), ("c", "no")]]


def calibrator(**options: Any) -> Calibrator:
    about = {"stage": "words", "kind": "similarity", "model": "shared words"}
    return Calibrator(Platt(4.0, -2.0), **{**about, **options})


def cascade(at_least: float | None = None, **options: Any) -> sw.Cascade:
    words = sw.CrossEncoder(WordScorer(), name="words", blend=0.5)
    return sw.Cascade([words, sw.Probability(calibrator(**options), at_least=at_least)])


def test_probabilities_are_a_column_and_order_nothing() -> None:
    """Order and score are those of the cascade without it; each hit has its probability."""
    bare = sw.Cascade(cascade().stages[:1]).rank("one two", DOCUMENTS)
    found = cascade().rank("one two", DOCUMENTS)
    assert [(hit.id, hit.score) for hit in found] == [(hit.id, hit.score) for hit in bare]
    said = [hit.scores["probability"] for hit in found]
    assert said == pytest.approx([1 / (1 + np.exp(-2)), 0.5, 1 / (1 + np.exp(2))])
    assert found.kinds["probability"] == "probability"
    assert found.kind == bare.kind


@settings(max_examples=50)
@given(
    scores=st.lists(st.floats(-5, 5), min_size=1, max_size=20),
    least=st.none() | st.floats(0, 1),
    curve=st.sampled_from([Platt(1.0, 0.0), Isotonic((-1.0, 0.0, 1.0), (0.1, 0.1, 0.9))]),
)
def test_the_order_never_changes(
    scores: list[float], least: float | None, curve: Platt | Isotonic
) -> None:
    """What is answered is what came in, in its order, without what is below the threshold."""
    documents = [sw.Document(str(at), "x") for at in range(len(scores))]
    made = Calibrator(curve, stage="given")
    only = sw.Cascade([sw.Probability(made, at_least=least)])
    found = only.rank("q", documents, scores=scores)
    said = dict(zip([each.id for each in documents], made.probabilities(scores)))
    assert found.ids == [id for id, p in said.items() if least is None or p >= least]


def test_nothing_relevant_is_an_answer() -> None:
    """All below the threshold: empty, not degraded, never back-filled, and it says why."""
    found = cascade(0.6).rank("three four", DOCUMENTS, k=3)
    assert found.hits == ()
    assert not found.degraded
    assert found.empty_because == "nothing relevant: probability below 0.6 (best 0.119)"
    assert found.trace.to_dict()["empty_because"] == found.empty_because
    assert found.trace.why("a").reason == "probability below 0.6"


def test_what_is_probable_enough_passes() -> None:
    """The threshold itself passes; asking for more does not bring back what it left out."""
    found = cascade(0.5).rank("one two", DOCUMENTS, k=3)
    assert found.ids == ["a", "b"]
    assert found.empty_because == ""


def test_a_score_that_never_came_leaves_nothing_out() -> None:
    """When the stage that is read failed, all documents stay and the trace says so."""

    def broken(query: str, texts: list[str]) -> list[float]:
        raise OSError("no model")

    stages = [
        sw.CrossEncoder(broken, name="words"),
        sw.Probability(calibrator(kind="logit", model=""), at_least=0.9),
    ]
    found = sw.Cascade(stages).rank("one", DOCUMENTS)
    assert len(found) == 3
    assert found.degraded
    assert found.trace.records[1].notes == {"not_applied": "words did not score"}


def test_what_was_not_scored_does_not_pass() -> None:
    """A candidate beyond the depth has no probability, so it is left out with a threshold alone."""
    words = sw.CrossEncoder(WordScorer(), name="words", depth=1, blend=1.0)
    probable = sw.Probability(calibrator())
    found = sw.Cascade([words, probable]).rank("one two", DOCUMENTS)
    assert ["probability" in hit.scores for hit in found] == [True, False, False]
    strict = sw.Cascade([words, sw.Probability(calibrator(), at_least=0.0)])
    assert strict.rank("one two", DOCUMENTS).ids == ["a"]


class HalfRead:
    """A scorer whom the deadline stops after the first passage."""

    name, kind = "shared words", "similarity"

    def score(self, query: str, passages: Any, /, *, stop: Any = None) -> PairScores:
        if stop is not None:
            stop.end()
        return PairScores(np.array([0.0] + [np.nan] * (len(passages) - 1), np.float32))


@pytest.mark.parametrize("k", [None, 1, 2])
def test_nothing_is_said_of_what_a_deadline_left_unread(k: int | None) -> None:
    """It speaks of those read alone and counts the others, even those that a cut dropped."""
    words = sw.CrossEncoder(HalfRead(), k=k, name="words")
    stages = [words, sw.Probability(calibrator(), at_least=0.5)]
    found = sw.Cascade(stages).rank("q", DOCUMENTS, deadline=60.0)
    assert found.hits == ()
    assert found.degraded
    assert found.empty_because == (
        "nothing relevant among those read: probability below 0.5 (best 0.119); 2 not read"
    )


def test_nothing_is_said_of_what_is_beyond_a_depth() -> None:
    """A depth is no failure, but what it left is not called irrelevant."""
    words = sw.CrossEncoder(WordScorer(), k=None, name="words", depth=1, blend=1.0)
    stages = [words, sw.Probability(calibrator(), at_least=0.5)]
    found = sw.Cascade(stages).rank("no", DOCUMENTS)
    assert not found.degraded
    assert found.empty_because == (
        "nothing relevant among those read: probability below 0.5 (best 0.119); 2 not read"
    )
    assert "nothing relevant:" not in found.trace.records[1].notes["nothing"]


def test_a_deeper_pool_than_it_was_fitted_to_is_noted() -> None:
    """More candidates than in fitting: the trace says how many of each."""
    notes = cascade(depth=2).rank("one two", DOCUMENTS).trace.records[1].notes
    assert notes == {"calibrated_for": 2, "scored": 3}
    assert not cascade(depth=3).rank("one two", DOCUMENTS).trace.records[1].notes


def test_another_model_kind_or_stage_is_refused() -> None:
    """As the cascade is built, with what to run."""
    with pytest.raises(sw.ConfigurationError, match=r"'other@2', but stage 'words'.*calibrate"):
        cascade(model="other@2")
    with pytest.raises(sw.ConfigurationError, match=r"of the kind 'logit', but those of 'words'"):
        cascade(kind="logit")
    with pytest.raises(sw.ConfigurationError, match="no stage is named 'dense'"):
        cascade(stage="dense")


@pytest.mark.parametrize("wrong", [1.5, -0.1, float("nan"), "0.5", True])
def test_a_threshold_that_is_no_probability_is_refused(wrong: Any) -> None:
    """It must be a number from 0 to 1."""
    with pytest.raises(sw.ConfigurationError, match="at_least must be a probability"):
        sw.Probability(calibrator(), at_least=wrong)


def test_a_cascade_file_holds_the_calibrator(tmp_path: Path) -> None:
    """What is read back says the same probabilities, to the last bit."""
    file = tmp_path / "calibrated.toml"
    made = sw.Probability(calibrator(stage="cross-encoder", kind="logit", model=""), at_least=0.25)
    sw.Cascade([sw.CrossEncoder(), made]).save(file)
    back = sw.Cascade.load(file).stages[1]
    assert isinstance(back, sw.Probability)
    assert (back.calibrator, back.at_least) == (made.calibrator, made.at_least)
    file.write_text(
        file.read_text().replace(
            "[stage.calibrator]\nversion = 1", "[stage.calibrator]\nversion = 9"
        )
    )
    with pytest.raises(sw.ConfigurationError, match=r"stage 2.*version 9.*run stepwell calibrate"):
        sw.Cascade.load(file)
