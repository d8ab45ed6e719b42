"""What an evaluation says: measures with intervals, the loss at each stage, the time it took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stepwell.trace import Status

Interval = tuple[float, float]
NOT_TIMED: dict[str, float | None] = {"p50": None, "p95": None}


@dataclass(frozen=True, slots=True)
class StageRow:
    """One stage over all queries.

    Attributes:
        name: The stage.
        n_in: Mean number of candidates it was given.
        n_out: Mean number it returned.
        recall: Mean share of a query's relevant documents among those it returned.
        ndcg: Mean nDCG@10 of its order.
        ms_p50: Median milliseconds.
        ms_p95: 95th percentile of the milliseconds.
        status: The worst it had with any query: failed, skipped, partial, idle, ok.
    """

    name: str
    n_in: float
    n_out: float
    recall: float
    ndcg: float
    ms_p50: float
    ms_p95: float
    status: Status

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "n_in": self.n_in,
            "n_out": self.n_out,
            "recall": self.recall,
            "nDCG@10": self.ndcg,
            "ms_p50": self.ms_p50,
            "ms_p95": self.ms_p95,
            "status": self.status,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """One evaluation.

    Attributes:
        dataset: Its name.
        preset: The cascade's name; None for a run that was made elsewhere.
        queries: How many were measured.
        measures: Mean by measure, from 0 to 1.
        interval95: By measure, where the mean lies with 95% confidence.
        stages: One row a stage; empty for a run that was made elsewhere.
        latency_ms: "p50" and "p95" of a whole query in milliseconds; None each where not timed.
        left_out: Queries without a judged document, which were not asked.
    """

    dataset: str
    preset: str | None
    queries: int
    measures: Mapping[str, float]
    interval95: Mapping[str, Interval]
    stages: tuple[StageRow, ...] = ()
    latency_ms: Mapping[str, float | None] = field(default_factory=lambda: dict(NOT_TIMED))
    left_out: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "dataset": self.dataset,
            "preset": self.preset,
            "queries": self.queries,
            "measures": dict(self.measures),
            "interval95": {name: list(pair) for name, pair in self.interval95.items()},
            "stages": [row.to_dict() for row in self.stages],
            "latency_ms": dict(self.latency_ms),
        }
