"""An HTTP client on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
Work: TypeAlias = "Callable[[httpx.AsyncClient], Coroutine[Any, Any, T]]"

KEPT = 50.0
"""Seconds that an idle connection is kept; servers and what stands before them keep 60 or more."""
CLOSING = 1.0
"""Seconds that a caller of `close` waits for what is under way."""


@cache
def _certificates() -> ssl.SSLContext:
    """Read once: reading them takes longer than many a request."""
    import httpx

    return httpx.create_ssl_context()


class Connection:
    """Runs requests for any thread and any event loop.

    The time-outs of a client in a thread hold for each read, of which a slow server can make any
    number; what is awaited can be cancelled, so a request here ends when its time is over. Requests
    of one caller run side by side, and a caller that awaits occupies no thread.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._client: httpx.AsyncClient | Exception
        self._thread = threading.Thread(target=self._serve, name="stepwell-remote", daemon=True)
        self._thread.start()

    def submit(self, work: Work[T]) -> Future[T]:
        """Begin the work; it must not come after `close`."""
        return asyncio.run_coroutine_threadsafe(self._run(work), self._loop)

    def close(self, *, wait: bool = True) -> None:
        """End the thread and its sockets, as soon as what was submitted is done."""
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._over.set)
        if wait:
            self._thread.join(CLOSING)

    def _serve(self) -> None:
        import httpx

        try:
            # Each request has a time-out as a whole. A redirect is no answer: it may lead anywhere.
            self._client = httpx.AsyncClient(
                verify=_certificates(),
                timeout=None,
                follow_redirects=False,
                limits=httpx.Limits(
                    max_connections=100, max_keepalive_connections=20, keepalive_expiry=KEPT
                ),
            )
        except Exception as error:  # certificates or proxies that the environment names wrongly
            self._client = error
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_over())

    async def _run(self, work: Work[T]) -> T:
        if isinstance(self._client, Exception):
            raise self._client
        return await work(self._client)

    async def _until_over(self) -> None:
        await self._over.wait()
        while under_way := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(under_way)
        if not isinstance(self._client, Exception):
            await self._client.aclose()


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """What the work returns, if it does in time.

    A cancelled task loses what the client has to do even then: its pool would count the request
    for ever, and be full one day. So the work has a task of its own, which is asked to end.

    Raises:
        TimeoutError: It did not.
    """
    import anyio

    scope = anyio.CancelScope(deadline=anyio.current_time() + seconds)

    async def scoped() -> list[T]:
        with scope:
            return [await work]
        return []

    task = asyncio.create_task(scoped())
    try:
        made = await asyncio.shield(task)
    except asyncio.CancelledError:
        scope.cancel()
        task.add_done_callback(_heard)
        await asyncio.wait([task])
        raise
    if not made:
        raise TimeoutError
    return made[0]


def _heard(task: asyncio.Task[Any]) -> None:
    """Nobody waits for it any more: without this, the event loop complains of its failure."""
    if not task.cancelled():
        task.exception()
