"""Threads for work of this machine's own: no more at once than it has cores."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_GATES: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = (
    weakref.WeakKeyDictionary()
)


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
    loop = asyncio.get_running_loop()
    gate = _GATES.setdefault(loop, asyncio.Semaphore(cores()))
    async with gate:
        return await asyncio.to_thread(function, *args, **kwargs)
