"""A cross-encoder over an engine: tokenised once, cut into windows, batched by width."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from stepwell.models.batches import Engine, logits
from stepwell.models.checks import checked_scores
from stepwell.models.pairs import Joiner
from stepwell.models.protocols import PairScores, ScoreKind
from stepwell.models.registry import Handle

# Passages read between two looks at the clock.
CHUNK = 16


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
            ConfigurationError: The model returned NaN or infinity.
        """
        values = np.full(len(passages), np.nan, dtype=np.float32)
        cut = np.zeros(len(passages), dtype=np.bool_)
        passes = np.zeros(len(passages), dtype=np.int32)
        if not len(passages):
            return PairScores(values, cut=cut, passes=passes)
        loaded = self._model()
        asked = loaded.joiner.query(query, length=self.max_length)
        step = CHUNK if stop is not None else len(passages)
        for start in range(0, len(passages), step):
            if stop is not None and stop():
                break
            end = min(start + step, len(passages))
            read = loaded.joiner.rows(
                asked, passages[start:end], length=self.max_length, most=self.max_windows
            )
            found = logits(loaded.engine, read.rows)
            scores = checked_scores(found, rows=len(read.rows), name=self.name)
            best = np.full(end - start, -np.inf, dtype=np.float32)
            np.maximum.at(best, read.owner, scores)
            values[start:end], cut[start:end] = best, read.cut
            passes[start:end] = np.bincount(read.owner, minlength=end - start)
        return PairScores(values, int(cut.sum()), int(passes.sum()), cut=cut, passes=passes)

    def close(self) -> None:
        """Free the weights, for every holder; the next use loads them again."""
        self._model.close()
