"""What error rate some queries can promise: exact tests, one threshold after another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from stepwell.errors import ConfigurationError, InputError, import_extra


def fewest(error_rate: float, confidence: float) -> int:
    """How many queries without a single error it takes to promise this rate.

    Args:
        error_rate: The most that may be wrong, between 0 and 1.
        confidence: How sure the promise is, between 0 and 1.

    Raises:
        ConfigurationError: One of them is not between 0 and 1.

    Example:
        >>> fewest(0.05, 0.9), fewest(0.1, 0.9), fewest(0.01, 0.95)
        (45, 22, 299)
    """
    for what, value in (("error_rate", error_rate), ("confidence", confidence)):
        if isinstance(value, bool) or not 0.0 < value < 1.0:
            raise ConfigurationError(f"{what} must be between 0 and 1, not {value!r}")
    return math.ceil(math.log1p(-confidence) / math.log1p(-error_rate))


def check_enough(queries: int, error_rate: float, confidence: float) -> None:
    """Refuse a promise that so few queries cannot make.

    Raises:
        InputError: There are too few; the message says what they can promise.
    """
    needed = fewest(error_rate, confidence)
    if queries < needed:
        best = -math.expm1(math.log1p(-confidence) / queries) if queries else 1.0
        raise InputError(
            f"{queries} queries to test on cannot promise an error rate of {error_rate:g} with "
            f"confidence {confidence:g}: that takes {needed} at least, and some more to be of use; "
            f"the best that {queries} can promise is {best:.3f} (a third of the queries, 64 at "
            "most, is learnt from and not tested on)"
        )


def p_value(errors: int, queries: int, error_rate: float) -> float:
    """How likely so few errors are if the true rate is above `error_rate`: the binomial tail.

    Exact for queries drawn independently. Below 1 - confidence it is the same as saying that the
    upper Clopper-Pearson limit is at most `error_rate`.
    """
    binom = import_extra("scipy.stats", extra="eval").binom
    return float(binom.cdf(errors, queries, error_rate))


def upper_limit(errors: int, queries: int, confidence: float) -> float:
    """The one-sided Clopper-Pearson limit: the true rate is at most this, with the confidence."""
    if errors >= queries:
        return 1.0
    beta = import_extra("scipy.stats", extra="eval").beta
    return float(beta.ppf(confidence, errors + 1, queries - errors))


def last_kept(
    wrong: Iterable[NDArray[np.bool_]], *, error_rate: float, confidence: float
) -> tuple[int, NDArray[np.bool_] | None]:
    """How far one may go along a sequence of ever bolder rules, and keep the promise.

    Fixed-sequence testing (Bates et al. 2021; Angelopoulos et al., Learn then Test, 2021): each
    rule is tested at the full level, in an order that was fixed before the queries were looked at,
    and the first that fails ends it. The chance that a rule is chosen whose true error rate is
    above `error_rate` is then at most 1 - `confidence`, for any number of queries and without any
    assumption on how errors change along the sequence.

    Args:
        wrong: For each rule, (n,) at which queries it was wrong.
        error_rate: The most that may be wrong.
        confidence: How sure that is to hold.

    Returns:
        The place of the last rule that passed, -1 for none, and where it was wrong.
    """
    at, kept = -1, None
    for at_next, each in enumerate(wrong):
        if p_value(int(each.sum()), len(each), error_rate) > 1.0 - confidence:
            break
        at, kept = at_next, each
    return at, kept


def interval(errors: int, queries: int, confidence: float = 0.95) -> tuple[float, float]:
    """The two-sided Clopper-Pearson interval of a rate."""
    side = (1.0 + confidence) / 2.0
    return 1.0 - upper_limit(queries - errors, queries, side), upper_limit(errors, queries, side)


def distinct(queries: Sequence[str]) -> list[str]:
    """The queries, each once and none blank: equal ones say nothing new."""
    return list(dict.fromkeys(query for query in queries if query.strip()))


def repeated(queries: Sequence[str]) -> float:
    """The share of the queries that were there before, of those that are not blank.

    Example:
        >>> repeated(["a", "b", "a", "a", " "])
        0.5
    """
    there = sum(bool(query.strip()) for query in queries)
    return 1.0 - len(distinct(queries)) / there if there else 0.0
