"""`RemoteReranker`: a rerank API as a pair scorer."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from stepwell.candidates import check_k
from stepwell.errors import import_extra
from stepwell.models.protocols import PairScores, ScoreKind
from stepwell.remote.call import Call
from stepwell.remote.connection import Connection, T, Work
from stepwell.remote.server import Server
from stepwell.remote.settings import above_0, base_of, key_of, secrets_of, shape_of
from stepwell.remote.shapes import Shape


class RemoteReranker:
    """Scores passages through a rerank API; give it to `CrossEncoder` as its model.

    Passages beyond what one request may hold go in several, some at a time. A request that fails in
    passing (no connection, 429, 5xx, half an answer) is made again, after what the server asks for,
    as long as the query's deadline allows; when that is over, what has no score yet is left
    unscored, and a server that answered nothing has failed. Its connections live in a thread of
    their own from first use until `close`.

    Args:
        api: "cohere", "voyage", "jina", "tei" (Text Embeddings Inference), "vllm", "infinity",
            "llama.cpp", or a `Shape` of your own.
        model: The model's name; by default the API's usual one, or what the server runs.
        url: Base URL; needed for what one hosts oneself.
        key: The API key; by default the environment variable's that the API's own clients read.
            It is sent to `url` in one header and appears nowhere else.
        timeout: Seconds for one request, from connecting to the last byte of its answer.
        attempts: How often one request is made at most.
        batch: Passages a request; by default what the API allows.
        concurrency: Requests of one call at a time, while the server does not say it is too many.
        longest: Characters of a passage that are sent; the rest is cut off at a word and counted
            as truncated. A server that refuses passages as too long is sent less of the longest.
        kind: What the scores are, where the server differs from its API: "logit", "probability"
            or, from -1 to 1, "similarity".
        headers: More headers, such as a gateway's. Kept as secret as the key.

    Raises:
        ConfigurationError: The API is unknown, or it needs a URL or a key that is not given.
        MissingExtraError: The extra ``remote`` is not installed.

    Example:
        >>> scorer = RemoteReranker("tei", url="http://localhost:8080")
        >>> scorer
        RemoteReranker('tei', url='http://localhost:8080')
    """

    _connection: Connection | None
    _closing: weakref.finalize[..., RemoteReranker]

    def __init__(
        self,
        api: str | Shape,
        model: str | None = None,
        *,
        url: str | None = None,
        key: str | None = None,
        timeout: float = 30.0,
        attempts: int = 3,
        batch: int | None = None,
        concurrency: int = 4,
        longest: int = 16_000,
        kind: ScoreKind | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        import_extra("httpx", extra="remote")
        import_extra("tenacity", extra="remote")
        self.shape = shape_of(api, model, kind)
        self.api = api if isinstance(api, str) else "custom"
        self.model = model or self.shape.model
        self.url = base_of(url or self.shape.url, self.shape, self.api)
        self.timeout = above_0(timeout, "timeout")
        self.attempts = check_k(attempts, what="attempts") or 1
        self.concurrency = check_k(concurrency, what="concurrency") or 1
        self.longest = check_k(longest, what="longest") or 1
        self.batch = check_k(batch, what="batch") or self.shape.limit
        self._server = Server(
            self.shape,
            api=self.api,
            url=self.url,
            called=f"{self.api}:{self.model}" if self.model else f"{self.api} at {self.url}",
            key=key_of(key, self.shape, self.api),
            headers=secrets_of(headers or {}),
        )
        self._start()

    def __repr__(self) -> str:
        model = f", {self.model!r}" if self.model else ""
        return f"RemoteReranker({self.api!r}{model}, url={self.url!r})"

    def __getstate__(self) -> dict[str, Any]:
        hidden = ("_connection", "_closing", "_lock", "_process")
        return {name: value for name, value in vars(self).items() if name not in hidden}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._start()

    def __copy__(self) -> RemoteReranker:
        return self  # nothing in it changes, and its connections are shared on purpose

    def __deepcopy__(self, _: dict[int, Any]) -> RemoteReranker:
        return self

    @property
    def name(self) -> str:
        """What changes a score: API, model, server, and how much of a passage is sent."""
        return f"{self.api}:{self.model or ''}@{self.url}@{self.longest}"

    @property
    def kind(self) -> ScoreKind:
        """What the numbers are."""
        return self.shape.kind

    def score(
        self, query: str, passages: Sequence[str], /, *, stop: Callable[[], bool] | None = None
    ) -> PairScores:
        """Score passages in the order given.

        Args:
            query: What is asked.
            passages: Sent in requests of `batch`; a blank one is not sent, and scores lowest.
            stop: Asked before each request; where it has a `deadline`, in `time.monotonic()`
                seconds, no request outlives it.

        Returns:
            Scores, NaN from the first that the deadline or a request that failed has left out;
            `failure` is then the error of that request.

        Raises:
            RemoteError: The server refused, or failed more often than `attempts`, and nothing has
                been scored.
            ModelError: Its scores are not of the kind that was declared.
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

    def warm(self) -> None:
        """Open a connection now, so that the first query's deadline does not pay for it.

        Nothing is ranked or billed: a HEAD request to `url` without the key, whose answer does not
        matter. Neither does a failure; the first query then tells. An idle connection is kept for
        50 seconds, where the server keeps it as long.
        """
        begun = self._submit(partial(self._server.greet, timeout=self.timeout))
        try:
            begun.result()
        finally:
            begun.cancel()

    def close(self) -> None:
        """Close its connections, once what is under way is done; used again, it opens new ones."""
        with self._own_lock():
            connection, self._connection = self._connection, None
        if connection is not None:
            self._closing.detach()
            connection.close()

    def _begin(
        self, query: str, passages: Sequence[str], stop: Callable[[], bool] | None
    ) -> Future[PairScores]:
        call = Call(
            self._server,
            self.model,
            query,
            passages,
            longest=self.longest,
            batch=self.batch,
            attempts=self.attempts,
            timeout=self.timeout,
            stop=stop,
        )
        return self._submit(partial(call.run, side_by_side=self.concurrency))

    def _submit(self, work: Work[T]) -> Future[T]:
        with self._own_lock():
            if self._connection is None:
                self._connection = Connection()
                close = self._connection.close
                self._closing = weakref.finalize(self, close, wait=False)
            return self._connection.submit(work)

    def _start(self) -> None:
        self._process, self._lock = os.getpid(), threading.Lock()
        self._connection = None

    def _own_lock(self) -> threading.Lock:
        if self._process != os.getpid():
            # After a fork the sockets are the parent's, and so may be the lock.
            self._start()
        return self._lock
