"""Where quality is lost: what is left after each stage, what its cut drops, what it could be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from stepwell.evaluate.asked import Asked, Step
from stepwell.evaluate.hurting import Hurt, hurt_by
from stepwell.evaluate.judged import Qrels, Run
from stepwell.evaluate.measures import Values, measure, ndcg10, recall
from stepwell.evaluate.significance import Difference, differences
from stepwell.evaluate.tuned import Tuned

BINS = (10, 20, 50, 100, 200, 500, 1000)
"""Places at which relevant documents are dropped are counted up to each, and beyond."""


@dataclass(frozen=True, slots=True)
class StageLoss:
    """One stage of the funnel; everything is a mean over the queries, or a sum.

    Attributes:
        name: The stage.
        recall: Share of a query's relevant documents that are left.
        reachable: nDCG@10 of the best order of what is left.
        ndcg: nDCG@10 of its order.
        lost: Relevant documents that are gone after it and were there before.
        lost_at: By place in its order, how many of those its cut dropped, in `BINS` and beyond; a
            document that it never ranked is in none.
        lift: Of its nDCG@10 over the stage before; None for the first.
        over_tuned: Of its nDCG@10 over the tuned first stage; None where there is none.
        perfect: nDCG@10 of the answer if this stage were perfect and the rest as it is; None where
            that cannot be told.
    """

    name: str
    recall: float
    reachable: float
    ndcg: float
    lost: int
    lost_at: tuple[int, ...]
    lift: Difference | None
    over_tuned: Difference | None
    perfect: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "recall": self.recall,
            "reachable_nDCG@10": self.reachable,
            "nDCG@10": self.ndcg,
            "lost": self.lost,
            "lost_at": dict(zip(bin_names(), self.lost_at)),
            "lift": None if self.lift is None else self.lift.to_dict(),
            "over_tuned": None if self.over_tuned is None else self.over_tuned.to_dict(),
            "if_perfect_nDCG@10": self.perfect,
        }


@dataclass(frozen=True, slots=True)
class Funnel:
    """Where quality is lost.

    Attributes:
        stages: In order.
        relevant: How many relevant documents there are, over all queries.
        ndcg: Mean nDCG@10 of the answers.
        tuned: The tuned first stage that `over_tuned` compares with, if there is one.
        hurt: Queries whose nDCG@10 a stage lowered, the worst first.
    """

    stages: tuple[StageLoss, ...]
    relevant: int
    ndcg: float
    tuned: Tuned | None
    hurt: tuple[Hurt, ...]

    @property
    def work_on(self) -> str | None:
        """The stage whose perfection would gain most; None where none would gain."""
        told = [stage for stage in self.stages if stage.perfect is not None]
        best = max(told, key=lambda stage: stage.perfect or 0.0, default=None)
        return best.name if best and (best.perfect or 0.0) > self.ndcg else None

    def reasons(self) -> dict[str, dict[str, int]]:
        """By stage and reason, in how many of the queries that it hurt."""
        found: dict[str, Counter[str]] = {}
        for each in self.hurt:
            found.setdefault(each.stage, Counter()).update(each.why)
        return {stage: dict(counts.most_common()) for stage, counts in found.items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "relevant": self.relevant,
            "stages": [stage.to_dict() for stage in self.stages],
            "tuned_first_stage": None if self.tuned is None else self.tuned.to_dict(),
            "work_on": self.work_on,
            "reasons": self.reasons(),
            "hurt": [each.to_dict() for each in self.hurt],
        }


def bin_names() -> list[str]:
    """What the bins are called: "1-10", "11-20", ..., "1001-"."""
    starts = (1, *(edge + 1 for edge in BINS))
    return [*(f"{low}-{high}" for low, high in zip(starts, BINS)), f"{starts[-1]}-"]


def funnel(
    asked: Sequence[Asked], qrels: Qrels, tuned: Tuned | None, *, seed: int = 0
) -> Funnel | None:
    """Work it out from what was seen; None where the queries did not go through the same stages.

    Args:
        asked: Every query, in the order of `qrels`.
        qrels: Grades by query and document.
        tuned: The tuned first stage, if there is one.
        seed: Of bootstrap and test.
    """
    names = [step.name for step in asked[0].steps]
    if not names or any([step.name for step in each.steps] != names for each in asked):
        return None
    steps = {name: [each.steps[at] for each in asked] for at, name in enumerate(names)}
    values = {name: stage_ndcg(each, qrels) for name, each in steps.items()}
    lifts = _lifts(values, tuned, seed)
    answered = {each.query: _first_ten(each) for each in asked}
    stages = []
    for at, name in enumerate(names):
        before = steps[names[at - 1]] if at else None
        stages.append(_loss(name, steps[name], before, values[name], asked, qrels, lifts))
    return Funnel(
        stages=tuple(stages),
        relevant=sum(grade > 0 for grades in qrels.values() for grade in grades.values()),
        ndcg=mean(ndcg10(qrels, answered)),
        tuned=tuned,
        hurt=hurt_by(asked, qrels, values),
    )


def stage_ndcg(steps: Sequence[Step], qrels: Qrels) -> Values:
    """(n,) nDCG@10 of one stage's order, by query."""
    return ndcg10(qrels, {query: step.places for query, step in zip(qrels, steps)})


def mean(values: Sequence[float] | Values) -> float:
    """The mean, to six decimals."""
    return round(float(np.mean(values)), 6)


def _loss(
    name: str,
    steps: Sequence[Step],
    before: Sequence[Step] | None,
    values: Values,
    asked: Sequence[Asked],
    qrels: Qrels,
    lifts: Mapping[str, Difference],
) -> StageLoss:
    lost, lost_at = 0, [0] * (len(BINS) + 1)
    for at, (step, grades) in enumerate(zip(steps, qrels.values())):
        had = grades if before is None else before[at].places
        for id in had:
            if grades[id] > 0 and id not in step.places:
                lost += 1
                if id in step.dropped:
                    lost_at[int(np.searchsorted(BINS, step.dropped[id]))] += 1
    perfect = [each.perfect.get(name) for each in asked]
    told = {each.query: p for each, p in zip(asked, perfect) if p is not None}
    best: Run = {
        query: {id: float(grade) for id, grade in grades.items() if id in step.places}
        for (query, grades), step in zip(qrels.items(), steps)
    }
    return StageLoss(
        name=name,
        recall=mean([recall(grades, s.places) for s, grades in zip(steps, qrels.values())]),
        reachable=mean(measure(qrels, best, measures=["nDCG@10"])["nDCG@10"]),
        ndcg=mean(values),
        lost=lost,
        lost_at=tuple(lost_at),
        lift=lifts.get(f"{name} before"),
        over_tuned=lifts.get(f"{name} tuned"),
        perfect=mean(ndcg10(qrels, told)) if len(told) == len(asked) else None,
    )


def _lifts(values: Mapping[str, Values], tuned: Tuned | None, seed: int) -> dict[str, Difference]:
    """Each stage over the one before and over the tuned first stage, corrected together."""
    names = list(values)
    new = {f"{name} before": values[name] for name in names[1:]}
    old = {f"{name} before": values[before] for before, name in pairwise(names)}
    if tuned is not None:
        new |= {f"{name} tuned": values[name] for name in names}
        old |= {f"{name} tuned": tuned.values for name in names}
    return differences(new, old, seed=seed)


def _first_ten(asked: Asked) -> dict[str, int]:
    return {id: at for at, id in enumerate(asked.ids[:10], start=1)}
