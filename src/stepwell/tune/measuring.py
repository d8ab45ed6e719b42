"""Measures of many rankings at once: those of ir-measures, by formula."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepwell.candidates import Scores
from stepwell.errors import InputError

_NAMES = {"ndcg": "nDCG", "mrr": "MRR", "rr": "MRR", "r": "R", "recall": "R"}


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure with a cut-off.

    Attributes:
        kind: "nDCG", "MRR" or "R".
        k: How many places count.
    """

    kind: str
    k: int

    @classmethod
    def parse(cls, name: str) -> Measure:
        """The measure of a name such as "nDCG@10", "MRR@10" (or "RR@10"), "R@100".

        Raises:
            InputError: It is none of these.
        """
        found = re.fullmatch(r"(\w+)@([1-9]\d*)", name)
        kind = _NAMES.get(found[1].lower()) if found else None
        if found is None or kind is None:
            raise InputError(f"a cascade is tuned for nDCG@k, MRR@k or R@k, not {name!r}")
        return cls(kind, int(found[2]))

    def __str__(self) -> str:
        return f"{self.kind}@{self.k}"

    def of(self, judged: Iterable[int]) -> Callable[[NDArray[np.integer]], Scores]:
        """The measure of rankings of one query.

        Args:
            judged: The grades that the query's documents have, in any order.

        Returns:
            Takes (n, m) the grade at each place, best first, 0 where nobody judged; gives (n,)
            values, 0 where nothing is relevant.
        """
        ideal = sorted((float(grade) for grade in judged if grade > 0), reverse=True)
        best = np.array(ideal[: self.k])
        weight = _discount(self.k)
        if not ideal:
            return lambda ranked: np.zeros(len(ranked))
        if self.kind == "R":
            return lambda ranked: (ranked[:, : self.k] > 0).sum(axis=1) / len(ideal)
        if self.kind == "MRR":
            weight = 1.0 / np.arange(1, self.k + 1)
            return lambda ranked: _weighted(ranked[:, : self.k] > 0, weight).max(
                axis=1, initial=0.0
            )
        whole = float(best @ weight[: len(best)])
        return lambda ranked: (
            _weighted(np.maximum(ranked[:, : self.k], 0), weight).sum(axis=1) / whole
        )


def _weighted(values: NDArray[Any], weight: Scores) -> Scores:
    found: Scores = values * weight[: values.shape[1]]
    return found


def _discount(n: int) -> Scores:
    """(n,) Jarvelin and Kekalainen (TOIS 2002), as trec_eval has it: 1 / log2(rank + 1)."""
    values: Scores = 1.0 / np.log2(np.arange(2, n + 2))
    return values
