"""Work that waits in a thread of its own always ends, whoever closes it when."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future, wait

import pytest

from stepwell import RemoteError
from stepwell.ray.waiting import Waiting


async def short() -> int:
    return 1


async def endless() -> int:
    await asyncio.sleep(300)
    return 2


def submit_until_closed(waiting: Waiting, made: list[Future[int]]) -> None:
    while True:
        try:
            made += [waiting.submit(short()), waiting.submit(endless())]
        except RemoteError:
            return


def test_what_is_submitted_while_it_closes_ends() -> None:
    """Each piece of work has its result or a RemoteError, never neither, and none is cancelled."""
    outcomes = set()
    for _ in range(60):
        waiting, made = Waiting(), list[Future[int]]()
        thread = threading.Thread(target=submit_until_closed, args=(waiting, made))
        thread.start()
        time.sleep(0.001)
        waiting.close()
        thread.join()
        assert not wait(made, timeout=10).not_done
        outcomes |= {type(each.exception()) for each in made}
    assert outcomes == {type(None), RemoteError}


def test_closed_it_takes_no_more() -> None:
    """What is submitted afterwards is refused, and closing again does nothing."""
    waiting = Waiting()
    waiting.close()
    waiting.close()
    with pytest.raises(RemoteError, match="closed"):
        waiting.submit(short())


def test_what_its_caller_cancels_is_cancelled() -> None:
    """Cancelling the future ends the work, while others go on."""
    waiting, begun, ended = Waiting(), threading.Event(), threading.Event()

    async def work() -> None:
        begun.set()
        try:
            await endless()
        finally:
            ended.set()

    given_up = waiting.submit(work())
    assert begun.wait(10)
    assert given_up.cancel()
    assert ended.wait(10)
    assert waiting.submit(short()).result(10) == 1
    waiting.close()
