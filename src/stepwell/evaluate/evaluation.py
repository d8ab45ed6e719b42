"""Ask a cascade every question of a data set, and measure the answers and each stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from stepwell.cascade import Cascade
from stepwell.errors import InputError
from stepwell.evaluate.dataset import Dataset
from stepwell.evaluate.judged import Qrels, Run
from stepwell.evaluate.measures import Values, as_run, interval95, measure, recall
from stepwell.evaluate.report import Report, StageRow
from stepwell.trace import StageRecord, Status

DEPTH = 100
_TOP = 10
_WORST_FIRST: tuple[Status, ...] = ("failed", "skipped", "partial", "idle", "ok")


def evaluate(
    cascade: Cascade,
    dataset: Dataset,
    *,
    preset: str | None = None,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Measure a cascade on a data set.

    Queries are asked one at a time, 100 documents each (what the last stage did not keep is
    back-filled), after a question that is not timed, since it loads the models.

    Args:
        cascade: Over a corpus that holds the data set's documents.
        dataset: The questions.
        preset: What the report calls the cascade.
        seed: Of the bootstrap.
        progress: Called with the number of queries done.

    Raises:
        MissingExtraError: The extra `eval` is not installed.
    """
    answers: dict[str, list[str]] = {}
    latencies: list[float] = []
    stages: dict[str, _Stage] = {}
    warm_up(cascade, next(iter(dataset.queries.values())))
    for done, (id, text) in enumerate(dataset.queries.items(), start=1):
        result = cascade.search(text, k=DEPTH)
        answers[id] = result.ids
        latencies.append(result.trace.ms)
        for record in result.trace.records:
            stages.setdefault(record.name, _Stage()).note(id, record, dataset.qrels[id])
        if progress is not None:
            progress(done)
    measures, intervals = _measured(dataset.qrels, as_run(answers), seed)
    return Report(
        dataset=dataset.name,
        preset=preset,
        queries=len(dataset.queries),
        measures=measures,
        interval95=intervals,
        stages=tuple(stage.row(name, dataset.qrels) for name, stage in stages.items()),
        latency_ms={"p50": _percentile(latencies, 50), "p95": _percentile(latencies, 95)},
        left_out=dataset.left_out,
    )


def evaluate_run(run: Run, qrels: Qrels, *, dataset: str, seed: int = 0) -> Report:
    """Measure a run that was made elsewhere.

    A judged query that the run lacks counts 0; a query that nobody judged is left out.

    Args:
        run: Scores by query and document.
        qrels: Grades by query and document.
        dataset: What the report calls the judgements.
        seed: Of the bootstrap.

    Raises:
        InputError: The run answers none of the judged queries.
        MissingExtraError: The extra `eval` is not installed.
    """
    if not run.keys() & qrels.keys():
        raise InputError("the run answers none of the judged queries; their ids differ")
    measures, intervals = _measured(qrels, run, seed)
    return Report(
        dataset=dataset,
        preset=None,
        queries=len(qrels),
        measures=measures,
        interval95=intervals,
        left_out=len(run.keys() - qrels.keys()),
    )


def warm_up(cascade: Cascade, query: str) -> None:
    """Ask once without timing: the first query loads the models, which is no part of its time."""
    # Another text, since scores of pairs are kept: the query itself must still be worked for.
    cascade.search(f"{query} ?", k=DEPTH)


@dataclass(slots=True)
class _Stage:
    """What one stage did with each query so far."""

    counts: list[tuple[int, int]] = field(default_factory=list)
    recalls: list[float] = field(default_factory=list)
    tops: dict[str, list[str]] = field(default_factory=dict)
    ms: list[float] = field(default_factory=list)
    statuses: set[Status] = field(default_factory=set)

    def note(self, query: str, record: StageRecord, grades: dict[str, int]) -> None:
        ids = record.ids.tolist()
        self.counts.append((record.n_in, record.n_out))
        self.recalls.append(recall(grades, ids))
        self.tops[query] = ids[:_TOP]
        self.ms.append(record.ms)
        self.statuses.add("partial" if record.status == "ok" and record.degraded else record.status)

    def row(self, name: str, qrels: Qrels) -> StageRow:
        n_in, n_out = np.mean(self.counts, axis=0)
        ndcg = measure(qrels, as_run(self.tops), measures=["nDCG@10"])["nDCG@10"]
        return StageRow(
            name=name,
            n_in=round(float(n_in), 1),
            n_out=round(float(n_out), 1),
            recall=_mean(self.recalls),
            ndcg=_mean(ndcg),
            ms_p50=_percentile(self.ms, 50),
            ms_p95=_percentile(self.ms, 95),
            status=next(status for status in _WORST_FIRST if status in self.statuses),
        )


def _measured(
    qrels: Qrels, run: Run, seed: int
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    values = measure(qrels, run)
    means = {name: _mean(each) for name, each in values.items()}
    return means, {name: _rounded(interval95(each, seed=seed)) for name, each in values.items()}


def _rounded(pair: tuple[float, float]) -> tuple[float, float]:
    return round(pair[0], 6), round(pair[1], 6)


def _mean(values: Sequence[float] | Values) -> float:
    return round(float(np.mean(values)), 6)


def _percentile(values: Sequence[float], percent: int) -> float:
    return round(float(np.percentile(values, percent)), 3)
