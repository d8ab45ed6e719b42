"""Queries that a stage made worse, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from stepwell.evaluate.asked import Asked, Places, Step
from stepwell.evaluate.judged import Qrels
from stepwell.evaluate.measures import Values, ndcg10

WHY = {
    "cut": "a relevant document of the first ten before was dropped by the stage's depth",
    "truncated": "of a relevant document that fell, the model did not read all",
    "no lexical match": "a relevant document that fell shares no word with the query (BM25 0)",
    "not recalled": "a relevant document was never recalled: the stage could not make up for it",
    "blend": "the stage alone had it no worse than before: the blend is at fault",
    "re-scorer": "the stage alone had it worse than before: the model is at fault",
}
"""What each reason means; a query may have several."""


@dataclass(frozen=True, slots=True)
class Hurt:
    """One query that one stage made worse.

    Attributes:
        query: Its id.
        stage: The stage.
        before: nDCG@10 of the order that the stage was given.
        after: nDCG@10 of the order that it returned.
        why: Keys of `WHY`; empty where none applies.
    """

    query: str
    stage: str
    before: float
    after: float
    why: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "query": self.query,
            "stage": self.stage,
            "before": self.before,
            "after": self.after,
            "why": list(self.why),
        }


def hurt_by(asked: Sequence[Asked], qrels: Qrels, values: Mapping[str, Values]) -> tuple[Hurt, ...]:
    """The queries whose nDCG@10 fell at a stage, the worst first.

    Args:
        asked: Every query, in the order of `qrels`.
        qrels: Grades by query and document.
        values: By stage, (n,) nDCG@10 by query.
    """
    found: list[Hurt] = []
    names = list(values)
    for at, (first, name) in enumerate(pairwise(names), start=1):
        own = _own(asked, qrels, at)
        for n in ((values[first] - values[name]) > 1e-9).nonzero()[0].tolist():
            before, after = float(values[first][n]), float(values[name][n])
            query = asked[n].query
            why = _why(asked[n], at, qrels[query], before, own.get(query))
            found.append(Hurt(query, name, round(before, 6), round(after, 6), why))
    return tuple(sorted(found, key=lambda each: each.after - each.before))


def _own(asked: Sequence[Asked], qrels: Qrels, at: int) -> dict[str, float]:
    """nDCG@10 of the stage's own order, of the queries of which it is known."""
    own = {each.query: p for each in asked if (p := each.steps[at].own) is not None}
    values = ndcg10(qrels, own)
    return {query: float(value) for query, value in zip(qrels, values) if query in own}


def _why(
    asked: Asked, at: int, grades: Mapping[str, int], before: float, alone: float | None
) -> tuple[str, ...]:
    given, step = asked.steps[at - 1].places, asked.steps[at]
    fell = _fell(given, step, grades)
    relevant = {id for id, grade in grades.items() if grade > 0}
    found = {
        "cut": any(id not in step.places for id in fell),
        "truncated": bool(fell.intersection(step.unread)),
        "no lexical match": bool(fell.intersection(asked.wordless)),
        "not recalled": bool(relevant - asked.steps[0].places.keys()),
        "blend": alone is not None and alone >= before - 1e-9,
        "re-scorer": alone is not None and alone < before - 1e-9,
    }
    return tuple(name for name, holds in found.items() if holds)


def _fell(given: Places, step: Step, grades: Mapping[str, int]) -> set[str]:
    """Relevant documents of the first ten that stand lower now, or are gone."""
    last = step.n_in + 1
    return {
        id
        for id, place in given.items()
        if place <= 10 and grades[id] > 0 and step.places.get(id, last) > place
    }
