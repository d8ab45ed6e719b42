"""What comes back from a model that somebody else wrote, checked before anything is built on it."""

from __future__ import annotations

from typing import Any

import numpy as np

from stepwell.errors import ConfigurationError
from stepwell.models.protocols import Vectors


def as_floats(values: Any, name: str, /) -> Vectors:
    """Return `values` (arrays, lists, tensors) as a float32 array.

    Raises:
        ConfigurationError: They are no numbers, or rows of differing length.
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    try:
        return np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{name} returned no array of numbers: {error}") from error


def all_finite(values: Vectors, name: str, /) -> None:
    """Raise where a NaN or an infinity is among `values`, saying for which text.

    Raises:
        ConfigurationError: With the model's name and the first position.
    """
    bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        message = f"{name} returned NaN or infinity for text {at} of {len(values)}"
        raise ConfigurationError(message)


def checked_vectors(values: Any, /, *, rows: int, dimension: int | None, name: str) -> Vectors:
    """Return a model's vectors as float32 rows of unit length; a zero vector stays zero.

    Raises:
        ConfigurationError: The shape is wrong, or a value is NaN or infinite.
    """
    vectors = as_floats(values, name)
    if rows == 0 and vectors.size == 0:
        return np.empty((0, dimension or 0), dtype=np.float32)
    wanted = f"({rows}, {dimension or 'd'})"
    right = vectors.ndim == 2 and len(vectors) == rows and vectors.shape[1] > 0
    if not right or (dimension is not None and vectors.shape[1] != dimension):
        raise ConfigurationError(f"{name} returned shape {vectors.shape} instead of {wanted}")
    all_finite(vectors, name)
    length = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    unit: Vectors = (vectors / np.where(length > 0, length, 1.0)).astype(np.float32)
    return unit


def checked_scores(values: Any, /, *, rows: int, name: str) -> Vectors:
    """Return a model's scores as a float32 array ``(rows,)``.

    Raises:
        ConfigurationError: The number of scores is wrong, or one is NaN or infinite.
    """
    scores = as_floats(values, name)
    if scores.ndim == 2 and scores.shape[1] == 1:
        scores = scores[:, 0]
    if scores.shape != (rows,):
        message = f"{name} returned scores of shape {scores.shape} for {rows} passages"
        raise ConfigurationError(message)
    all_finite(scores, name)
    return scores
