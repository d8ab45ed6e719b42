from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.stages.cache import BATCH, ContentCache


class Maker:
    """Makes an array of 4 float32 (16 bytes) that holds the text's length; counts its work."""

    def __init__(self):
        self.made = []

    def __call__(self, texts):
        self.made += texts
        block = np.array([[len(text)] * 4 for text in texts], dtype=np.float32)
        return list(block)


@given(st.lists(st.lists(st.text(max_size=3), max_size=40), max_size=5))
def test_each_text_has_its_own_array_and_is_made_once(calls):
    cache, make = ContentCache(1 << 20), Maker()
    for texts in calls:
        arrays = cache.fetch(texts, make)
        assert [array[0] for array in arrays] == [len(text) for text in texts]
    assert sorted(make.made) == sorted({text for texts in calls for text in texts})


@given(st.lists(st.text(max_size=3), max_size=60), st.integers(0, 200))
def test_no_more_than_the_limit_is_kept(texts, limit):
    cache, make = ContentCache(limit), Maker()
    arrays = cache.fetch(texts, make)
    assert len(cache) * 16 <= limit
    assert [array[0] for array in arrays] == [len(text) for text in texts]


def test_what_was_used_last_stays():
    cache, make = ContentCache(32), Maker()
    for text in ("a", "b", "a", "c"):
        cache.fetch([text], make)
    make.made.clear()
    cache.fetch(["a"], make)
    assert make.made == []
    cache.fetch(["b"], make)
    assert make.made == ["b"]


def test_work_stops_between_batches_when_told_to():
    make = Maker()
    texts = [str(at) for at in range(3 * BATCH)]
    arrays = ContentCache(1 << 20).fetch(texts, make, stop=lambda: len(make.made) >= BATCH)
    assert make.made == texts[:BATCH]
    assert [array is None for array in arrays] == [False] * BATCH + [True] * (2 * BATCH)


def test_what_is_kept_does_not_hold_its_whole_batch():
    cache = ContentCache(1 << 20)
    cache.fetch(["a", "b"], Maker())
    assert all(array.base is None for array in cache._kept.values())


def test_copies_are_empty():
    cache = ContentCache(64)
    cache.fetch(["a"], Maker())
    for copy in (deepcopy(cache), pickle.loads(pickle.dumps(cache))):
        assert len(copy) == 0
        assert copy.limit == 64


def test_a_maker_that_forgets_a_text_is_an_error():
    with pytest.raises(ValueError, match="zip"):
        ContentCache(64).fetch(["a", "b"], lambda texts: Maker()(texts)[1:])


def test_threads_share_it():
    cache, make = ContentCache(16 * 10), Maker()
    texts = [str(at) for at in range(30)]

    def work(_):
        return [array[0] for array in cache.fetch(texts, make)]

    with ThreadPoolExecutor(8) as pool:
        for values in pool.map(work, range(40)):
            assert values == [len(text) for text in texts]
    assert len(cache) == 10
    assert cache._bytes == 160
