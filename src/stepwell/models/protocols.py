"""What a model must offer: a vector for a text, vectors for its tokens, a score for a pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from stepwell.errors import RemoteError

Kind: TypeAlias = Literal["passage", "query"]
ScoreKind: TypeAlias = Literal["logit", "probability", "similarity"]
Vectors: TypeAlias = NDArray[np.float32]


@runtime_checkable
class Encoder(Protocol):
    """Turns texts into vectors; two texts that mean alike have a high dot product."""

    @property
    def name(self) -> str:
        """Model, revision and precision in one string; a corpus records it with its vectors."""
        ...

    @property
    def dimension(self) -> int:
        """Length of one vector."""
        ...

    def encode(self, texts: Sequence[str], /, *, kind: Kind = "passage") -> Vectors:
        """Return one unit-length float32 row per text, shape ``(len(texts), dimension)``."""
        ...


@runtime_checkable
class TokenEncoder(Protocol):
    """Turns texts into one vector per token, for late interaction (MaxSim)."""

    @property
    def name(self) -> str:
        """Model, revision and precision in one string."""
        ...

    def encode_tokens(self, texts: Sequence[str], /, *, kind: Kind = "passage") -> list[Vectors]:
        """Return for each text a float32 array ``(tokens, d)`` whose rows have unit length."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class PairScores:
    """What a pair scorer made of one query and its passages.

    Attributes:
        values: float32, shape ``(n,)``, higher is better; NaN where `stop` ended the work first.
        truncated: Passages of which some text was not read.
        windows: Forward passes made; more than the passages where long ones were split.
        cut: bool, shape ``(n,)``, which passages were truncated; None if the scorer does not say.
        passes: int32, shape ``(n,)``, windows that each passage is read in, 0 where it has no text
            or `stop` ended the work first; None if the scorer does not say.
        failure: What ended the work in place of `stop`, after some were scored; None if nothing.
    """

    values: Vectors
    truncated: int = 0
    windows: int = 0
    cut: NDArray[np.bool_] | None = None
    passes: NDArray[np.int32] | None = None
    failure: RemoteError | None = None


@runtime_checkable
class PairScorer(Protocol):
    """Reads a query and a passage together and says how well the passage answers it."""

    @property
    def name(self) -> str:
        """Model, revision and precision in one string."""
        ...

    @property
    def kind(self) -> ScoreKind:
        """What the numbers are: a raw logit, a probability in 0..1 or a similarity."""
        ...

    def score(
        self, query: str, passages: Sequence[str], /, *, stop: Callable[[], bool] | None = None
    ) -> PairScores:
        """Score passages in the order given, asking `stop` between batches whether to end early.

        A passage longer than the model reads is split into overlapping windows and keeps the score
        of its best one.
        """
        ...
