"""The embedded cross-encoder: reads query and passage together, with no torch and no download."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from stepwell.errors import ConfigurationError
from stepwell.models.embedded import checked_length
from stepwell.models.protocols import PairScores, ScoreKind, Vectors
from stepwell.models.runtime import (
    Embedded,
    embedded,
    manifest,
    side_by_side,
    tuned_revision,
)
from stepwell.models.steps import Pair, Readings, in_steps
from stepwell.models.texts import windows
from stepwell.threads import cores

QUERY_LENGTH = 64
# What a passage without a token gets, which the model would rank among the good ones. Irrelevant
# text has been seen to get 4 to 10; much less would press the others together in a blend.
EMPTY = 0.0
SPECIAL = 2


class EmbeddedScorer:
    """The packaged cross-encoder; a `PairScorer`.

    Its lower layers are the bi-encoder's and read a passage without the query, so their states are
    kept for a while (up to 64 MiB in the process) and a passage that comes again costs a third.
    A score depends on its pair alone. Copying or pickling a scorer copies no weights.

    Example:
        >>> best, other = EmbeddedScorer().score("capital of France", ["Paris", "a bus"]).values
        >>> bool(best > other)
        True
    """

    kind: ScoreKind = "logit"
    # Where a probability is a half, and how far from there it is 0.73. Fitted with both classes
    # weighted alike to BM25's first 20 for questions of SQuAD, NFCorpus and product documentation,
    # whose middles are 13.9, 19.1 and 16.7: the training orders passages and leaves the zero open.
    logistic = (16.5, 2.0)

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        max_length: int | None = None,
        max_windows: int = 4,
    ) -> None:
        """Make a scorer that reads up to `max_windows` windows of `max_length` tokens.

        Args:
            folder: Of a ranker that `stepwell finetune` made; None for the packaged one.
            max_length: Tokens of a passage read at once, 256 at most.
            max_windows: Windows of a long passage, 1 or more.
        """
        self.max_length = checked_length(max_length)
        if type(max_windows) is not int or max_windows < 1:
            raise ConfigurationError(f"max_windows must be 1 or more, not {max_windows!r}")
        self.max_windows = max_windows
        self._model = embedded()
        self._graph = "joint"
        self._revision: str | None = None
        if folder is not None:
            # An absolute name: the trunk and what it read are shared with the packaged ranker.
            self._graph = str(Path(folder).resolve() / "joint")
            self._revision = tuned_revision(Path(folder))

    @property
    def name(self) -> str:
        """Model, revision, precision and tokens read at once, in one string."""
        revision = self._revision or manifest()["revision"]["scorer"]
        return f"stepwell-joint@{revision}@int8@{self.max_length}"

    def score(
        self, query: str, passages: Sequence[str], /, *, stop: Callable[[], bool] | None = None
    ) -> PairScores:
        """Score passages in the order given; higher is better.

        Args:
            query: Its first 64 tokens are read.
            passages: Long ones are read in overlapping windows, of which the best counts; one
                without a word or a sign gets 0, less than any other.
            stop: Asked between batches of a few passages; what is left then stays NaN.
        """
        # Small steps where time is short: one is the most that a deadline can be overrun by.
        size = self.step if stop is not None else 4 * self.step
        return in_steps(self.read, query, passages, size=size, stop=stop)

    @property
    def step(self) -> int:
        """A pair for each core."""
        return cores()

    def read(self, pairs: Sequence[Pair], /) -> Readings:
        """Score pairs of any queries, side by side on all cores."""
        model = self._model()
        asked = {query: self._asked(model, query) for query in {query for query, _ in pairs}}

        def work(pair: Pair) -> tuple[float, bool, int]:
            return self._best(model, asked[pair[0]], pair[1])

        made = np.array(list(side_by_side(work, list(pairs))), dtype=np.float64).reshape(-1, 3)
        values, cut, passes = made.T
        return Readings(values.astype(np.float32), cut.astype(np.bool_), passes.astype(np.int32))

    def close(self) -> None:
        """Free the weights, for every holder; the next use loads them again."""
        self._model.close()

    def _asked(self, model: Embedded, query: str) -> Vectors:
        ids, _ = windows(model.tokenizer, query, length=QUERY_LENGTH)
        return model.states(ids[0], keep=True).astype(np.float32)

    def _best(self, model: Embedded, asked: Vectors, text: str) -> tuple[float, bool, int]:
        cuts, unread = windows(model.tokenizer, text, length=self.max_length, most=self.max_windows)
        if len(cuts[0]) == SPECIAL:
            return EMPTY, unread, 0
        scores = [
            model.run(self._graph, query=asked, passage=model.states(ids, keep=True).astype("f"))[
                0
            ][0]
            for ids in cuts
        ]
        return float(max(scores)), unread, len(cuts)
