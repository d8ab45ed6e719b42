"""`verify`: run a setting really, and see whether it is what the replay said."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from stepwell.errors import InputError
from stepwell.evaluate.evaluation import warm_up
from stepwell.tune.anatomy import build, uncached
from stepwell.tune.measuring import Measure
from stepwell.tune.recording import Recording
from stepwell.tune.setting import Setting


@dataclass(frozen=True, slots=True)
class Verified:
    """A setting, replayed and run.

    Attributes:
        queries: How many were asked.
        measure: What was measured.
        replayed: Its mean by the replay.
        run: Its mean by the run.
        predicted_ms: "p50" and "p95" by the replay.
        measured_ms: "p50" and "p95" by the run, without memory of pairs.
    """

    queries: int
    measure: str
    replayed: float
    run: float
    predicted_ms: dict[str, float]
    measured_ms: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "queries": self.queries,
            "measure": self.measure,
            "replayed": round(self.replayed, 6),
            "run": round(self.run, 6),
            "predicted_ms": self.predicted_ms,
            "measured_ms": self.measured_ms,
        }


def verify(
    recording: Recording,
    setting: Setting,
    *,
    measure: str = "nDCG@10",
    queries: int = 30,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Verified:
    """Run the cascade with a setting on some of the recorded queries.

    Args:
        recording: Made by `record`.
        setting: Out of those recorded for.
        measure: "nDCG@k", "MRR@k" or "R@k".
        queries: How many, drawn at random; all if there are fewer.
        seed: Of the draw.
        progress: Called with the number of queries done, and of how many.

    Raises:
        InputError: `queries` is below 1.
    """
    if queries < 1:
        raise InputError(f"the number of queries must be at least 1, not {queries}")
    asked = Measure.parse(measure)
    data = recording.dataset
    names = list(data.queries)
    drawn = sorted(random.Random(seed).sample(range(len(names)), min(queries, len(names))))
    cascade = uncached(build(recording.anatomy, setting))
    warm_up(cascade, next(iter(data.queries.values())))
    values, took = [], []
    for done, at in enumerate(drawn, start=1):
        judged = data.qrels[names[at]]
        # With a blank at its end, no model has kept anything of the question.
        result = cascade.search(f"{data.queries[names[at]]} ", k=max(asked.k, 10))
        grades = np.array([[judged.get(id, 0) for id in result.ids]], dtype=np.int64)
        values.append(float(asked.of(judged.values())(grades)[0]))
        took.append(result.trace.ms)
        if progress is not None:
            progress(done, len(drawn))
    replayed = recording.values(measure, settings=[setting])[0][drawn]
    predicted = recording.latencies([setting])[0][drawn]
    return Verified(
        queries=len(drawn),
        measure=str(asked),
        replayed=float(replayed.mean()),
        run=float(np.mean(values)),
        predicted_ms=_percentiles(predicted.tolist()),
        measured_ms=_percentiles(took),
    )


def _percentiles(ms: list[float]) -> dict[str, float]:
    return {f"p{each}": round(float(np.percentile(ms, each)), 3) for each in (50, 95)}
