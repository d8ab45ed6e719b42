"""An event loop in a thread of its own: what waits for replicas waits there, for any caller."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from stepwell.errors import RemoteError

T = TypeVar("T")


class Waiting:
    """Runs coroutines for any thread and any event loop, until it is closed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="stepwell-ray", daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin the work; a future that is cancelled cancels it.

        Returns:
            A future that always ends: with a RemoteError if this is closed meanwhile.

        Raises:
            RemoteError: It was closed.
        """
        with self._lock:
            if not self._closed:
                return asyncio.run_coroutine_threadsafe(self._run(work), self._loop)
        work.close()
        raise closed()

    def close(self) -> None:
        """End the thread, and what is still under way."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._loop.call_soon_threadsafe(self._loop.stop)

    async def _run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await work
        except asyncio.CancelledError:
            # Passed on, it would say of the caller's own task that it was cancelled.
            if self._closed:
                raise closed() from None
            raise

    def _serve(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            # What was submitted last has not begun; cancelled then, it could not say why.
            self._loop.run_until_complete(asyncio.sleep(0))
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            if left:
                self._loop.run_until_complete(asyncio.wait(left))
            self._loop.close()


def closed() -> RemoteError:
    """The error of a scorer that is used after `close`, or closed while it is used."""
    return RemoteError("the RayScorer was closed; make another", api="ray")
