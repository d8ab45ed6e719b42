"""How the rest could read: what other queries' candidates got at those ranks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stepwell.candidates import Scores, min_max

# Fewer say too little of how the rest could read.
FEWEST = 10


class Outlook(NamedTuple):
    """What is expected of the order once all is read.

    Attributes:
        order: (r,) places of those read, best first, by their expected score.
        score: (r,) the expected scores in that order.
        doubt: Share of the completions that put others into the top k; 1 where none is known.
    """

    order: NDArray[np.intp]
    score: Scores
    doubt: float


class Completions:
    """Full readings of other queries, from which one that was begun is completed many times.

    Each tail is moved to where the query's own scores lie: in standard deviations from the mean of
    what is read so far. So it tells both which candidates may still come in and how the scale of
    the scores will change, on which a blend depends.

    Args:
        curves: (queries, depth) a reranker's scores in the order of the candidates, NaN where a
            query had fewer.
    """

    def __init__(self, curves: NDArray[np.floating]) -> None:
        self.curves = np.asarray(curves, dtype=np.float64)
        self._lengths = (~np.isnan(self.curves)).sum(axis=1)

    def outlook(
        self, prior: Scores, values: Scores, *, k: int, blend: float, tolerance: int = 0
    ) -> Outlook:
        """What is expected after the first of the candidates are read.

        Args:
            prior: (n,) the score before, of all candidates, never increasing.
            values: (r,) the reranker's scores of the first r.
            k: How many of the top count.
            blend: Weight of the reranker's score, 0 to 1.
            tolerance: How many of the top k may be others.
        """
        final = self._finals(prior, values, blend)
        if final is None:
            mixed = (1.0 - blend) * min_max(prior)[: len(values)] + blend * min_max(values)
            order = np.argsort(-mixed, kind="stable")
            return Outlook(order, mixed[order], 1.0)
        expected = final[:, : len(values)].mean(axis=0)
        order = np.argsort(-expected, kind="stable")
        if len(prior) <= k:
            return Outlook(order, expected[order], 0.0)
        top = np.argpartition(-final, k - 1, axis=1)[:, :k]
        kept = np.zeros(len(prior), dtype=np.bool_)
        kept[order[:k]] = True
        missing = k - kept[top].sum(axis=1)
        return Outlook(order, expected[order], float((missing > tolerance).mean()))

    def _finals(self, prior: Scores, values: Scores, blend: float) -> Scores | None:
        """(completions, n) the final scores in each; None where too few are known."""
        read, n = len(values), len(prior)
        known = self.curves[self._lengths >= n, :n]
        if len(known) < FEWEST or n > self.curves.shape[1]:
            return None
        mean = known[:, :read].mean(axis=1, keepdims=True)
        spread = known[:, :read].std(axis=1, keepdims=True)
        away = np.divide(known[:, read:] - mean, spread, out=known[:, read:] * 0, where=spread > 0)
        rest = values.mean() + values.std() * away
        whole = np.concatenate([np.broadcast_to(values, (len(known), read)), rest], axis=1)
        final: Scores = (1.0 - blend) * min_max(prior) + blend * _min_max_rows(whole)
        return final


def _min_max_rows(values: Scores) -> Scores:
    """`min_max` of each row."""
    low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
    ones = np.ones_like(values)
    made: Scores = np.divide(values - low, high - low, out=ones, where=high > low)
    return made
