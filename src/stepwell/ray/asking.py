"""One query and its passages on their way to replicas: in parts, as far as the time goes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException

from stepwell.errors import RemoteError, StepwellError
from stepwell.models.protocols import PairScores
from stepwell.models.steps import Readings
from stepwell.ray.cluster import failed
from stepwell.watching import watcher

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5
"""Seconds between two tries: doubled, as a replica that died needs seconds to come back."""
RETURN = 0.02
"""Seconds that an answer may take on its way, a fifth of what is left at most: a replica that ends
so much earlier is heard with what it has read."""


class Asking:
    """One query's passages.

    Args:
        handle: Of the application on Ray Serve.
        app: Its name.
        query: What is asked.
        passages: In order.
        batch: Passages of a request.
        timeout: Seconds for one request, tries on other replicas counted.
        stop: Asked before each request; no request outlives its `deadline`.
    """

    def __init__(
        self,
        handle: Any,
        app: str,
        query: str,
        passages: Sequence[str],
        *,
        batch: int,
        timeout: float,
        stop: Callable[[], bool] | None,
    ) -> None:
        self._handle, self._app = handle, app
        self._query, self._passages = query, passages
        self._batch, self._timeout, self._stop = batch, timeout, stop
        self._deadline: float | None = getattr(stop, "deadline", None)
        self._made = Readings.none(len(passages))
        self._failed: dict[int, RemoteError] = {}
        self._silent: RemoteError | None = None
        self._over = False

    async def run(self, *, side_by_side: int) -> PairScores:
        """Ask until all have scores, it is time to stop, or a request fails for good.

        Scores that came after a gap are left out: their passages would pass better ones.

        Raises:
            RemoteError: Nothing was scored, and no deadline explains it.
            StepwellError: What the model itself refuses.
        """
        starts = iter(range(0, len(self._passages), self._batch))
        try:
            async with asyncio.TaskGroup() as lanes:
                for _ in range(side_by_side):
                    lanes.create_task(self._lane(starts))
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None
        values = self._made.values
        failure = self._failed[min(self._failed)] if self._failed else None
        missing = np.flatnonzero(np.isnan(values))
        if len(missing):
            values[missing[0] :] = np.nan
            if (end := getattr(self._stop, "end", None)) is not None:
                end()  # a replica saw the deadline before this side asked again
            told = failure or self._silent
            if told is not None and np.isnan(values).all():
                raise told
        unread = np.isnan(values)
        self._made.cut[unread], self._made.passes[unread] = False, 0
        made = self._made.scores()
        return PairScores(
            values, made.truncated, made.windows, cut=made.cut, passes=made.passes, failure=failure
        )

    async def _lane(self, starts: Iterator[int]) -> None:
        while not self._over:
            if self._stop is not None and self._stop():
                self._over = True
                return
            start = next(starts, None)
            if start is None:
                return
            part = slice(start, min(start + self._batch, len(self._passages)))
            try:
                made = await self._answered(part)
            except RemoteError as failure:
                self._failed[start] = failure
                made = None
            if made is None:
                self._over = True
                return
            self._made.put(part, _readings(made, part))
            if np.isnan(made.values).any():
                self._over = True

    async def _answered(self, part: slice) -> PairScores | None:
        """The scores of a request; None when the deadline came first."""
        until = time.monotonic() + self._timeout
        until = until if self._deadline is None else min(until, self._deadline)
        pause, reason, sent = FIRST_PAUSE, "no answer", False
        while (left := until - time.monotonic()) > 0:
            sent = True
            try:
                return await asyncio.wait_for(self._once(part, left), left)
            except TimeoutError:
                break
            except RayTaskError as error:
                raise _remote(failed(error, "scoring")) from error
            except (RayError, RayServeException) as error:
                # The replica or its node is gone, or too busy: another may answer.
                reason = type(error).__name__
            watcher().count("remote.retries", remote_api="ray")
            await asyncio.sleep(min(pause, max(until - time.monotonic(), 0.0)))
            pause = min(2 * pause, LONGEST_PAUSE)
        silent = RemoteError(
            f"the replicas of {self._app!r} on Ray did not answer in time ({reason})", api="ray"
        )
        if self._deadline is None or time.monotonic() < self._deadline:
            raise silent
        self._silent = silent if sent else self._silent
        return None

    async def _once(self, part: slice, left: float) -> PairScores:
        # Cancelled, as at the deadline, it is cancelled on its replica, too.
        if self._deadline is not None:
            left -= min(RETURN, 0.2 * left)
        made = await self._handle.score.remote(self._query, list(self._passages[part]), left)
        if isinstance(made, StepwellError):
            raise made
        if not isinstance(made, PairScores) or len(made.values) != part.stop - part.start:
            raise RemoteError(
                f"{self._app!r} on Ray answered something else than scores", api="ray"
            )
        return made


def _readings(made: PairScores, part: slice) -> Readings:
    n = part.stop - part.start
    read = ~np.isnan(made.values)
    cut = np.zeros(n, np.bool_) if made.cut is None else made.cut
    passes = read.astype(np.int32) if made.passes is None else made.passes
    return Readings(np.asarray(made.values, np.float32), cut, passes)


def _remote(error: StepwellError) -> RemoteError:
    return error if isinstance(error, RemoteError) else RemoteError(str(error), api="ray")
