from __future__ import annotations

import asyncio
import threading
import time

import stepwell as sw
from stepwell.stages import Dense
from stepwell.threads import cores, on_cores


async def test_no_more_compute_at_once_than_there_are_cores() -> None:
    """Of many awaited computations as many run as there are cores, and all end."""
    running, most, lock = 0, 0, threading.Lock()

    def work(at: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
        return at

    made = await asyncio.gather(*(on_cores(work, at) for at in range(40)))
    assert made == list(range(40))
    assert most <= cores()


def test_each_loop_has_turns_of_its_own() -> None:
    """A second event loop is not held up by one that was closed in the middle of its work."""
    for _ in range(3):
        assert asyncio.run(_two()) == [4, 4]


async def _two() -> list[int]:
    return list(await asyncio.gather(on_cores(pow, 2, 2), on_cores(pow, -2, 2)))


async def test_a_stage_that_waits_for_others_is_not_held_to_the_cores() -> None:
    """Stages that do not say that they compute run side by side, however few cores there are."""
    together = threading.Barrier(4)

    @sw.stage
    def waits(candidates: sw.Candidates) -> sw.Candidates:
        together.wait(20)
        return candidates

    cascade = sw.Cascade([waits])
    await asyncio.gather(*(cascade.arank("q", [sw.Document("a", "x")]) for _ in range(4)))


def test_a_dense_stage_computes_only_where_its_encoder_does() -> None:
    """The embedded encoder is this machine's work, a callable may ask a server."""
    with sw.Corpus.temporary() as corpus:
        assert Dense(corpus).computes
    with sw.Corpus.temporary(encoder=lambda texts: [[1.0, 0.0] for _ in texts]) as corpus:
        assert not Dense(corpus).computes
