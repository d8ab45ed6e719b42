"""A cross-encoder over an engine: tokenised once, cut into windows, batched by width."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from stepwell.models.batches import Engine, logits
from stepwell.models.checks import checked_scores
from stepwell.models.pairs import Joiner, Row
from stepwell.models.protocols import PairScores, ScoreKind
from stepwell.models.registry import Handle
from stepwell.models.steps import Pair, Readings, in_steps


@dataclass(frozen=True)
class Loaded:
    """What a scorer needs in memory, shared by all who ask for the same model."""

    engine: Engine
    joiner: Joiner
    length: int


class FastScorer:
    """A cross-encoder of transformers, run by an `Engine`.

    A `PairScorer` that returns logits. Every pair is tokenised once; rows are sorted by length and
    share a batch with rows of their own width only, so that a score depends on its pair alone.
    Copying or pickling a scorer copies no weights.
    """

    kind: ScoreKind = "logit"
    step = 16

    def __init__(
        self, model: Handle[Loaded], /, *, backend: str, length: int, max_windows: int = 4
    ) -> None:
        """Take a handle on the model; `load_auto` makes a scorer by name."""
        self._model = model
        self.backend = backend
        self.max_length = length
        self.max_windows = max_windows
        self.name = f"{model.key}@{length}"

    def score(
        self, query: str, passages: Sequence[str], /, *, stop: Callable[[], bool] | None = None
    ) -> PairScores:
        """Score passages in the order given; higher is better.

        Args:
            query: Keeps half of a row's room at least.
            passages: Long ones are read in overlapping windows, of which the best counts.
            stop: Asked before every 16 passages; what is left then stays NaN.

        Raises:
            ModelError: The model returned NaN or infinity.
        """
        size = self.step if stop is not None else max(len(passages), 1)
        return in_steps(self.read, query, passages, size=size, stop=stop)

    def read(self, pairs: Sequence[Pair], /) -> Readings:
        """Score pairs of any queries; rows of one width share a batch whatever query they are of.

        Raises:
            ModelError: The model returned NaN or infinity.
        """
        loaded = self._model()
        rows: list[Row] = []
        owner: list[int] = []
        cut = np.zeros(len(pairs), dtype=np.bool_)
        of_query: dict[str, list[int]] = {}
        for at, (query, _) in enumerate(pairs):
            of_query.setdefault(query, []).append(at)
        for query, members in of_query.items():
            asked = loaded.joiner.query(query, length=self.max_length)
            passages = [pairs[at][1] for at in members]
            made = loaded.joiner.rows(
                asked, passages, length=self.max_length, most=self.max_windows
            )
            rows += made.rows
            owner += [members[at] for at in made.owner]
            cut[members] = made.cut
        scores = checked_scores(logits(loaded.engine, rows), rows=len(rows), name=self.name)
        best = np.full(len(pairs), -np.inf, dtype=np.float32)
        np.maximum.at(best, owner, scores)
        return Readings(best, cut, np.bincount(owner, minlength=len(pairs)).astype(np.int32))

    def close(self) -> None:
        """Free the weights, for every holder; the next use loads them again."""
        self._model.close()
