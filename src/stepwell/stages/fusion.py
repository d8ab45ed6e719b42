"""Fusion: several ranked lists into one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from stepwell.candidates import Candidates, Scores, min_max


@dataclass(frozen=True, slots=True, eq=False)
class Union:
    """What several lists found, as one table.

    Attributes:
        ids: (n,) each id once, by best rank, then by id.
        scores: (lists, n) float64, NaN where a list did not find one.
        ranks: (lists, n) int32 from 1, 0 where a list did not find one.
    """

    ids: list[str]
    scores: Scores
    ranks: NDArray[np.int32]


def union(lists: Sequence[Candidates]) -> Union:
    """The table of these lists, each in its own order."""
    found = [each.ids.tolist() for each in lists]
    ids = sorted(set().union(*found))
    place = dict(zip(ids, range(len(ids))))
    scores = np.full((len(lists), len(ids)), np.nan)
    ranks = np.zeros((len(lists), len(ids)), dtype=np.int32)
    for row, each in enumerate(lists):
        # Backwards, so that of an id that comes twice the better place stays.
        at = list(map(place.__getitem__, reversed(found[row])))
        scores[row, at] = each.score[::-1]
        ranks[row, at] = np.arange(len(at), 0, -1)
    last = np.iinfo(np.int32).max
    best = np.where(ranks > 0, ranks, last).min(axis=0, initial=last)
    order = np.argsort(best, kind="stable")
    return Union([ids[at] for at in order.tolist()], scores[:, order], ranks[:, order])


def convex(
    scores: Scores, weights: Sequence[float], *, floors: Sequence[float | None] = ()
) -> Scores:
    """(n,) the weighted mean of the lists' scores, each moved to 0..1; not found counts as 0.

    Bruch, Gai and Ingber, An Analysis of Fusion Functions for Hybrid Retrieval (TOIS 2023).

    Args:
        scores: (lists, n) NaN where a list did not find one.
        weights: One a list, not negative, not all 0.
        floors: One a list: what becomes 0; None, or none given, is the least score found.
    """
    fused = np.zeros(scores.shape[1])
    for weight, row, floor in zip_longest(_shares(weights), scores, floors):
        found = ~np.isnan(row)
        moved = min_max(row[found]) if floor is None else _above(row[found], floor)
        fused[found] += weight * moved
    return fused


def reciprocal_rank(ranks: NDArray[np.int32], weights: Sequence[float], *, k: int = 60) -> Scores:
    """(n,) the weighted mean of ``1 / (k + rank)``; not found counts as 0.

    Cormack, Clarke and Buettcher, Reciprocal Rank Fusion (SIGIR 2009).

    Args:
        ranks: (lists, n) from 1, 0 where a list did not find one.
        weights: One a list, not negative, not all 0.
        k: How slowly the value of a rank falls.
    """
    fused = np.zeros(ranks.shape[1])
    for weight, row in zip(_shares(weights), ranks):
        found = row > 0
        fused[found] += weight / (k + row[found])
    return fused


def _above(values: Scores, floor: float) -> Scores:
    high = values.max(initial=floor)
    if high <= floor:
        return np.zeros_like(values)
    moved: Scores = np.clip((values - floor) / (high - floor), 0.0, 1.0)
    return moved


def _shares(weights: Sequence[float]) -> Scores:
    raw = np.asarray(weights, dtype=np.float64)
    shares: Scores = raw / raw.sum()
    return shares
