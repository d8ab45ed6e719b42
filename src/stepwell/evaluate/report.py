"""What an evaluation says: measures with intervals, the loss at each stage, the time it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stepwell.evaluate.funnel import Funnel
from stepwell.evaluate.measures import Values
from stepwell.evaluate.reliability import Reliability
from stepwell.evaluate.significance import Difference
from stepwell.trace import Status

Interval = tuple[float, float]
PERCENTILES = (50, 95, 99)
NOT_TIMED: dict[str, float | None] = {f"p{percent}": None for percent in PERCENTILES}


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
class Baseline:
    """How a report differs from another one of the same queries.

    Attributes:
        name: What the other one is called.
        measures: Its means.
        differences: By measure, the report's values less the other's.
    """

    name: str
    measures: Mapping[str, float]
    differences: Mapping[str, Difference]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "measures": dict(self.measures),
            "differences": {name: each.to_dict() for name, each in self.differences.items()},
        }


@dataclass(frozen=True, slots=True)
class Report:
    """One evaluation.

    Attributes:
        dataset: Its name.
        preset: The system's name; None for a run that was made elsewhere.
        queries: How many were measured.
        measures: Mean by measure.
        interval95: By measure, where the mean lies with 95% confidence.
        stages: One row a stage; empty where the system is no cascade.
        latency_ms: "p50", "p95" and "p99" of a whole query in milliseconds; None where not timed.
        left_out: Queries without a judged document, which were not asked.
        remarks: What a reader must know of the numbers.
        baseline: How it differs from another system, if that was asked for.
        funnel: Where quality is lost, if that was asked for.
        ids: (n,) ids of the queries.
        values: By measure, (n,) one value a query.
        ms: (n,) milliseconds by query; empty where not timed.
        stage_values: By stage, (n,) nDCG@10 of its order.
        calibration: How far the probabilities of a calibrated cascade are from what came true.
    """

    dataset: str
    preset: str | None
    queries: int
    measures: Mapping[str, float]
    interval95: Mapping[str, Interval]
    stages: tuple[StageRow, ...] = ()
    latency_ms: Mapping[str, float | None] = field(default_factory=lambda: dict(NOT_TIMED))
    left_out: int = 0
    remarks: tuple[str, ...] = ()
    baseline: Baseline | None = None
    funnel: Funnel | None = None
    ids: tuple[str, ...] = field(default=(), repr=False)
    values: Mapping[str, Values] = field(default_factory=dict, repr=False)
    ms: tuple[float, ...] = field(default=(), repr=False)
    stage_values: Mapping[str, Values] = field(default_factory=dict, repr=False)
    calibration: Reliability | None = None

    @property
    def name(self) -> str:
        """What the system is called."""
        return self.preset or "run"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; parts that were not asked for are left out."""
        return {
            "dataset": self.dataset,
            "preset": self.preset,
            "queries": self.queries,
            "measures": dict(self.measures),
            "interval95": {name: list(pair) for name, pair in self.interval95.items()},
            "stages": [row.to_dict() for row in self.stages],
            "latency_ms": dict(self.latency_ms),
            "remarks": list(self.remarks),
            **({"baseline": self.baseline.to_dict()} if self.baseline else {}),
            **({"calibration": self.calibration.to_dict()} if self.calibration else {}),
            **({"funnel": self.funnel.to_dict()} if self.funnel else {}),
        }

    def by_query(self) -> list[dict[str, Any]]:
        """One row a query for JSON: measures, milliseconds and nDCG@10 by stage; no text."""
        return [
            {
                "query": id,
                "measures": {name: round(float(v[at]), 6) for name, v in self.values.items()},
                **({"ms": self.ms[at]} if self.ms else {}),
                **({"stages": self._stages_at(at)} if self.stage_values else {}),
            }
            for at, id in enumerate(self.ids)
        ]

    def _stages_at(self, at: int) -> dict[str, float]:
        return {name: round(float(each[at]), 6) for name, each in self.stage_values.items()}


def percentiles(ms: Sequence[float]) -> dict[str, float | None]:
    """The percentiles of the milliseconds; None each where nothing was timed."""
    if not ms:
        return dict(NOT_TIMED)
    return {f"p{percent}": round(float(np.percentile(ms, percent)), 3) for percent in PERCENTILES}
