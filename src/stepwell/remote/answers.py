"""What a server answered, read with suspicion."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from stepwell.errors import ModelError
from stepwell.models.protocols import Vectors
from stepwell.remote.shapes import Shape

LARGEST_SCORE = float(np.finfo(np.float32).max)


class BadAnswerError(ValueError):
    """The answer is none; the message says in what way, without quoting it."""


def scores_of(answer: Any, shape: Shape, n: int, *, name: str) -> Vectors:
    """The scores in the order of the passages, float32 (n,).

    Raises:
        BadAnswerError: A result is missing, doubled, out of range, or its score no finite number.
        ModelError: Another kind of score was promised.
    """
    results = answer if shape.results is None else _get(answer, shape.results)
    if not isinstance(results, list):
        raise BadAnswerError("it holds no list of results")
    values = np.full(n, np.nan, dtype=np.float32)
    for result in results:
        at, score = _get(result, "index"), _get(result, shape.score)
        if type(at) is not int or not 0 <= at < n:
            raise BadAnswerError(f"a result has index {at!r:.40}, of {n} passages")
        if not math.isnan(values[at]):
            raise BadAnswerError(f"two results have index {at}")
        if type(score) not in (int, float) or not abs(score) <= LARGEST_SCORE:
            raise BadAnswerError(f"the score of passage {at} is {str(score)[:40]}")
        values[at] = score
    missing = int(np.isnan(values).sum())
    if missing:
        raise BadAnswerError(f"{missing} of {n} passages have no score")
    least = {"probability": 0.0, "similarity": -1.0}.get(shape.kind)
    if least is not None and n and not (values.min() >= least and values.max() <= 1):
        raise ModelError(
            f"{name} answered scores outside {least:.0f} to 1, which are no {shape.kind}; "
            "pass kind='logit' to RemoteReranker, or 'similarity' for cosines",
            model=name,
        )
    return values


def message_of(answer: Any) -> str:
    """The server's own words on an error, in one line; empty if it has none."""
    for key in ("message", "detail", "error", "msg"):
        found = answer.get(key) if isinstance(answer, Mapping) else None
        if isinstance(found, list) and found:
            found = found[0]
        if isinstance(found, Mapping):
            return message_of(found)
        if isinstance(found, str):
            return " ".join(found.split())
    return ""


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else None
