"""What comes back from a model that somebody else wrote, checked before anything is built on it."""

from __future__ import annotations

from typing import Any

import numpy as np

from stepwell.errors import ModelError, kind_of
from stepwell.models.protocols import PairScores, Vectors


def as_floats(values: Any, name: str, /) -> Vectors:
    """Return `values` (arrays, lists, tensors) as a float32 array.

    Raises:
        ModelError: They are no numbers, or rows of differing length.
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    try:
        return np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        # Not chained: numpy quotes what it could not read.
        raise ModelError(
            f"{name} returned no array of numbers but a {kind_of(values)} of something else; "
            "make it return one number, or one row of them, for each text",
            model=name,
        ) from None


def all_finite(values: Vectors, name: str, /) -> None:
    """Raise where a NaN or an infinity is among `values`, saying for which text.

    Raises:
        ModelError: With the model's name and the first position.
    """
    bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        raise ModelError(
            f"{name} returned NaN or infinity for text {at} of {len(values)}; "
            "make it return finite numbers",
            model=name,
        )


def checked_vectors(values: Any, /, *, rows: int, dimension: int | None, name: str) -> Vectors:
    """Return a model's vectors as float32 rows of unit length; a zero vector stays zero.

    Raises:
        ModelError: The shape is wrong, or a value is NaN or infinite.
    """
    vectors = as_floats(values, name)
    if rows == 0 and vectors.size == 0:
        return np.empty((0, dimension or 0), dtype=np.float32)
    wanted = f"({rows}, {dimension or 'd'})"
    right = vectors.ndim == 2 and len(vectors) == rows and vectors.shape[1] > 0
    if not right or (dimension is not None and vectors.shape[1] != dimension):
        message = f"{name} returned shape {vectors.shape} instead of {wanted}, one row a text"
        raise ModelError(message, model=name)
    all_finite(vectors, name)
    length = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    unit: Vectors = (vectors / np.where(length > 0, length, 1.0)).astype(np.float32)
    return unit


def checked_tokens(values: Any, /, *, rows: int, name: str) -> list[Vectors]:
    """Return for each text its token vectors, float32 ``(tokens, d)``.

    Raises:
        ModelError: They are of another number of texts, no rows, or a value is NaN or infinite.
    """
    # Not float16: turning it back would take longer than all the products.
    made = [as_floats(each, name) for each in values]
    if len(made) != rows or any(each.ndim != 2 for each in made):
        shapes = f"{len(made)} arrays" if len(made) != rows else "arrays that are no rows"
        message = f"{name} returned {shapes} for {rows} texts; make it return (tokens, d) for each"
        raise ModelError(message, model=name)
    for at, each in enumerate(made):
        if not np.isfinite(each).all():
            raise ModelError(
                f"{name} returned NaN or infinite token vectors for text {at} of {rows}; "
                "make it return finite numbers",
                model=name,
            )
    return made


def checked_scores(values: Any, /, *, rows: int, name: str) -> Vectors:
    """Return a model's scores as a float32 array ``(rows,)``.

    Raises:
        ModelError: The number of scores is wrong, or one is NaN or infinite.
    """
    scores = as_floats(values, name)
    if scores.ndim == 2 and scores.shape[1] == 1:
        scores = scores[:, 0]
    if scores.shape != (rows,):
        raise ModelError(
            f"{name} returned scores of shape {scores.shape} for {rows} passages; "
            "make it return one number for each",
            model=name,
        )
    all_finite(scores, name)
    return scores


def checked_pairs(made: Any, /, *, rows: int, name: str) -> PairScores:
    """Return what a `PairScorer` made, if it is of `rows` passages; NaN stands for unscored.

    Raises:
        ModelError: It is something else, of another number of passages, or holds an infinity.
    """
    if not isinstance(made, PairScores):
        message = f"{name} returned a {kind_of(made)}; make its score() return PairScores"
        raise ModelError(message, model=name)
    values = as_floats(made.values, name)
    for what, each in (("values", values), ("cut", made.cut), ("passes", made.passes)):
        if each is not None and np.shape(each) != (rows,):
            raise ModelError(
                f"{name} returned {what} of shape {np.shape(each)} for {rows} passages; "
                "make it return one for each",
                model=name,
            )
    if np.isinf(values).any():
        message = f"{name} returned an infinite score; make it return finite numbers"
        raise ModelError(message, model=name)
    return made
