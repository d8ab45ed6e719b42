"""What runs aside stands behind what is waited for, at every model that both share."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import Context
from typing import Any

import pytest

import stepwell as sw
from stepwell.models import load_scorer
from stepwell.models.pair_cache import CachedScorer
from stepwell.threads import ASIDE

SOON = 20.0


class Held:
    """Reads when it is let; remembers what it read, in order."""

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        self.asked = threading.Semaphore(0)
        self.read: list[str] = []
        self.batches: list[list[str]] = []

    def __call__(self, query: str, texts: Sequence[str]) -> list[float]:
        self.asked.release()
        assert self.go.acquire(timeout=SOON)
        self.read += texts
        self.batches.append(list(texts))
        return [float(len(text)) for text in texts]


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made


def aside(pool: ThreadPoolExecutor, call: Any, *args: Any) -> Future[Any]:
    """Run a call in a thread, as a shadow does."""

    def run() -> Any:
        ASIDE.set(True)
        return call(*args)

    return pool.submit(Context().run, run)


def waiting(scorer: sw.SharedScorer, most: int) -> None:
    """Wait until so many pairs are in line."""
    tick = threading.Event()
    for _ in range(2000):
        if sum(scorer._queue._waiting) >= most:
            return
        tick.wait(0.01)
    raise AssertionError(scorer._queue._waiting)


def test_who_is_waited_for_goes_first(pool: ThreadPoolExecutor) -> None:
    """A request that comes while sixty others wait aside is read after the batch under way, in a
    batch of its own, and nothing of either is lost."""
    held = Held()
    scorer = sw.SharedScorer(held, wait=0)
    many = [f"aside {at}" for at in range(60)]
    first = aside(pool, scorer.score, "q", many)
    assert held.asked.acquire(timeout=SOON)
    live = pool.submit(scorer.score, "q", ["live", "too"])
    waiting(scorer, 60 - 16 + 2)
    held.go.release(20)
    assert live.result(SOON).values.tolist() == [4.0, 3.0]
    assert first.result(SOON).values.tolist() == [float(len(text)) for text in many]
    assert held.read == [*many[:16], "live", "too", *many[16:]]
    assert held.batches[1] == ["live", "too"]


def test_it_takes_no_place_of_those_who_are_waited_for(pool: ThreadPoolExecutor) -> None:
    """A line that is full aside has all its room for others, and is full for more aside."""
    held = Held()
    scorer = sw.SharedScorer(held, limit=8, wait=0)
    under_way = aside(pool, scorer.score, "q", ["one"])
    assert held.asked.acquire(timeout=SOON)
    behind = aside(pool, scorer.score, "q", list("abcdefgh"))
    waiting(scorer, 8)
    with pytest.raises(sw.OverloadedError):
        aside(pool, scorer.score, "q", ["more"]).result(SOON)
    live = pool.submit(scorer.score, "q", list("ijklmnop"))
    waiting(scorer, 16)
    held.go.release(20)
    for each, n in ((live, 8), (behind, 8), (under_way, 1)):
        assert each.result(SOON).values.tolist() == [1.0 if n == 8 else 3.0] * n
    assert held.read == ["one", *"ijklmnop", *"abcdefgh"]


def test_nobody_waits_for_a_pair_that_is_read_aside(pool: ThreadPoolExecutor) -> None:
    """An equal pair that is under way aside is read once more for who is waited for; one that is
    under way for them is not read again aside."""
    held = Held()
    cached = CachedScorer(load_scorer(held))
    first = aside(pool, cached.score, "q", ["same"])
    assert held.asked.acquire(timeout=SOON)
    live = pool.submit(cached.score, "q", ["same"])
    assert held.asked.acquire(timeout=SOON)
    held.go.release(2)
    assert live.result(SOON).values.tolist() == first.result(SOON).values.tolist() == [4.0]

    live = pool.submit(cached.score, "q", ["other"])
    assert held.asked.acquire(timeout=SOON)
    late = aside(pool, cached.score, "q", ["other"])
    held.go.release(1)
    assert late.result(SOON).values.tolist() == live.result(SOON).values.tolist() == [5.0]
    assert held.read == ["same", "same", "other"]
    assert cached._under_way == {}
