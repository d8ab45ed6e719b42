"""One model for many callers: their pairs share its batches."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Sequence
from concurrent import futures
from functools import partial
from typing import Any

import numpy as np

from stepwell.errors import ConfigurationError
from stepwell.models.checks import checked_pairs
from stepwell.models.loading import ScorerSpec, load_scorer
from stepwell.models.protocols import PairScorer, PairScores, ScoreKind
from stepwell.models.queue import Queue
from stepwell.models.steps import Pair, Readings, ReadsPairs

# Pairs that keep a scorer busy which does not say.
STEP = 16


class SharedScorer:
    """A `PairScorer` that many callers use at once: their pairs share the model's batches.

    What each gets is what it would get alone. Requests are served in the order of arrival, by
    turns of 32 pairs; one whose deadline comes is answered with what is read; one that is
    cancelled frees its place. Awaited (`ascore`), it holds no thread.

    Args:
        model: As in `CrossEncoder`, which makes one of these by itself for the embedded model and
            for named ones. Models by name are shared by all scorers of the process.
        limit: Pairs that may wait; beyond, `OverloadedError`.
        wait: Seconds that a request too small to keep the machine busy waits for others.

    Raises:
        ConfigurationError: `limit` is below 1, or `wait` negative.

    Example:
        >>> scorer = SharedScorer(lambda query, passages: [len(each) for each in passages])
        >>> scorer.score("q", ["a", "bc"]).values.tolist()
        [1.0, 2.0]
    """

    def __init__(self, model: ScorerSpec = None, *, limit: int = 4096, wait: float = 0.002) -> None:
        if type(limit) is not int or limit < 1:
            raise ConfigurationError(f"limit must be 1 pair or more, not {limit!r}")
        if type(wait) not in (int, float) or not 0 <= wait <= 1:
            raise ConfigurationError(f"wait must be 0 to 1 seconds, not {wait!r}")
        self.scorer = load_scorer(model)
        self._made_of = (limit, wait)
        self._queue = _queue(self.scorer, *self._made_of)

    @classmethod
    def common(cls, scorer: PairScorer, /) -> SharedScorer:
        """One whose queue is that of all scorers in the process that are alike.

        Args:
            scorer: Its name and settings must stand for all that changes its scores.
        """
        made = cls(scorer)
        alike = (scorer.name, scorer.kind, *(getattr(scorer, each, None) for each in SETTINGS))
        made._queue = _COMMON.setdefault(alike, made._queue)
        return made

    def __repr__(self) -> str:
        return f"SharedScorer({self.scorer.name!r})"

    def __copy__(self) -> SharedScorer:
        return self  # nothing in it changes but the queue, which is shared on purpose

    def __deepcopy__(self, _: dict[int, Any]) -> SharedScorer:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.scorer, *self._made_of, self._queue in _COMMON.values())

    @property
    def name(self) -> str:
        """The inner scorer's name."""
        return self.scorer.name

    @property
    def kind(self) -> ScoreKind:
        """What the inner scorer's numbers are."""
        return self.scorer.kind

    @property
    def backend(self) -> str | None:
        """What runs the inner scorer, if it says."""
        return getattr(self.scorer, "backend", None)

    @property
    def max_length(self) -> int | None:
        """Tokens that the inner scorer reads at once, if it says."""
        return getattr(self.scorer, "max_length", None)

    @property
    def max_windows(self) -> int | None:
        """Windows of a long passage that the inner scorer reads, if it says."""
        return getattr(self.scorer, "max_windows", None)

    def score(
        self, query: str, passages: Sequence[str], /, *, stop: Callable[[], bool] | None = None
    ) -> PairScores:
        """Score passages in the order given, in batches with what others ask.

        Args:
            query: What is asked.
            passages: Best first, if there is a deadline.
            stop: As a scorer takes it; where it has a `deadline`, in `time.monotonic()` seconds,
                the call ends by then.

        Raises:
            OverloadedError: Too many pairs wait already.
        """
        if not len(passages):
            return Readings.none(0).scores()
        request = self._queue.submit([(query, passage) for passage in passages], stop)
        try:
            while not request.done.done():
                futures.wait([request.done], request.patience)
                if not request.done.done() and request.is_over():
                    request.end()
            return request.scores()
        finally:
            request.done.cancel()

    async def ascore(
        self, query: str, passages: Sequence[str], /, *, stop: Callable[[], bool] | None = None
    ) -> PairScores:
        """`score`, awaited; when the awaiting task is cancelled, what is not read never is."""
        if not len(passages):
            return Readings.none(0).scores()
        request = self._queue.submit([(query, passage) for passage in passages], stop)
        done = asyncio.wrap_future(request.done)
        done.add_done_callback(_heard)
        try:
            while not request.done.done():
                await asyncio.wait([done], timeout=request.patience)
                if not request.done.done() and request.is_over():
                    request.end()
            return request.scores()
        finally:
            request.done.cancel()

    def close(self) -> None:
        """Free the model, for every holder; the next use loads it again."""
        close = getattr(self.scorer, "close", None)
        if close is not None:
            close()


# Queues of models by name.
_COMMON: weakref.WeakValueDictionary[Any, Queue] = weakref.WeakValueDictionary()
SETTINGS = ("backend", "max_length", "max_windows")


def _again(scorer: PairScorer, limit: int, wait: float, common: bool) -> SharedScorer:
    return SharedScorer.common(scorer) if common else SharedScorer(scorer, limit=limit, wait=wait)


def _queue(scorer: PairScorer, limit: int, wait: float) -> Queue:
    if isinstance(scorer, ReadsPairs):
        return Queue(scorer.read, step=scorer.step, limit=limit, wait=wait)
    return Queue(partial(_by_query, scorer), step=STEP, limit=limit, wait=wait)


def _heard(done: asyncio.Future[Readings]) -> None:
    """Take note of an error, which the request itself raises, or asyncio logs it as lost."""
    if not done.cancelled():
        done.exception()


def _by_query(scorer: PairScorer, pairs: list[Pair]) -> Readings:
    """Pairs of several queries, to a scorer that takes one query at a time."""
    whole = Readings.none(len(pairs))
    of_query: dict[str, list[int]] = {}
    for at, (query, _) in enumerate(pairs):
        of_query.setdefault(query, []).append(at)
    for query, members in of_query.items():
        passages = [pairs[at][1] for at in members]
        made = scorer.score(query, passages)
        made = checked_pairs(made, rows=len(passages), name=scorer.name)
        # Where only the total is told, it was the longest that were cut.
        longest = np.argsort([-len(passage) for passage in passages], kind="stable")
        cut = np.isin(np.arange(len(passages)), longest[: made.truncated])
        whole.values[members] = made.values
        whole.cut[members] = cut if made.cut is None else made.cut
        whole.passes[members] = 1 if made.passes is None else made.passes
    return whole
