"""What a threshold does: how often "nothing relevant here" is said, and how often rightly."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

THRESHOLDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7)


@dataclass(frozen=True, slots=True)
class Threshold:
    """What leaving out all below one probability does.

    Attributes:
        at_least: The threshold.
        abstained: Queries of which nothing is left.
        rightly: Those of them that have no answer.
        precision: Share of the abstained that have no answer; None if none was.
        recall: Share of the queries without an answer that were abstained from.
        kept: Share of the queries with an answer that still get one or more documents.
        passed: Mean documents that pass for a query.
    """

    at_least: float
    abstained: int
    rightly: int
    precision: float | None
    recall: float
    kept: float
    passed: float


@dataclass(frozen=True, slots=True)
class Abstaining:
    """Queries without an answer, told from the others by their most probable candidate.

    Attributes:
        queries: All.
        unanswerable: Those that have no relevant document.
        auc: How probable it is that a query with an answer has a more probable best candidate than
            one without; .5 is chance.
        thresholds: From low to high.
    """

    queries: int
    unanswerable: int
    auc: float
    thresholds: tuple[Threshold, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def abstaining(
    probabilities: NDArray[np.float64],
    query: NDArray[np.intp],
    answerable: NDArray[np.bool_],
    *,
    at_least: float | None = None,
) -> Abstaining | None:
    """What thresholds do; None where all queries have an answer, or none has.

    Args:
        probabilities: (n,) of candidates.
        query: (n,) the query that each is of.
        answerable: (queries,) whether it has a relevant document.
        at_least: A threshold to show besides the usual ones.
    """
    lacking = ~answerable
    if not lacking.any() or lacking.all():
        return None
    # A query without a scored candidate is abstained from at any threshold.
    best = np.full(len(answerable), -1.0)
    np.maximum.at(best, query, probabilities)
    asked = sorted({*THRESHOLDS, *(() if at_least is None else (at_least,))})
    return Abstaining(
        queries=len(answerable),
        unanswerable=int(lacking.sum()),
        auc=_auc(best[answerable], best[lacking]),
        thresholds=tuple(_at(each, best, probabilities, lacking) for each in asked),
    )


def _at(
    least: float,
    best: NDArray[np.float64],
    probabilities: NDArray[np.float64],
    lacking: NDArray[np.bool_],
) -> Threshold:
    silent = best < least
    rightly = int((silent & lacking).sum())
    abstained = int(silent.sum())
    return Threshold(
        at_least=least,
        abstained=abstained,
        rightly=rightly,
        precision=round(rightly / abstained, 4) if abstained else None,
        recall=round(rightly / int(lacking.sum()), 4),
        kept=round(float((~silent[~lacking]).mean()), 4),
        passed=round(float((probabilities >= least).sum() / len(best)), 2),
    )


def _auc(higher: NDArray[np.float64], lower: NDArray[np.float64]) -> float:
    above = (higher[:, None] > lower[None, :]).mean()
    equal = (higher[:, None] == lower[None, :]).mean()
    return round(float(above + equal / 2), 4)
