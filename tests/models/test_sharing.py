from __future__ import annotations

import asyncio
import copy
import gc
import multiprocessing
import os
import pickle
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell.errors import ConfigurationError, OverloadedError
from stepwell.models import PairScores
from stepwell.models.cross import EmbeddedScorer
from stepwell.models.pair_cache import CachedScorer
from stepwell.models.protocols import ScoreKind
from stepwell.models.sharing import SharedScorer
from stepwell.models.steps import Pair, Readings
from stepwell.stages import CrossEncoder
from stepwell.stopping import Pace, Stop


class Reader:
    """A scorer of real numbers that reads pairs, says which shared a batch, and can be held."""

    kind: ScoreKind = "logit"
    name = "reader@1"
    step = 4

    def __init__(self) -> None:
        self.batches: list[list[Pair]] = []
        self.began = threading.Event()
        self.open = threading.Event()
        self.open.set()
        self.seconds = 0.0

    def hold(self) -> None:
        """Let the next batch begin and stay, until `open` is set."""
        self.open.clear()
        self.began.clear()

    def read(self, pairs: Sequence[Pair], /) -> Readings:
        self.batches.append(list(pairs))
        self.began.set()
        assert self.open.wait(20)
        time.sleep(self.seconds)
        for _, passage in pairs:
            if passage == "bad":
                raise RuntimeError("this passage cannot be read")
        values = np.array([value(*pair) for pair in pairs], dtype=np.float32)
        cut = np.array([len(passage) > 6 for _, passage in pairs], dtype=np.bool_)
        return Readings(values, cut, np.ones(len(pairs), dtype=np.int32))

    def score(
        self, query: str, passages: Sequence[str], /, *, stop: Callable[[], bool] | None = None
    ) -> PairScores:
        return self.read([(query, passage) for passage in passages]).scores()

    def read_of(self, query: str) -> int:
        return sum(pair[0] == query for batch in self.batches for pair in batch)

    def read_before(self, query: str) -> list[str]:
        """The queries of the pairs that were read up to the last one of `query`."""
        queries = [pair[0] for batch in self.batches for pair in batch]
        return queries[: len(queries) - queries[::-1].index(query)]


def value(query: str, passage: str) -> float:
    return float(np.float32(len(query) * 1000 + sum(map(ord, passage)) / 7))


def texts(prefix: str, n: int) -> list[str]:
    return [f"{prefix}{at}" for at in range(n)]


def right(made: PairScores, query: str, passages: Sequence[str]) -> bool:
    return made.values.tolist() == [value(query, passage) for passage in passages]


async def until(true: Callable[[], bool]) -> None:
    for _ in range(2000):
        if true():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came to pass")


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def shared(reader: Reader) -> SharedScorer:
    return SharedScorer(reader)


requests = st.lists(
    st.tuples(
        st.text(max_size=4),
        st.lists(st.text(max_size=9).filter(lambda text: text != "bad"), max_size=80),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(requests)
def test_each_of_many_calls_at_once_gets_what_it_would_get_alone(
    asked: list[tuple[str, list[str]]],
) -> None:
    """Whatever callers ask together, scores, cuts and passes are those of a call alone."""
    shared = SharedScorer(Reader(), wait=0)
    with ThreadPoolExecutor(len(asked)) as pool:
        got = list(pool.map(lambda each: shared.score(*each), asked))
    for made, (query, passages) in zip(got, asked, strict=True):
        alone = Reader().score(query, passages)
        assert np.array_equal(made.values, alone.values)
        assert np.array_equal(made.cut, alone.cut)
        assert (made.truncated, made.windows) == (alone.truncated, alone.windows)


async def test_pairs_of_concurrent_calls_share_a_batch(
    reader: Reader, shared: SharedScorer
) -> None:
    """What arrives while a batch is read is read together, in batches of several steps."""
    reader.hold()
    first = asyncio.create_task(shared.ascore("first", ["a"]))
    await until(reader.began.is_set)
    rest = [asyncio.create_task(shared.ascore(f"q{at}", texts("p", 4))) for at in range(4)]
    await asyncio.sleep(0.02)
    reader.open.set()
    await asyncio.gather(first, *rest)
    assert [len(batch) for batch in reader.batches] == [1, 16]


async def test_a_short_call_does_not_wait_for_a_long_one(
    reader: Reader, shared: SharedScorer
) -> None:
    """A call behind one of 1,000 pairs is answered after the long one's turn, not its end."""
    reader.hold()
    long = asyncio.create_task(shared.ascore("long", texts("p", 1000)))
    await until(reader.began.is_set)
    short = asyncio.create_task(shared.ascore("short", texts("p", 4)))
    await asyncio.sleep(0.02)
    reader.open.set()
    await short
    assert reader.read_before("short").count("long") < 100
    assert right(await long, "long", texts("p", 1000))


async def test_equal_calls_are_served_in_the_order_of_arrival(
    reader: Reader, shared: SharedScorer
) -> None:
    """Calls of a turn's size or less are read whole, first come first served."""
    reader.hold()
    calls = [asyncio.create_task(shared.ascore("q0", texts("p", 20)))]
    await until(reader.began.is_set)
    for at in range(1, 6):
        calls.append(asyncio.create_task(shared.ascore(f"q{at}", texts("p", 20))))
        await asyncio.sleep(0.005)
    reader.open.set()
    await asyncio.gather(*calls)
    order = [query for batch in reader.batches for query, _ in batch]
    assert order == sorted(order)


async def test_a_call_that_cannot_be_read_spoils_no_other(
    reader: Reader, shared: SharedScorer
) -> None:
    """Of calls that share a batch only the one with the bad passage fails."""
    reader.hold()
    first = asyncio.create_task(shared.ascore("first", ["a"]))
    await until(reader.began.is_set)
    good = asyncio.create_task(shared.ascore("good", texts("p", 3)))
    bad = asyncio.create_task(shared.ascore("bad", ["fine", "bad"]))
    await asyncio.sleep(0.02)
    reader.open.set()
    assert right(await good, "good", texts("p", 3))
    with pytest.raises(RuntimeError, match="cannot be read"):
        await bad
    await first
    assert right(await shared.ascore("after", ["x"]), "after", ["x"])


async def test_an_error_is_raised_and_not_logged_as_lost(shared: SharedScorer) -> None:
    """What the caller gets as an exception, the event loop does not complain of as well."""
    lost: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: lost.append(context))
    with pytest.raises(RuntimeError, match="cannot be read"):
        await shared.ascore("q", ["bad"])
    gc.collect()
    await asyncio.sleep(0.01)
    assert lost == []


class Panic(BaseException):
    """What native code raises where it cannot go on."""


def test_a_panic_in_the_model_is_answered_and_the_next_call_served(
    reader: Reader, shared: SharedScorer
) -> None:
    """Even an error that is no `Exception` reaches its caller, and blocks nobody after it."""
    read = shared._queue._read

    def panics(pairs: list[Pair]) -> Readings:
        raise Panic("native code gave up")

    shared._queue._read = panics
    with pytest.raises(Panic):
        shared.score("q", ["a"])
    shared._queue._read = read
    assert right(shared.score("q", ["a"]), "q", ["a"])


def test_without_a_thread_to_be_had_the_call_fails_and_the_next_is_served(
    shared: SharedScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the system has no more threads the caller is told, and nothing stays in line."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            shared.score("q", ["a"])
    assert right(shared.score("q", ["b"]), "q", ["b"])


def test_one_stalled_batch_does_not_refuse_the_queries_after_it(
    reader: Reader, shared: SharedScorer
) -> None:
    """After a batch that took a hundred times as long, most short queries are read again."""
    for _ in range(5):
        shared.score("warm", ["x"], stop=Stop(time.monotonic() + 5))
    reader.seconds = 0.5
    shared.score("stalls", ["x"], stop=Stop(time.monotonic() + 5))
    reader.seconds = 0.0
    made = [shared.score("q", ["x"], stop=Stop(time.monotonic() + 0.2)) for _ in range(10)]
    assert sum(not np.isnan(each.values).any() for each in made) >= 8


async def test_a_full_line_refuses_by_a_typed_error(reader: Reader) -> None:
    """Beyond `limit` waiting pairs a call is refused at once, and served again when there is room.

    A call longer than the line is served when nobody waits.
    """
    shared = SharedScorer(reader, limit=10)
    reader.hold()
    first = asyncio.create_task(shared.ascore("first", texts("p", 4)))
    await until(reader.began.is_set)
    waits = asyncio.create_task(shared.ascore("waits", texts("p", 8)))
    await asyncio.sleep(0.02)
    with pytest.raises(OverloadedError, match="8 pairs wait for the model and 10 may"):
        await shared.ascore("refused", texts("p", 3))
    reader.open.set()
    await asyncio.gather(first, waits)
    assert reader.read_of("refused") == 0
    assert right(await shared.ascore("long", texts("p", 50)), "long", texts("p", 50))


async def test_a_cancelled_call_frees_its_place(reader: Reader) -> None:
    """What a cancelled task had waiting is never read, and its room in the line is free again."""
    shared = SharedScorer(reader, limit=10)
    reader.hold()
    first = asyncio.create_task(shared.ascore("first", texts("p", 4)))
    await until(reader.began.is_set)
    gone = asyncio.create_task(shared.ascore("gone", texts("p", 10)))
    await asyncio.sleep(0.02)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    next_one = asyncio.create_task(shared.ascore("next", texts("p", 10)))
    await asyncio.sleep(0.02)
    reader.open.set()
    await asyncio.gather(first, next_one)
    assert reader.read_of("gone") == 0
    assert reader.read_of("next") == 10


async def test_a_call_cancelled_while_it_is_read_stops_after_the_batch(
    reader: Reader, shared: SharedScorer
) -> None:
    """Of a call that is cancelled under way no further batch is read."""
    reader.hold()
    gone = asyncio.create_task(shared.ascore("gone", texts("p", 200)))
    await until(reader.began.is_set)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    reader.open.set()
    await shared.ascore("after", ["x"])
    assert reader.read_of("gone") == len(reader.batches[0]) < 200


def test_a_deadline_is_answered_with_what_is_read(reader: Reader, shared: SharedScorer) -> None:
    """A call ends by its deadline though the model is held, with what was read before."""
    shared.score("warm", ["x"])
    reader.seconds = 0.02
    stop = Stop(time.monotonic() + 0.15)
    made = shared.score("q", texts("p", 400), stop=stop)
    read = ~np.isnan(made.values)
    assert 0 < read.sum() < 400
    assert stop.said
    assert right(PairScores(made.values[read]), "q", texts("p", int(read.sum())))


@pytest.mark.parametrize("awaited", [False, True])
async def test_a_deadline_holds_while_another_call_holds_the_model(
    reader: Reader, shared: SharedScorer, awaited: bool
) -> None:
    """A call whose turn does not come before its deadline is answered unscored, and not read."""
    reader.hold()
    first = asyncio.create_task(shared.ascore("first", ["a"]))
    await until(reader.began.is_set)
    stop = Stop(time.monotonic() + 0.05)
    if awaited:
        made = await shared.ascore("late", texts("p", 3), stop=stop)
    else:
        made = await asyncio.to_thread(shared.score, "late", texts("p", 3), stop=stop)
    assert np.isnan(made.values).all()
    assert stop.said
    reader.open.set()
    await first
    assert reader.read_of("late") == 0


async def test_a_stop_without_a_deadline_is_asked_while_waiting(
    reader: Reader, shared: SharedScorer
) -> None:
    """A `stop` that is a bare function ends a call that waits in line."""
    reader.hold()
    first = asyncio.create_task(shared.ascore("first", ["a"]))
    await until(reader.began.is_set)
    said = threading.Event()
    waits = asyncio.create_task(shared.ascore("waits", ["b"], stop=said.is_set))
    await asyncio.sleep(0.02)
    assert not waits.done()
    said.set()
    assert np.isnan((await waits).values).all()
    reader.open.set()
    await first


async def test_a_stop_that_fails_fails_its_own_call_alone(
    reader: Reader, shared: SharedScorer
) -> None:
    """An error of the caller's `stop` is the caller's, whoever asked it."""

    def broken() -> bool:
        raise KeyError("no such clock")

    other = asyncio.create_task(shared.ascore("other", texts("p", 100)))
    with pytest.raises(KeyError, match="no such clock"):
        await shared.ascore("q", ["a"], stop=broken)
    assert right(await other, "other", texts("p", 100))


async def test_waiting_holds_no_thread(reader: Reader, shared: SharedScorer) -> None:
    """While 200 awaited calls wait for the model, threads of the loop are free for others."""
    reader.hold()
    calls = [asyncio.create_task(shared.ascore(f"q{at}", ["a"])) for at in range(200)]
    await until(reader.began.is_set)
    assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 5) == "free"
    reader.open.set()
    await asyncio.gather(*calls)


def test_its_thread_ends_with_the_line(shared: SharedScorer) -> None:
    """When nothing waits, no thread is left."""
    shared.score("q", texts("p", 30))
    for _ in range(1000):
        if not [t for t in threading.enumerate() if t.name == "stepwell-shared"]:
            return
        time.sleep(0.005)
    raise AssertionError("the thread is still there")


def _child(shared: SharedScorer, answer: multiprocessing.SimpleQueue[list[float]]) -> None:
    answer.put(shared.score("q", ["in the child"]).values.tolist())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_fork_in_the_middle_of_a_batch_leaves_a_child_that_can_ask(
    reader: Reader, shared: SharedScorer
) -> None:
    """A child forked while its parent's thread reads a batch is answered by a thread of its own."""
    reader.hold()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(shared.score, "first", ["a"])
        assert reader.began.wait(10)
        context = multiprocessing.get_context("fork")
        answer = context.SimpleQueue()
        # Opened by nobody in the child, whose copy is its own.
        again = Reader()
        reader.read = again.read  # type: ignore[method-assign]
        shared._queue._read = again.read
        child = context.Process(target=_child, args=(shared, answer))
        child.start()
        child.join(20)
        reader.open.set()
        first.result(10)
    assert child.exitcode == 0
    assert answer.get() == [value("q", "in the child")]


def _asks(cached: CachedScorer, answer: multiprocessing.SimpleQueue[list[float]]) -> None:
    answer.put(cached.score("first", ["a"]).values.tolist())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_child_does_not_wait_for_what_its_parent_computes(
    reader: Reader, shared: SharedScorer
) -> None:
    """A pair that is under way in the parent when it forks is read by the child itself."""
    cached = CachedScorer(shared)
    reader.hold()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(cached.score, "first", ["a"])
        assert reader.began.wait(10)
        context = multiprocessing.get_context("fork")
        answer = context.SimpleQueue()
        shared._queue._read = Reader().read
        child = context.Process(target=_asks, args=(cached, answer))
        child.start()
        child.join(20)
        ended = child.exitcode
        child.kill()
        reader.open.set()
        first.result(10)
    assert ended == 0
    assert answer.get() == [value("first", "a")]


@pytest.mark.parametrize("kept", [None, "pairs.sqlite"])
async def test_equal_pairs_under_way_are_read_once(
    reader: Reader, shared: SharedScorer, kept: str | None, tmp_path: Path
) -> None:
    """Ten awaited calls for the same pairs cost one reading of them."""
    cached = CachedScorer(shared, path=None if kept is None else tmp_path / kept)
    got = await asyncio.gather(*(cached.ascore("q", texts("p", 20)) for _ in range(10)))
    assert reader.read_of("q") == 20
    assert all(right(made, "q", texts("p", 20)) for made in got)


async def test_waiting_for_another_says_nothing_of_how_long_a_batch_takes(
    reader: Reader, shared: SharedScorer
) -> None:
    """A call that waits long for pairs of another leaves the stage's pace alone, so that the next
    one, with less time, is not refused for it."""
    cached = CachedScorer(shared)
    pace = Pace()
    reader.hold()
    claims = asyncio.create_task(cached.ascore("q", ["a"]))
    await until(reader.began.is_set)
    waits = asyncio.create_task(
        cached.ascore("q", ["a", "b"], stop=Stop(time.monotonic() + 10, pace))
    )
    await asyncio.sleep(0.3)
    reader.open.set()
    assert right(await waits, "q", ["a", "b"])
    await claims
    assert pace.seconds < 0.2


def test_batches_that_stalled_do_not_refuse_the_next_query(
    reader: Reader, shared: SharedScorer
) -> None:
    """With time for many usual batches something is read, though two took seconds before."""
    pace = shared._queue._pace
    for seconds in (*[0.05] * 7, 5.0, 5.0):
        pace.heard(seconds)
    assert pace.seconds >= 0.8
    deadline = time.monotonic() + 0.7
    made = shared.score("q", texts("p", 4), stop=Stop(deadline))
    assert reader.read_of("q") == 4
    assert right(made, "q", texts("p", 4))


async def test_no_thread_waits_for_the_model_where_scores_are_kept_on_disk(
    reader: Reader, shared: SharedScorer, tmp_path: Path
) -> None:
    """A hundred awaited calls wait for the model, and a thread for other work is free at once."""
    cached = CachedScorer(shared, path=tmp_path / "pairs.sqlite")
    reader.hold()
    calls = [asyncio.create_task(cached.ascore(f"q{at}", ["a"])) for at in range(100)]
    await until(lambda: sum(shared._queue._waiting) >= 80)
    assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 10) == "free"
    reader.open.set()
    assert all(right(made, f"q{at}", ["a"]) for at, made in enumerate(await asyncio.gather(*calls)))
    again = CachedScorer(Reader(), path=tmp_path / "pairs.sqlite")
    assert again.score("q7", ["a"]).windows == 0


async def test_a_call_that_is_cancelled_while_the_file_is_read_loses_nothing(
    reader: Reader, shared: SharedScorer, tmp_path: Path
) -> None:
    """At whatever moment it is cancelled, the next one for the same pairs is answered."""
    cached = CachedScorer(shared, path=tmp_path / "pairs.sqlite")
    for turns in range(12):
        query = f"q{turns}"
        task = asyncio.create_task(cached.ascore(query, ["a", "b"]))
        for _ in range(turns):
            await asyncio.sleep(0.0005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        made = await asyncio.wait_for(cached.ascore(query, ["a", "b"]), 10)
        assert right(made, query, ["a", "b"])


@pytest.mark.parametrize("kept", [None, "pairs.sqlite"])
async def test_a_cancelled_call_hands_on_what_others_wait_for(
    reader: Reader, shared: SharedScorer, kept: str | None, tmp_path: Path
) -> None:
    """When the call that computes a pair is cancelled, another that waits for it computes it."""
    cached = CachedScorer(shared, path=None if kept is None else tmp_path / kept)
    reader.hold()
    first = asyncio.create_task(shared.ascore("first", ["a"]))
    await until(reader.began.is_set)
    claims = asyncio.create_task(cached.ascore("q", ["a", "b"]))
    await asyncio.sleep(0.02)
    waits = asyncio.create_task(cached.ascore("q", ["a", "b"]))
    await asyncio.sleep(0.02)
    claims.cancel()
    await asyncio.sleep(0.02)
    reader.open.set()
    assert right(await waits, "q", ["a", "b"])
    await asyncio.gather(first, claims, return_exceptions=True)


def test_a_scorer_of_one_query_at_a_time_is_asked_by_query() -> None:
    """A callable gets each query's passages together, and where only a total is told the longest
    passages count as truncated."""

    class Totals:
        name, kind = "totals@1", "logit"

        def score(
            self, query: str, passages: Sequence[str], /, *, stop: object = None
        ) -> PairScores:
            values = np.array([value(query, each) for each in passages], dtype=np.float32)
            return PairScores(values, truncated=1, windows=len(passages))

    made = SharedScorer(Totals()).score("q", ["a", "a long one", "b"])
    assert right(made, "q", ["a", "a long one", "b"])
    assert made.cut is not None
    assert made.cut.tolist() == [False, True, False]


def test_models_by_name_have_one_line_in_the_process() -> None:
    """Two stages over the embedded model, or over a copy, wait in the same line."""
    first, second = CrossEncoder(), CrossEncoder(k=3)
    third = pickle.loads(pickle.dumps(first))
    lines = {id(each.scorer.scorer._queue) for each in (first, second, third, copy.deepcopy(first))}
    assert len(lines) == 1
    assert SharedScorer(EmbeddedScorer())._queue not in lines


def test_the_embedded_model_says_the_same_to_many_as_to_one() -> None:
    """Sixteen threads on the embedded cross-encoder get bit for bit what one gets."""
    asked = [(f"how to rotate {at % 4}", texts(f"passage about logs {at} ", 3)) for at in range(16)]
    alone = [EmbeddedScorer().score(*each).values for each in asked]
    shared = SharedScorer()
    with ThreadPoolExecutor(16) as pool:
        got = list(pool.map(lambda each: shared.score(*each).values, asked))
    assert all(np.array_equal(a, b) for a, b in zip(alone, got, strict=True))


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": 1.5}, {"wait": -1}, {"wait": True}])
def test_what_it_is_built_with_is_checked(wrong: dict[str, object]) -> None:
    """A limit below 1 and a wait that is no short time are refused by name."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        SharedScorer(Reader(), **wrong)
