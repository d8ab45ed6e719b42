"""What a score means: which kinds there are, and what each can be read as."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from stepwell.errors import ConfigurationError

Meaning: TypeAlias = Literal["logit", "probability", "similarity", "lexical", "rank", "relative"]
"""The kind of a score.

- "logit": a model's raw number, any size; 0 means nothing in particular unless the model says so.
- "probability": from 0 to 1.
- "similarity": how close two vectors are; cosines from -1 to 1 from Stepwell's own stages.
- "lexical": a sum of weights of matching words, 0 or more; its size depends on the query's words
  and on the corpus.
- "rank": made of places alone.
- "relative": scores moved to 0..1 among one query's candidates, or mixed of such. The best of
  candidates that are all wrong has it as high as the best of good ones.

The last two compare the candidates of one query and say nothing across queries.
"""

MEANINGS: tuple[Meaning, ...] = get_args(Meaning)
WITHIN_A_QUERY: tuple[Meaning, ...] = ("rank", "relative")
"""Kinds of which a threshold says nothing about relevance."""


def check_meaning(kind: Any) -> Meaning | None:
    """The kind, if there is such a one; None where it is not known.

    Raises:
        ConfigurationError: There is no such kind.
    """
    if kind is not None and kind not in MEANINGS:
        raise ConfigurationError(f"there is no kind of score {kind!r}; there are {MEANINGS}")
    return kind  # type: ignore[no-any-return]


def as_probability(
    values: NDArray[Any], kind: Meaning | None, *, logistic: tuple[float, float] = (0.0, 1.0)
) -> NDArray[np.float64] | None:
    """What scores say when they are read as probabilities as they are, without calibration.

    Args:
        values: (n,) in any order.
        kind: A similarity is moved from -1..1; a logit goes through the logistic function.
        logistic: Of a logit: where the model's probability is a half, and how far from there it
            is 0.73.

    Returns:
        (n,) from 0 to 1, in an order that is the scores' own; None for a kind that has no such
        reading.
    """
    scores = np.asarray(values, dtype=np.float64)
    if kind == "logit":
        middle, width = logistic
        # 1 / (1 + exp(-x)), without an overflow at either end.
        return np.exp(-np.logaddexp(0.0, (middle - scores) / width))
    if kind == "similarity":
        scores = (scores + 1) / 2
    elif kind not in ("probability", "relative"):
        return None
    return np.clip(scores, 0.0, 1.0)


def logistic_of(scorer: Any) -> tuple[float, float]:
    """Where the innermost model's probability is a half, and how far from there it is 0.73."""
    while scorer is not None and not hasattr(scorer, "logistic"):
        scorer = getattr(scorer, "scorer", None)
    if scorer is None:
        return 0.0, 1.0
    middle, width = scorer.logistic
    return middle, width
