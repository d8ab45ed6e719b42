"""Encoders and scorers made of a plain callable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from stepwell.models.checks import checked_scores, checked_vectors
from stepwell.models.protocols import Kind, PairScores, ScoreKind, Vectors

BATCH = 32


def name_of(function: Callable[..., Any], /) -> str:
    """Return a name that a callable keeps from one run of a program to the next."""
    target = function if hasattr(function, "__qualname__") else type(function)
    return f"{target.__module__}.{target.__qualname__}"


class ForeignEncoder:
    """An `Encoder` around what somebody else wrote; a subclass says how that is called.

    Its dimension is found by the first call, and every answer is checked against it.
    """

    def __init__(self, name: str) -> None:
        """Take the name that a corpus records."""
        self.name = name
        self._dimension: int | None = None

    @property
    def dimension(self) -> int:
        """Length of one vector, found by encoding a word if nothing has been encoded yet."""
        if self._dimension is None:
            self.encode(["dimension"])
        return self._dimension or 0

    def encode(self, texts: Sequence[str], /, *, kind: Kind = "passage") -> Vectors:
        """Return unit-length float32 rows.

        Raises:
            ModelError: They came in another shape, or with NaN or infinity.
        """
        values = self._made(list(texts), kind) if len(texts) else []
        vectors = checked_vectors(
            values, rows=len(texts), dimension=self._dimension, name=self.name
        )
        if len(texts):
            self._dimension = vectors.shape[1]
        return vectors

    def _made(self, texts: list[str], kind: Kind, /) -> Any:
        raise NotImplementedError


class CallableEncoder(ForeignEncoder):
    """An `Encoder` made of a function from a list of texts to one vector each."""

    def __init__(self, function: Callable[[list[str]], Any], /, *, name: str | None = None) -> None:
        """Wrap `function`; give a `name` if a corpus should tell it from other functions."""
        super().__init__(name or name_of(function))
        self._function = function

    def _made(self, texts: list[str], kind: Kind, /) -> Any:
        return self._function(texts)  # queries and passages alike


class CallableScorer:
    """A `PairScorer` made of a function from a query and a list of passages to scores."""

    kind: ScoreKind = "logit"

    def __init__(
        self, function: Callable[[str, list[str]], Sequence[float]], /, *, name: str | None = None
    ) -> None:
        """Wrap `function`, whose scores are the better the higher."""
        self._function = function
        self.name = name or name_of(function)

    def score(
        self, query: str, passages: Sequence[str], /, *, stop: Callable[[], bool] | None = None
    ) -> PairScores:
        """Score passages in the order given, in one call, or 32 a call where `stop` is given.

        Raises:
            ModelError: The function returned another number of scores, NaN or infinity.
        """
        values = np.full(len(passages), np.nan, dtype=np.float32)
        step = max(len(passages), 1) if stop is None else BATCH
        calls = 0
        for start in range(0, len(passages), step):
            if stop is not None and stop():
                break
            part = list(passages[start : start + step])
            scores = checked_scores(self._function(query, part), rows=len(part), name=self.name)
            values[start : start + len(part)] = scores
            calls += len(part)
        return PairScores(values, windows=calls)
