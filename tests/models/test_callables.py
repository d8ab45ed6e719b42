from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stepwell.errors import ModelError
from stepwell.models import load_encoder, load_scorer


def lengths(texts: list[str]) -> list[list[float]]:
    return [[float(len(text)), 1.0] for text in texts]


def shared_words(query: str, passages: list[str]) -> list[float]:
    return [float(len(set(query.split()) & set(p.split()))) for p in passages]


def test_callable_encoder() -> None:
    """A function from texts to vectors becomes an encoder with unit rows and a lasting name."""
    encoder = load_encoder(lengths)
    np.testing.assert_allclose(encoder.encode(["abc"]), [[3 / 10**0.5, 1 / 10**0.5]], rtol=1e-6)
    assert encoder.dimension == 2
    assert encoder.name.endswith("lengths")
    assert load_encoder(lengths, name="mine").name == "mine"


def test_dimension_before_any_text() -> None:
    """The dimension of a function is found without a text from the caller."""
    assert load_encoder(lengths).dimension == 2


def test_zero_vector_stays_zero() -> None:
    """A vector of no length has no direction: it is kept, and no NaN comes of it."""
    assert load_encoder(lambda texts: np.zeros((len(texts), 3))).encode(["a"]).tolist() == [[0] * 3]


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        ([[1.0, float("nan")], [1.0, 1.0]], "NaN or infinity for text 0"),
        ([[1.0, 1.0], [1.0, float("inf")]], "NaN or infinity for text 1"),
        ([[1.0, 1.0]], "shape"),
        ([1.0, 1.0], "shape"),
        ([[1.0], [1.0, 2.0]], "no array of numbers"),
        ("text", "no array of numbers"),
        (None, "shape"),
    ],
)
def test_bad_vectors_are_refused(returned: Any, says: str) -> None:
    """An encoder that returns something else than finite rows is named in a typed error."""
    encoder = load_encoder(lambda texts: returned, name="mine")
    with pytest.raises(ModelError, match=rf"mine returned .*{says}"):
        encoder.encode(["a", "b"])


def test_dimension_may_not_change() -> None:
    """An encoder whose vectors change their length is refused at the second call."""
    encoder = load_encoder(lambda texts: np.ones((len(texts), len(texts))))
    encoder.encode(["a"])
    with pytest.raises(ModelError, match="shape"):
        encoder.encode(["a", "b"])


def test_callable_scorer() -> None:
    """A function from a query and passages to scores becomes a scorer, asked once."""
    scorer = load_scorer(shared_words)
    scores = scorer.score("the log", ["the log file", "a bus"])
    assert scores.values.tolist() == [2.0, 0.0]
    assert scores.windows == 2


def test_callable_scorer_stops() -> None:
    """With a `stop` the passages go in batches, and what is left stays NaN."""
    answers = iter([False, True])
    scores = load_scorer(shared_words).score("a", ["a"] * 50, stop=lambda: next(answers))
    assert np.isfinite(scores.values).sum() == 32


@pytest.mark.parametrize("returned", [[1.0], [[1.0, 2.0]], [1.0, float("nan")], "ab", None])
def test_bad_scores_are_refused(returned: Any) -> None:
    """A scorer that returns another number of scores, or NaN, is named in a typed error."""
    scorer = load_scorer(lambda query, passages: returned, name="mine")
    with pytest.raises(ModelError, match="mine returned"):
        scorer.score("q", ["a", "b"])
