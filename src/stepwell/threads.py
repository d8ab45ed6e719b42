"""Threads for work of this machine's own: no more at once than it has cores."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from functools import cache, partial
from typing import ParamSpec, TypeVar

ASIDE: ContextVar[bool] = ContextVar("stepwell-aside", default=False)
"""Whether what runs here is waited for by nobody, so that it goes behind what is."""

P = ParamSpec("P")
T = TypeVar("T")


def cores() -> int:
    """Return how many processors this process may use, 16 at most."""
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), 16)
    return min(os.cpu_count() or 1, 16)


async def on_cores(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """`asyncio.to_thread` for what computes and does not wait, by turns.

    Threads that compute take the interpreter from each other, and the event loop stands in line
    among them: with more of them than cores nothing is gained and the loop stalls.
    """
    call = partial(copy_context().run, function, *args, **kwargs)
    return await asyncio.wrap_future(_pool().submit(call))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores(), thread_name_prefix="stepwell-computes")


if hasattr(os, "register_at_fork"):
    # A child has the pool of its parent, but none of its threads.
    os.register_at_fork(after_in_child=_pool.cache_clear)
