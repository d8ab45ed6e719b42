"""One query and its passages on their way to a server: in requests, as far as they come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np

from stepwell.documents import well_formed
from stepwell.errors import RemoteError
from stepwell.models.protocols import PairScores, ScoreKind, Vectors
from stepwell.remote.passages import cut, parts
from stepwell.remote.retrying import Retryable, retrying
from stepwell.remote.server import Server, TooLongError

if TYPE_CHECKING:
    import httpx

SHORTEST = 200
"""Characters; where not even this much of a passage is taken, something else is wrong."""
# The server has too much to do: one request at a time from here.
BUSY = frozenset({429, 503, 529})


class Call:
    """One query's passages.

    Args:
        server: What is asked.
        model: The model's name or None.
        query: What is asked for.
        passages: A blank one is not sent: some APIs refuse a whole request for it.
        longest: Characters of a passage that are sent.
        batch: Passages of a request.
        attempts: How often a request is made at most.
        timeout: Seconds for one request.
        stop: Asked before each request; no request outlives its `deadline`.
    """

    def __init__(
        self,
        server: Server,
        model: str | None,
        query: str,
        passages: Sequence[str],
        *,
        longest: int,
        batch: int,
        attempts: int,
        timeout: float,
        stop: Callable[[], bool] | None,
    ) -> None:
        self.server, self.model, self.query, self.passages = server, model, query, passages
        self.longest, self.batch, self.attempts = longest, batch, attempts
        self.timeout, self.stop = timeout, stop
        self.deadline: float | None = getattr(stop, "deadline", None)
        self._over = self._busy = False
        self._alone = asyncio.Lock()
        self._failed: dict[int, RemoteError] = {}
        self._silent: RemoteError | None = None

    async def run(self, client: httpx.AsyncClient, *, side_by_side: int) -> PairScores:
        """Ask until all have scores, it is time to stop, or a request fails for good.

        Scores that came after a gap are left out: their passages would pass better ones.
        """
        self.sent = [cut(well_formed(text), self.longest) for text in self.passages]
        values = np.full(len(self.sent), np.nan, dtype=np.float32)
        told = [at for at, text in enumerate(self.sent) if text.strip()]
        tokens = self.server.shape.tokens
        todo = parts(self.query, self.sent, told, most=self.batch, tokens=tokens)
        await asyncio.gather(*(self._lane(client, todo, values) for _ in range(side_by_side)))
        failure = self._failed[min(self._failed)] if self._failed else None
        missing = [at for at in told if np.isnan(values[at])]
        if missing:
            values[missing[0] :] = np.nan
            # A server that answers nothing in the time there is has failed, and whoever guards
            # the stage must hear of it.
            failed = failure or self._silent
            if failed is not None and np.isnan(values).all():
                raise failed
        else:
            blank = [at for at, text in enumerate(self.sent) if not text.strip()]
            values[blank] = _least(values, self.server.shape.kind)
        short = np.array([len(a) < len(b) for a, b in zip(self.sent, self.passages)], dtype=bool)
        return PairScores(values, int(short.sum()), len(values), cut=short, failure=failure)

    async def _lane(
        self, client: httpx.AsyncClient, todo: Iterator[list[int]], values: Vectors
    ) -> None:
        """Make one request after the other, of those that no other lane makes."""
        while not self._over:
            if self.stop is not None and self.stop():
                self._over = True
                return
            part = next(todo, None)
            if part is None:
                return
            scores = None
            try:
                scores = await self._fitting(client, part)
            except RemoteError as failure:
                self._failed[part[0]] = failure
            finally:
                if scores is None:
                    self._over = True
                else:
                    values[part] = scores

    async def _fitting(self, client: httpx.AsyncClient, part: list[int]) -> Vectors | None:
        """The scores; what the server finds too long is cut to half until it does not."""
        while True:
            texts = [self.sent[at] for at in part]
            try:
                return await self._asked(client, texts)
            except TooLongError as refusal:
                longest = max(map(len, texts)) // 2
                if longest < SHORTEST:
                    message, status = refusal.message, refusal.status
                    raise RemoteError(message, api=self.server.api, status=status) from None
                for at in part:
                    self.sent[at] = cut(self.sent[at], longest)

    async def _asked(self, client: httpx.AsyncClient, texts: list[str]) -> Vectors | None:
        """The scores of one request's passages; None when the deadline came first."""
        body = self.server.shape.body(self.model, self.query, texts)
        try:
            async for attempt in retrying(self.attempts, self.deadline, api=self.server.api):
                with attempt:
                    return await self._once(client, body, texts)
        except Retryable as failure:
            error = RemoteError(failure.message, api=self.server.api, status=failure.status)
            if self.deadline is not None and time.monotonic() >= self.deadline:
                if failure.sent:
                    self._silent = error
                return None
            raise error from None
        return None

    async def _once(
        self, client: httpx.AsyncClient, body: dict[str, object], texts: list[str]
    ) -> Vectors:
        async with self._alone if self._busy else nullcontext():
            left = self.timeout
            if self.deadline is not None:
                left = min(left, self.deadline - time.monotonic())
            if left <= 0:
                raise Retryable(f"{self.server.called} was not asked: time is over", sent=False)
            try:
                sent = [self.query, *texts]
                return await self.server.ask(client, body, sent, timeout=left)
            except Retryable as failure:
                self._busy = self._busy or failure.status in BUSY
                raise


def _least(values: Vectors, kind: ScoreKind) -> float:
    """What a passage without text is worth: no more than any other."""
    there = values[~np.isnan(values)]
    return 0.0 if kind == "probability" or not there.size else float(there.min())
