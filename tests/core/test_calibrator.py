"""A calibrator is monotone, stays from 0 to 1, and comes back from a file as it was."""

from __future__ import annotations

import tomllib
from typing import Any

import numpy as np
import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from stepwell import ConfigurationError
from stepwell.calibrator import VERSION, Calibrator, Isotonic, Platt
from stepwell.meaning import MEANINGS

numbers = st.floats(-1e9, 1e9, allow_subnormal=False)
platts = st.builds(Platt, st.floats(1e-6, 1e6), numbers)


@st.composite
def isotonics(draw: st.DrawFn) -> Isotonic:
    scores = sorted(draw(st.sets(numbers, min_size=1, max_size=12)))
    levels = draw(st.lists(st.floats(0, 1), min_size=len(scores), max_size=len(scores)))
    return Isotonic(tuple(scores), tuple(sorted(levels)))


calibrators = st.builds(
    Calibrator,
    platts | isotonics(),
    stage=st.text(st.characters(codec="ascii", categories=["L"]), min_size=1),
    kind=st.sampled_from([None, *MEANINGS]),
    model=st.sampled_from(["", "a model@1 int8"]),
    depth=st.integers(0, 1000),
    queries=st.integers(0, 10**6),
)


@given(calibrators, st.lists(numbers, max_size=40))
def test_a_higher_score_is_never_less_probable(made: Calibrator, scores: list[float]) -> None:
    """Probabilities are from 0 to 1 and never fall as the score rises; equal scores stay equal."""
    found = made.probabilities(np.sort(np.array(scores)))
    assert (np.diff(found) >= 0).all()
    assert ((found >= 0) & (found <= 1)).all()
    assert made.probabilities([*scores, *scores]).tolist() == [*made.probabilities(scores)] * 2


@given(calibrators)
def test_a_file_gives_back_the_same(made: Calibrator) -> None:
    """Through TOML it is equal, to the last bit of its numbers."""
    text = tomlkit.dumps(made.to_dict())
    assert Calibrator.from_dict(tomllib.loads(text)) == made


def test_what_has_no_score_has_no_probability() -> None:
    """NaN stays NaN; an empty list stays empty."""
    for curve in (Platt(1.0, 0.0), Isotonic((0.0, 1.0), (0.2, 0.8))):
        made = Calibrator(curve, stage="s")
        assert np.isnan(made.probabilities([np.nan, 1.0])).tolist() == [True, False]
        assert made.probabilities([]).shape == (0,)


def test_isotonic_is_flat_beyond_its_ends() -> None:
    """Between two steps it is a line, outside them the last step goes on."""
    made = Calibrator(Isotonic((0.0, 2.0), (0.2, 0.8)), stage="s")
    assert made.probabilities([-9, 0, 1, 2, 9]).tolist() == pytest.approx([0.2, 0.2, 0.5, 0.8, 0.8])


GOOD = Calibrator(Platt(2.0, -1.0), stage="cross-encoder").to_dict()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": VERSION + 1}, "version 2; this Stepwell reads 1: run stepwell calibrate"),
        ({"version": None}, "version None"),
        ({"method": "magic"}, "platt or isotonic"),
        ({"slope": None}, "lacks 'slope'"),
        ({"slope": -1.0}, "slope must be above 0"),
        ({"slope": "2"}, "must be finite"),
        ({"intercept": float("nan")}, "must be finite"),
        ({"stage": ""}, "name the stage"),
        ({"stage": None}, "no use"),
        ({"kind": "logits"}, "no kind of score"),
        ({"depth": -1}, "must be a count"),
        ({"colour": "red"}, "no use"),
        ({"method": "isotonic", "scores": [1.0, 0.0], "probabilities": [0, 1]}, "must rise"),
        ({"method": "isotonic", "scores": [0, 1], "probabilities": [0.0, 1.5]}, "from 0 to 1"),
        ({"method": "isotonic", "scores": [0, 1], "probabilities": [0.9, 0.1]}, "not fall"),
        ({"method": "isotonic", "scores": [0.0], "probabilities": []}, "as many scores"),
        ({"method": "isotonic", "scores": 3, "probabilities": [0.0]}, "must be numbers"),
    ],
)
def test_a_faulty_calibrator_is_refused(change: dict[str, Any], said: str) -> None:
    """The error says what is wrong, and of another version what to run."""
    table = {**GOOD, **change}
    if change.get("method") == "isotonic":
        del table["slope"], table["intercept"]
    table = {name: value for name, value in table.items() if value is not None}
    with pytest.raises(ConfigurationError, match=said):
        Calibrator.from_dict(table)
