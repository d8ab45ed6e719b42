"""Measures by query, and how far their mean can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from stepwell.errors import import_extra
from stepwell.evaluate.judged import Qrels, Run

Values: TypeAlias = NDArray[np.float64]

MEASURES = {"nDCG@10": "nDCG@10", "MRR@10": "RR@10", "R@100": "R@100"}
"""Our names, and those of ir-measures."""
RESAMPLES = 2000


def measure(
    qrels: Qrels, run: Run, *, measures: Sequence[str] = tuple(MEASURES)
) -> dict[str, Values]:
    """Measure a run, by ir-measures.

    Args:
        qrels: Grades by query and document.
        run: Scores by query and document; a query that it lacks counts 0.
        measures: Names out of `MEASURES`.

    Returns:
        By name, (n,) one value a query, in the order of `qrels`.

    Raises:
        MissingExtraError: The extra `eval` is not installed.
    """
    library = import_extra("ir_measures", extra="eval")
    asked = {library.parse_measure(MEASURES[name]): name for name in measures}
    place = {query: at for at, query in enumerate(qrels)}
    values = {name: np.zeros(len(qrels)) for name in measures}
    for each in library.iter_calc(list(asked), qrels, run):
        if each.query_id in place:
            values[asked[each.measure]][place[each.query_id]] = each.value
    return values


def as_run(rankings: Mapping[str, Sequence[str]]) -> Run:
    """Rankings as a run without ties, which measures would break in an order of their own."""
    return {
        query: {id: float(len(ids) - at) for at, id in enumerate(ids)}
        for query, ids in rankings.items()
    }


def recall(grades: Mapping[str, int], ids: Sequence[str]) -> float:
    """The share of a query's relevant documents that are among the ids; 0 if it has none."""
    relevant = {id for id, grade in grades.items() if grade > 0}
    return len(relevant.intersection(ids)) / len(relevant) if relevant else 0.0


def interval95(values: Values, *, seed: int = 0) -> tuple[float, float]:
    """Where the mean lies with 95% confidence, by bootstrap over the queries (percentiles).

    One query says nothing about the next: its interval is 0 to 1.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    if len(values) < 2:
        return 0.0, 1.0
    stats = import_extra("scipy.stats", extra="eval")
    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=200,
        confidence_level=0.95,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)
