"""Rank-biased overlap: how alike two orders are, the top counting most."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from stepwell.errors import InputError

PERSISTENCE = 0.9
"""How far down a reader goes: the first ten ranks weigh .86 together."""


def rank_biased_overlap(
    a: Sequence[Hashable], b: Sequence[Hashable], /, *, p: float = PERSISTENCE
) -> float:
    """Rank-biased overlap of two orders, extrapolated: 1 for equal ones, 0 for disjoint ones.

    Webber, Moffat and Zobel, A Similarity Measure for Indefinite Rankings (ACM TOIS 28(4), 2010),
    equation 32. With S the shorter list (length s), L the longer one (length l) and X(d) the number
    of items that are in the first d of both:

    ``RBO = (1-p)/p * (sum_{d=1..l} X(d)/d p^d + sum_{d=s+1..l} X(s)(d-s)/(s d) p^d)
    + ((X(l)-X(s))/l + X(s)/s) p^l``

    Two empty orders are equal; an empty and another one share nothing.

    Args:
        a: Unique items, best first.
        b: Unique items, best first.
        p: Above 0 and below 1; the chance that a reader goes on to the next rank. At .9 the first
            ten ranks weigh .86 together.

    Raises:
        InputError: p is not between 0 and 1, or an item comes twice.

    Example:
        >>> rank_biased_overlap("abc", "abc"), rank_biased_overlap("abc", "xyz")
        (1.0, 0.0)
        >>> round(rank_biased_overlap("abc", "bac"), 3)
        0.9
    """
    if not 0.0 < p < 1.0:
        raise InputError(f"p must be above 0 and below 1, not {p!r}")
    place = {item: rank for rank, item in enumerate(a, 1)}
    if len(place) < len(a) or len(set(b)) < len(b):
        raise InputError("an item comes twice in one order")
    if not a or not b:
        return float(len(a) == len(b))
    if list(a) == list(b):
        return 1.0  # the sum below rounds
    short, long = sorted((len(a), len(b)))
    # An item is in both from the deeper of its two ranks on.
    deeper = [max(rank, place[item]) for rank, item in enumerate(b, 1) if item in place]
    shared = np.bincount(deeper, minlength=long + 1)[1:].cumsum()
    depth = np.arange(1, long + 1)
    weight = np.power(p, depth)
    agreed = float((shared / depth * weight).sum())
    beyond = depth[short:]
    at_short, at_long = int(shared[short - 1]), int(shared[-1])
    agreed += float((at_short * (beyond - short) / (short * beyond) * weight[short:]).sum())
    rest = ((at_long - at_short) / long + at_short / short) * p**long
    return min((1.0 - p) / p * agreed + float(rest), 1.0)
