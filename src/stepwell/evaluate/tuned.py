"""The best first stage that the same recall allows: a hybrid whose weight is chosen by queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stepwell.cascade import Cascade
from stepwell.corpus import Corpus
from stepwell.evaluate.asked import Asked, Places, places_of
from stepwell.evaluate.judged import Qrels
from stepwell.evaluate.measures import Values, ndcg10
from stepwell.stages import BM25, Dense, Hybrid
from stepwell.stages.fusion import convex, union
from stepwell.trace import StageRecord

WEIGHTS = tuple(round(0.05 * n, 2) for n in range(21))
FOLDS = 5
_TOP = 10


@dataclass(frozen=True, slots=True)
class Tuned:
    """A tuned first stage, measured on queries that its weight was not chosen by.

    Attributes:
        arms: The names of the two arms.
        weight: Of the second arm, chosen by all queries; the first has the rest.
        ndcg: Mean nDCG@10 by cross-validation.
        values: (n,) nDCG@10 by query, each with the weight that the other folds chose.
    """

    arms: tuple[str, str]
    weight: float
    ndcg: float
    values: Values

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"arms": list(self.arms), "weight": self.weight, "nDCG@10": self.ndcg}


def first_stage(cascade: Cascade, corpus: Corpus | None) -> Hybrid | None:
    """The hybrid to tune: the cascade's own of two arms, else BM25 and vectors over its corpus."""
    own = cascade.stages[0]
    if isinstance(own, Hybrid) and len(own.arms) == 2:
        return own
    if corpus is None or corpus.encoder is None:
        return None
    return Hybrid([BM25(corpus), Dense(corpus)])


def swept(hybrid: Hybrid, record: StageRecord, grades: Mapping[str, int]) -> dict[str, Places]:
    """By weight of the second arm, the judged documents among the first ten.

    Args:
        hybrid: Of two arms.
        record: Of that stage for one query, with a record an arm.
        grades: Of the query.
    """
    arms: Sequence[Any] = record.children  # ids and score: all that the table is made of
    if any(arm.status != "ok" for arm in arms):
        return {}
    table = union(arms)
    floors = [getattr(arm, "floor", None) for arm in hybrid.arms]
    found: dict[str, Places] = {}
    for weight in WEIGHTS:
        fused = convex(table.scores, (1 - weight, weight), floors=floors)
        best = np.argsort(-fused, kind="stable")[:_TOP]
        found[f"{weight:g}"] = places_of([table.ids[at] for at in best.tolist()], grades)
    return found


def tuned(hybrid: Hybrid, asked: Sequence[Asked], qrels: Qrels, *, seed: int = 0) -> Tuned | None:
    """Choose the weight by cross-validation; None for fewer than two queries, or a failed arm."""
    if len(asked) < 2 or not all(each.tuned for each in asked):
        return None
    values = np.array(
        [
            ndcg10(qrels, {each.query: each.tuned[f"{weight:g}"] for each in asked})
            for weight in WEIGHTS
        ]
    )
    fold = np.random.default_rng(seed).permutation(len(asked)) % min(FOLDS, len(asked))
    held = np.empty(len(asked))
    for at in range(fold.max() + 1):
        best = values[:, fold != at].mean(axis=1).argmax()
        held[fold == at] = values[best, fold == at]
    first, second = (arm.name for arm in hybrid.arms)
    return Tuned(
        arms=(first, second),
        weight=WEIGHTS[int(values.mean(axis=1).argmax())],
        ndcg=round(float(held.mean()), 6),
        values=held,
    )
