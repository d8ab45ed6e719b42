"""How two answers to one query differ: a value before it is a log line, a metric or a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from stepwell.result import Result
from stepwell.telemetry.overlap import rank_biased_overlap

TOP = 10
"""Ranks that the overlap looks at."""
DEPTH = 100
"""Ranks that are kept; those below weigh under .00003 together in the rank-biased overlap."""


@dataclass(frozen=True, slots=True)
class Side:
    """What one cascade answered.

    Attributes:
        ids: The first hundred, best first.
        score: The best one's final score; None without hits.
        ms: Milliseconds that it took.
        degraded: Whether a stage failed, was skipped or ran out of time.
    """

    ids: tuple[str, ...] = field(repr=False)
    score: float | None
    ms: float
    degraded: bool

    @classmethod
    def of(cls, result: Result) -> Side:
        """What of an answer is compared."""
        hits = result.hits[:DEPTH]
        score = hits[0].score if hits else None
        return cls(tuple(hit.document.id for hit in hits), score, result.trace.ms, result.degraded)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the first ten ids."""
        return {
            "ms": round(self.ms, 3),
            "degraded": self.degraded,
            "score": self.score,
            "ids": list(self.ids[:TOP]),
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """What two cascades answered to one query.

    Attributes:
        query: A hash of the question, the same for equal ones.
        text: The question, or None unless texts are switched on.
        cascade: Name of the live cascade.
        live: What was answered.
        shadow: What the other cascade answered.
        overlap: Of the first ten of each, how many both have, in parts of the longer ten; 1 where
            both are empty.
        rank_biased_overlap: See `stepwell.telemetry.rank_biased_overlap`.
        waited_ms: Milliseconds before the shadow's turn came.
    """

    query: str
    text: str | None = field(repr=False)
    cascade: str
    live: Side
    shadow: Side
    overlap: float
    rank_biased_overlap: float
    waited_ms: float

    @property
    def first_rank(self) -> int | None:
        """The shadow's rank, from 1, of the document that the live cascade has first."""
        first = self.live.ids[:1]
        return (
            self.shadow.ids.index(first[0]) + 1 if first and first[0] in self.shadow.ids else None
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: ids, numbers and the hash; the question only if it is here."""
        return {
            "query": self.query,
            **({"text": self.text} if self.text is not None else {}),
            "cascade": self.cascade,
            f"overlap@{TOP}": round(self.overlap, 6),
            "rank_biased_overlap": round(self.rank_biased_overlap, 6),
            "first_rank": self.first_rank,
            "live": self.live.to_dict(),
            "shadow": self.shadow.to_dict(),
            "waited_ms": round(self.waited_ms, 3),
        }


def overlaps(live: Sequence[str], shadow: Sequence[str]) -> tuple[float, float]:
    """The overlap of the first ten, and the rank-biased one, of two lists of unique ids."""
    ours, theirs = live[:TOP], shadow[:TOP]
    longer = max(len(ours), len(theirs))
    shared = len(set(ours).intersection(theirs)) / longer if longer else 1.0
    return shared, rank_biased_overlap(live, shadow)
