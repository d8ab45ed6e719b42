"""`RayScorer`: cross-encoder replicas on Ray Serve as a pair scorer."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Literal

from stepwell.candidates import check_k
from stepwell.errors import ConfigurationError, RemoteError
from stepwell.models.loading import EMBEDDED, Backend, ScorerSpec
from stepwell.models.protocols import PairScores, ScoreKind
from stepwell.ray.cluster import connect
from stepwell.ray.waiting import Waiting, closed

READY = 120.0
"""Seconds for the first replica to load its model."""


class RayScorer:
    """Scores pairs on replicas of a model; give it to `CrossEncoder` as its model.

    An application of this name that runs already is used as it is, whoever deployed it; otherwise
    it is deployed, and `close` deletes it. The model is loaded by the replicas alone. A request
    whose replica dies is sent to another, as long as the query's deadline allows; what comes too
    late is cancelled. Pickles hold the application's name; one that is loaded again connects at its
    first query, within that query's deadline.

    Args:
        model: As in `CrossEncoder`; one's own must be importable on the cluster's machines.
        app: The application's name on Ray Serve.
        address: As in `RayEncoder`.
        replicas: How many; a pair (fewest, most) lets Serve scale by load, a mapping is its
            `AutoscalingConfig`.
        cpus: Cores that a replica reserves.
        gpus: GPUs that a replica reserves.
        backend: As in `CrossEncoder`.
        batch: Passages of one request.
        joined: Pairs that a replica reads together, of any callers.
        wait: Seconds that a batch waits for more.
        concurrency: Requests of one call at a time.
        timeout: Seconds for one request without a deadline, tries on other replicas counted.

    Raises:
        ConfigurationError: An argument is wrong, or another model runs under this name.
        RemoteError: No cluster answers, or it has no room for a replica.
        MissingExtraError: Ray is not installed.
    """

    _waiting: Waiting | None
    _handle: Any
    _connecting: asyncio.Future[Any] | None

    def __init__(
        self,
        model: ScorerSpec = None,
        *,
        app: str = "stepwell-ranker",
        address: str | None = None,
        replicas: int | tuple[int, int] | Mapping[str, Any] = 1,
        cpus: float = 1.0,
        gpus: float = 0.0,
        backend: Backend | Literal["auto"] = "torch",
        batch: int = 16,
        joined: int = 64,
        wait: float = 0.002,
        concurrency: int = 4,
        timeout: float = 30.0,
    ) -> None:
        self.app, self.address = app, address
        self.batch = check_k(batch, what="batch") or 1
        self.concurrency = check_k(concurrency, what="concurrency") or 1
        self.timeout = _above_0(timeout, "timeout")
        asked = _scale(replicas)
        joined = max(check_k(joined, what="joined") or 1, self.batch)
        connect(address)
        from stepwell.ray.deploying import Wanted, found_or_deployed

        known_as = model if isinstance(model, str) else getattr(model, "name", None)
        known_as = known_as or (EMBEDDED if model is None else getattr(model, "__qualname__", app))
        wanted = Wanted(model, str(known_as), backend, asked, cpus, gpus, joined, wait)
        handle, self._facts, self._deployed = found_or_deployed(app, wanted, patience=READY)
        self._start()
        self._handle = handle  # the first query finds its replicas known

    def __repr__(self) -> str:
        return f"RayScorer({self.name!r}, app={self.app!r})"

    def __getstate__(self) -> dict[str, Any]:
        hidden = ("_waiting", "_handle", "_lock", "_closed", "_connecting")
        kept = {name: value for name, value in vars(self).items() if name not in hidden}
        return {**kept, "_deployed": False}  # deleted by who deployed it, not by a copy

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._start()

    def __copy__(self) -> RayScorer:
        return self  # nothing in it changes, and its thread is shared on purpose

    def __deepcopy__(self, _: dict[int, Any]) -> RayScorer:
        return self

    @property
    def name(self) -> str:
        """The model's, as its replicas call it: the scores are the same."""
        return str(self._facts["name"])

    @property
    def kind(self) -> ScoreKind:
        """What the numbers are."""
        kind: ScoreKind = self._facts["kind"]
        return kind

    def __getattr__(self, name: str) -> Any:
        # What its model says of itself: `backend`, `max_length`, `max_windows`, `logistic`.
        facts = vars(self).get("_facts", {})
        if name in facts:
            return facts[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def score(
        self, query: str, passages: Sequence[str], /, *, stop: Callable[[], bool] | None = None
    ) -> PairScores:
        """Score passages in the order given.

        Args:
            query: What is asked.
            passages: Sent in requests of `batch`.
            stop: Asked before each request; where it has a `deadline`, in `time.monotonic()`
                seconds, no request outlives it.

        Returns:
            Scores, NaN from the first that the deadline or a failure has left out; `failure` is
            then the error.

        Raises:
            RemoteError: No replica answered in time, and nothing has been scored; or this was
                closed.
        """
        begun = self._begin(query, passages, stop)
        try:
            return begun.result()
        finally:
            begun.cancel()  # what Ctrl-C has interrupted

    async def ascore(
        self, query: str, passages: Sequence[str], /, *, stop: Callable[[], bool] | None = None
    ) -> PairScores:
        """`score`, awaited: it needs no thread of its own, and a cancelled one asks no more."""
        return await asyncio.wrap_future(self._begin(query, passages, stop))

    def close(self) -> None:
        """Let go of the replicas, and delete the application if this scorer deployed it.

        It scores no more; a call that is under way in another thread ends with a RemoteError.
        """
        with self._lock:
            self._closed = True
            waiting, self._waiting, self._handle = self._waiting, None, None
            deployed, self._deployed = self._deployed, False
        if waiting is not None:
            waiting.close()
        if deployed:
            from stepwell.ray.deploying import delete

            delete(self.app)

    def __enter__(self) -> RayScorer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(
        self, query: str, passages: Sequence[str], stop: Callable[[], bool] | None
    ) -> Future[PairScores]:
        with self._lock:
            if self._closed:
                raise closed()
            self._waiting = self._waiting or Waiting()
            return self._waiting.submit(self._asked(self._handle, query, passages, stop))

    async def _asked(
        self, handle: Any, query: str, passages: Sequence[str], stop: Callable[[], bool] | None
    ) -> PairScores:
        if handle is None:
            handle = await self._connected(getattr(stop, "deadline", None))
        from stepwell.ray.asking import Asking

        ask = Asking(
            handle,
            self.app,
            query,
            passages,
            batch=self.batch,
            timeout=self.timeout,
            stop=stop,
        )
        return await ask.run(side_by_side=self.concurrency)

    async def _connected(self, deadline: float | None) -> Any:
        """Once for all queries that wait for it; it goes on when their time is over."""
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.ensure_future(asyncio.to_thread(self._connect))
        left = self.timeout if deadline is None else deadline - time.monotonic()
        try:
            self._handle = await asyncio.wait_for(asyncio.shield(self._connecting), left)
        except TimeoutError:
            raise RemoteError(
                f"{self.app!r} on Ray was not reached in time; raise the deadline", api="ray"
            ) from None
        return self._handle

    def _connect(self) -> Any:
        connect(self.address)
        from stepwell.ray.deploying import handle_of

        return handle_of(self.app)

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._waiting = self._handle = self._connecting = None


def _scale(replicas: Any) -> int | Mapping[str, Any]:
    if isinstance(replicas, Mapping):
        return dict(replicas)
    pair = replicas if isinstance(replicas, tuple) else (replicas, replicas)
    if len(pair) != 2 or any(type(n) is not int for n in pair) or not 1 <= pair[0] <= pair[1]:
        raise ConfigurationError(
            f"replicas must be a number from 1 or a pair (fewest, most), not {replicas!r}"
        )
    scaled = {"min_replicas": pair[0], "max_replicas": pair[1]}
    return scaled if isinstance(replicas, tuple) else pair[0]


def _above_0(value: Any, what: str) -> float:
    if type(value) not in (int, float) or not value > 0:
        raise ConfigurationError(f"{what} must be a number above 0, not {value!r}")
    return float(value)
