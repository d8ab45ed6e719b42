from __future__ import annotations

import copy
import pickle
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell.errors import ConfigurationError, InputError
from stepwell.models import PairScores, load_scorer
from stepwell.models.pair_cache import CachedScorer
from stepwell.models.protocols import ScoreKind


class Counting:
    """A scorer of real numbers that counts how often it reads each pair."""

    kind: ScoreKind = "logit"
    max_windows = 4

    def __init__(self, name: str = "counting@1", *, seconds: float = 0, batch: int = 2) -> None:
        self.name, self.seconds, self.batch = name, seconds, batch
        self.read: Counter[tuple[str, str]] = Counter()
        self.closed = False
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        return Counting, (self.name,)

    def score(
        self, query: str, passages: Sequence[str], /, *, stop: Callable[[], bool] | None = None
    ) -> PairScores:
        values = np.full(len(passages), np.nan, dtype=np.float32)
        cut = np.array([len(text) > 40 for text in passages], dtype=np.bool_)
        for start in range(0, len(passages), self.batch):
            if stop is not None and stop():
                break
            time.sleep(self.seconds)
            for at, text in enumerate(passages[start : start + self.batch], start=start):
                with self._lock:
                    self.read[query, text] += 1
                values[at] = value(query, text)
        done = ~np.isnan(values)
        return PairScores(values, int((cut & done).sum()), int(done.sum()), cut)

    def close(self) -> None:
        self.closed = True


def value(query: str, text: str) -> float:
    return float(np.float32(len(query) * 1000 + sum(map(ord, text)) / 7))


TEXTS = st.lists(st.text(st.characters(codec=None), max_size=6), max_size=12)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["", "q", "qq"]), TEXTS), max_size=6))
def test_a_kept_score_is_the_computed_one(calls: list[tuple[str, list[str]]]) -> None:
    """Whatever is asked, again or anew, the answers are the inner scorer's, each pair read once."""
    inner = Counting()
    scorer = CachedScorer(inner)
    for query, texts in calls:
        made = scorer.score(query, texts)
        assert made.values.tolist() == [value(query, text) for text in texts]
    assert all(count == 1 for count in inner.read.values())


def test_what_was_truncated_is_remembered() -> None:
    """A kept pair says again that it was truncated, and costs no forward pass."""
    scorer = CachedScorer(Counting())
    texts = ["short", "long " * 20]
    first, second = scorer.score("q", texts), scorer.score("q", texts)
    assert (first.truncated, first.windows) == (1, 2)
    assert (second.truncated, second.windows) == (1, 0)
    assert second.cut is not None
    assert second.cut.tolist() == [False, True]


def test_query_and_passage_are_kept_apart() -> None:
    """Texts that read alike when joined are other pairs."""
    inner = Counting()
    scorer = CachedScorer(inner)
    assert scorer.score("ab", ["c"]).values[0] != scorer.score("a", ["bc"]).values[0]
    assert scorer.score("a\0", ["b"]).values[0] != scorer.score("a", ["\0b"]).values[0]


def test_memory_is_bounded() -> None:
    """Beyond its size the cache forgets what was unused for longest."""
    inner = Counting()
    scorer = CachedScorer(inner, size=3)
    scorer.score("q", ["a", "b", "c"])
    scorer.score("q", ["a"])
    scorer.score("q", ["d"])
    assert len(scorer) == 3
    scorer.score("q", ["a", "c", "d"])
    assert sum(inner.read.values()) == 4
    scorer.score("q", ["b"])
    assert inner.read["q", "b"] == 2


def test_concurrent_identical_pairs_are_computed_once() -> None:
    """Sixteen threads that ask for the same pairs at once read each of them once."""
    inner = Counting(seconds=0.01)
    scorer = CachedScorer(inner)
    texts = [f"passage {number}" for number in range(10)]
    here = threading.Barrier(16)

    def ask(shift: int) -> list[float]:
        here.wait()
        turned = texts[shift % 10 :] + texts[: shift % 10]
        made = dict(zip(turned, scorer.score("q", turned).values.tolist(), strict=True))
        return [made[text] for text in texts]

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(16)))
    assert answers == [[value("q", text) for text in texts]] * 16
    assert set(inner.read.values()) == {1}


def test_who_waits_for_one_that_fails_computes_itself() -> None:
    """When the call that was computing a pair fails, the one that waited gets its answer."""
    began, go = threading.Event(), threading.Event()

    class Failing(Counting):
        def score(
            self, query: str, passages: Sequence[str], /, *, stop: Callable[[], bool] | None = None
        ) -> PairScores:
            if not began.is_set():
                began.set()
                go.wait(5)
                raise RuntimeError("the model broke")
            return super().score(query, passages, stop=stop)

    scorer = CachedScorer(Failing())
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(scorer.score, "q", ["a"])
        began.wait(5)
        second = pool.submit(scorer.score, "q", ["a", "b"])
        go.set()
        assert second.result(5).values.tolist() == [value("q", "a"), value("q", "b")]
        with pytest.raises(RuntimeError, match="broke"):
            first.result(5)


def test_a_deadline_ends_the_waiting() -> None:
    """A call that may not wait returns NaN for the pair that another one still computes."""
    inner = Counting(seconds=0.5)
    scorer = CachedScorer(inner)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(scorer.score, "q", ["a"])
        while not scorer._under_way:
            time.sleep(0.001)
        end = time.monotonic() + 0.05
        made = scorer.score("q", ["a"], stop=lambda: time.monotonic() > end)
        assert np.isnan(made.values).all()
        assert not np.isnan(slow.result(5).values).any()


def test_what_was_not_scored_is_not_kept() -> None:
    """Pairs that `stop` left out are computed when they are asked for again."""
    inner = Counting()
    scorer = CachedScorer(inner)
    asked = iter([False, False, True])
    made = scorer.score("q", ["a", "b", "c", "d"], stop=lambda: next(asked, True))
    assert np.isnan(made.values).tolist() == [False, False, True, True]
    again = scorer.score("q", ["a", "b", "c", "d"])
    assert not np.isnan(again.values).any()
    assert set(inner.read.values()) == {1}


def test_a_scorer_that_returns_nan_is_passed_on() -> None:
    """NaN without a stop is returned, so that the stage above can say so, and nothing hangs."""

    class Silent(Counting):
        def score(
            self, query: str, passages: Sequence[str], /, *, stop: Callable[[], bool] | None = None
        ) -> PairScores:
            return PairScores(np.full(len(passages), np.nan, dtype=np.float32))

    assert np.isnan(CachedScorer(Silent()).score("q", ["a", "b"]).values).all()


def test_a_file_serves_the_next_process(tmp_path: Path) -> None:
    """With a path, another scorer of the same model reads no pair again; one of another does."""
    first = CachedScorer(Counting(), path=tmp_path / "pairs.db")
    first.score("q", ["a", "b"])
    first.close()
    inner, other = Counting(), Counting("counting@2")
    assert CachedScorer(inner, path=tmp_path / "pairs.db").score("q", ["b", "a", "c"]).windows == 1
    assert CachedScorer(other, path=tmp_path / "pairs.db").score("q", ["a"]).windows == 1
    wider = Counting()
    wider.max_windows = 8
    assert CachedScorer(wider, path=tmp_path / "pairs.db").score("q", ["a"]).windows == 1


def test_copies_hold_no_memory_but_the_file(tmp_path: Path) -> None:
    """Deep copies and pickles are small, begin empty, work, and share the file."""
    scorer = CachedScorer(Counting(), path=tmp_path / "pairs.db")
    scorer.score("q", [f"passage {number}" for number in range(1000)])
    frozen = pickle.dumps(scorer)
    assert len(frozen) < 2000
    for twin in (pickle.loads(frozen), copy.deepcopy(scorer)):
        assert len(twin) == 0
        assert twin.score("q", ["passage 7"]).windows == 0


def test_closing_closes_the_model() -> None:
    """`close` forgets the scores and closes the scorer within."""
    inner = Counting()
    scorer = CachedScorer(inner)
    scorer.score("q", ["a"])
    scorer.close()
    assert inner.closed
    assert len(scorer) == 0


@pytest.mark.parametrize("wrong", [{"size": 0}, {"file_size": -1}, {"size": True}])
def test_a_cache_of_nothing_is_refused(wrong: dict[str, int]) -> None:
    """A size below one is a clear error."""
    with pytest.raises(ConfigurationError, match="1 pair or more"):
        CachedScorer(Counting(), **wrong)


def test_a_passage_that_is_no_string_is_refused() -> None:
    """None among the passages is named as what it is."""
    with pytest.raises(InputError, match="NoneType"):
        CachedScorer(Counting()).score("q", [None])  # type: ignore[list-item]


def test_load_scorer_wraps_what_it_loads(tmp_path: Path) -> None:
    """`cache=True` keeps scores of any scorer in memory, a path on disk too."""
    calls: list[str] = []

    def lengths(query: str, texts: list[str]) -> list[float]:
        calls.extend(texts)
        return [float(len(text)) for text in texts]

    for cache in (True, tmp_path / "pairs.db"):
        calls.clear()
        scorer = load_scorer(lengths, cache=cache)
        assert scorer.score("q", ["a", "bb", "a"]).values.tolist() == [1, 2, 1]
        assert scorer.score("q", ["bb"]).values.tolist() == [2]
        assert calls == ["a", "bb"]
        assert isinstance(scorer, CachedScorer)
        scorer.close()


class Totals(Counting):
    """A scorer that says how many passages it cut, and not which."""

    def score(
        self, query: str, passages: Sequence[str], /, *, stop: Callable[[], bool] | None = None
    ) -> PairScores:
        made = super().score(query, passages, stop=stop)
        return PairScores(made.values, made.truncated, made.windows + 3 * made.truncated)


def test_totals_are_passed_on_every_time() -> None:
    """Where a scorer tells only totals, they are never lost: such pairs are read again."""
    inner = Totals()
    scorer = CachedScorer(inner)
    texts = ["short", "long " * 20]
    for _ in range(2):
        made = scorer.score("q", texts)
        assert (made.truncated, made.windows, made.cut) == (1, 5, None)
    for _ in range(2):
        assert scorer.score("q", ["one", "two"]).truncated == 0
    assert inner.read["q", "one"] == 1
    for _ in range(2):
        made = scorer.score("q", ["alone " * 20])
        assert made.truncated == 1
        assert made.passes is not None
        assert made.passes.tolist() == [4]
    assert inner.read["q", "alone " * 20] == 1
