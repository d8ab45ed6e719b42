from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stepwell.models.batches import logits, plan
from stepwell.models.pairs import Ids, Row
from stepwell.models.protocols import Vectors

SIZES = st.lists(st.integers(1, 512), max_size=60)


@given(SIZES, st.integers(1, 64), st.integers(1, 4096))
def test_every_row_is_in_one_batch_that_holds_it(sizes: list[int], step: int, budget: int) -> None:
    """Batches share out the rows, none wider than the model reads, none over the budget."""
    batches = plan(sizes, step=step, limit=512, budget=budget)
    assert sorted(at for _, members in batches for at in members) == list(range(len(sizes)))
    for width, members in batches:
        assert all(width - step < sizes[at] <= width <= 512 for at in members)
        assert len(members) == 1 or width * len(members) <= budget


@given(SIZES, st.integers(1, 512))
def test_a_rows_width_is_its_own(sizes: list[int], mine: int) -> None:
    """The width that a row is padded to does not depend on the rows beside it."""

    def width(among: list[int]) -> int:
        batches = plan([*among, mine], step=16, limit=512, budget=1024)
        return next(width for width, members in batches if len(among) in members)

    assert width(sizes) == width([])


class Sums:
    """An engine whose score is the sum of the ids that the mask lets through."""

    backend, pad, step, limit, budget, parallel = "sums", 99, 8, 64, 64, True

    def run(self, ids: Ids, mask: Ids, kinds: Ids, /) -> Vectors:
        return (ids * mask).sum(axis=1).astype(np.float32)


@given(st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=64), max_size=40))
def test_scores_come_back_in_order(texts: list[list[int]]) -> None:
    """Sorting by length and running side by side leave every score at its row's place."""
    rows = [Row(np.array(ids), np.zeros(len(ids), np.int64)) for ids in texts]
    assert logits(Sums(), rows).tolist() == [sum(ids) for ids in texts]
