"""Measures by query, and how far their mean can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stepwell.errors import InputError, import_extra
from stepwell.evaluate.judged import Qrels, Run

Values: TypeAlias = NDArray[np.float64]

MEASURES = ("nDCG@10", "MRR@10", "R@100")
"""What is measured when nothing else is asked for."""
RESAMPLES = 2000
DEPTH, WHOLE = 100, 1000
"""Documents asked for: at least, and where a measure looks at the whole ranking."""


def measure(qrels: Qrels, run: Run, *, measures: Sequence[str] = MEASURES) -> dict[str, Values]:
    """Measure a run, by ir-measures.

    Args:
        qrels: Grades by query and document.
        run: Scores by query and document; a query that it lacks counts 0.
        measures: Any that ir-measures knows, such as "nDCG@10" or "P(rel=2)@5".

    Returns:
        By name, (n,) one value a query, in the order of `qrels`.

    Raises:
        InputError: There is no such measure, or a query has no value.
        MissingExtraError: The extra `eval` is not installed.
    """
    library = import_extra("ir_measures", extra="eval")
    asked = parsed(measures)
    names = {each: name for name, each in asked.items()}
    place = {query: at for at, query in enumerate(qrels)}
    values = {name: np.zeros(len(qrels)) for name in asked}
    for each in library.iter_calc(list(names), qrels, run):
        if each.query_id in place:
            values[names[each.measure]][place[each.query_id]] = each.value
    for name, found in values.items():
        if not np.isfinite(found).all():
            raise InputError(f"{name} has no value for some query; choose another measure")
    return values


def parsed(measures: Sequence[str]) -> dict[str, Any]:
    """The measures of ir-measures by name, each once.

    Raises:
        InputError: There is none of that name, it lacks an argument, or another package.
        MissingExtraError: The extra `eval` is not installed.
    """
    library = import_extra("ir_measures", extra="eval")
    found: dict[str, Any] = {}
    for name in measures:
        try:
            made = library.parse_measure(name)
            made.validate_params()
            supported = library.DefaultPipeline.supports(made)
        except (NameError, ValueError, AssertionError, SyntaxError, TypeError) as error:
            raise InputError(
                f"{name!r} is no measure of ir-measures; try nDCG@10, R@1000, RR@10, AP or P@5"
            ) from error
        if made.params.get("cutoff", 1) < 1:
            raise InputError(f"{name!r} looks at no document; its number must be at least 1")
        if not supported:
            raise InputError(f"{name!r} needs a package that ir-measures does not find here")
        if made not in found.values():
            found[name] = made
    if not found:
        raise InputError("name a measure, such as nDCG@10")
    return found


def depth_of(measures: Sequence[str]) -> int:
    """How many documents must be answered so that the measures see what they look at."""
    cuts = [int(each.params.get("cutoff", WHOLE)) for each in parsed(measures).values()]
    return max(DEPTH, *cuts)


def as_run(rankings: Mapping[str, Sequence[str]]) -> Run:
    """Rankings as a run without ties, which measures would break in an order of their own."""
    return {
        query: {id: float(len(ids) - at) for at, id in enumerate(ids)}
        for query, ids in rankings.items()
    }


def as_ranked(places: Mapping[str, int], depth: int = 10) -> list[str]:
    """A ranking with these documents at these places, from 1, and others between them."""
    among = {place: id for id, place in places.items() if place <= depth}
    filler = "other"
    while any(id.startswith(filler) for id in places):
        filler += "-other"
    return [among.get(at, f"{filler}{at}") for at in range(1, max(among, default=0) + 1)]


def ndcg10(qrels: Qrels, places: Mapping[str, Mapping[str, int]]) -> Values:
    """(n,) nDCG@10 by query, of judged documents at these places."""
    run = as_run({query: as_ranked(each) for query, each in places.items()})
    return measure(qrels, run, measures=["nDCG@10"])["nDCG@10"]


def recall(grades: Mapping[str, int], ids: Sequence[str] | Mapping[str, Any]) -> float:
    """The share of a query's relevant documents that are among the ids; 0 if it has none."""
    relevant = {id for id, grade in grades.items() if grade > 0}
    return len(relevant.intersection(ids)) / len(relevant) if relevant else 0.0


def interval95(
    values: Values, *, seed: int = 0, unknown: tuple[float, float] = (0.0, 1.0)
) -> tuple[float, float]:
    """Where the mean lies with 95% confidence, by bootstrap over the queries (percentiles).

    One query says nothing about the next: its interval is `unknown`.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    if len(values) < 2:
        return unknown
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
