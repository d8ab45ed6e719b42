"""Measure a system on a data set: the answers, each stage, and where quality is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from stepwell.cascade import Cascade
from stepwell.errors import InputError
from stepwell.evaluate.asked import Asked, Step
from stepwell.evaluate.asking import ask_all, corpus_of, probable_of
from stepwell.evaluate.dataset import Dataset
from stepwell.evaluate.funnel import Funnel, funnel, mean, stage_ndcg
from stepwell.evaluate.judged import Qrels, Run
from stepwell.evaluate.measures import (
    DEPTH,
    MEASURES,
    as_run,
    depth_of,
    interval95,
    measure,
    parsed,
    recall,
)
from stepwell.evaluate.reliability import reliability
from stepwell.evaluate.report import Baseline, Report, StageRow, percentiles
from stepwell.evaluate.significance import differences
from stepwell.evaluate.systems import System
from stepwell.evaluate.tuned import first_stage, tuned
from stepwell.trace import Status

_WORST_FIRST: tuple[Status, ...] = ("failed", "skipped", "partial", "idle", "ok")


def evaluate(
    system: System,
    dataset: Dataset,
    *,
    measures: Sequence[str] = MEASURES,
    baseline: Report | None = None,
    with_funnel: bool = False,
    preset: str | None = None,
    id_key: str | None = None,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    resume: Path | str | None = None,
    key: str | None = None,
) -> Report:
    """Measure a system on a data set.

    Queries are asked one at a time, 100 documents each or as many as a measure looks at (what the
    last stage of a cascade did not keep is back-filled), after a question that is not timed, since
    it loads the models. Queries without a relevant document are left out and counted; a cascade
    that gives probabilities is asked them too, and its calibration is that of all judged queries.

    Args:
        system: A `Cascade`, a retriever of LangChain or LlamaIndex, or a function from a question
            to ids, best first, or to (id, score) pairs; documents are matched by their id.
        dataset: The questions; its documents are what the system searches.
        measures: Any of ir-measures.
        baseline: A report of another system on the same questions, to compare with.
        with_funnel: Whether to work out, of a cascade, where quality is lost; asks each question
            once more for each stage.
        preset: What the report calls the system; by default its class, or its repr for a cascade.
        id_key: The metadata key that holds the data set's id of a document; its own id by default.
        seed: Of bootstrap, test and folds.
        progress: Called with the number of queries done.
        resume: A file that keeps the answers (ids, no text) until the evaluation is done: when it
            was interrupted, the next one with this file goes on. Answers of another cascade, or of
            a corpus that has changed since, are refused.
        key: With `resume`, a text that stands for what cannot be looked into, and changes whenever
            it does: a function, a retriever, a stage or model of one's own, a corpus in Milvus.

    Raises:
        InputError: A measure is unknown, nothing can be measured, documents have no id, or the
            baseline is of other questions or lacks a measure; or `resume` lacks a `key`, or its
            file is of another evaluation.
        MissingExtraError: The extra `eval` is not installed.
    """
    names = list(parsed(measures))
    judged, dataset = dataset, dataset.answerable()
    _same_questions(baseline, tuple(dataset.qrels), names)
    every, resumed = ask_all(
        system,
        dataset if probable_of(system) is None else judged,
        depth=depth_of(names),
        funnel=with_funnel,
        id_key=id_key,
        progress=progress,
        resume=resume,
        key=key,
    )
    asked = [each for each in every if each.query in dataset.qrels]
    _check_ids(system, asked, dataset)
    report = _measured(dataset.qrels, as_run({each.query: each.ids for each in asked}), names, seed)
    stages = _by_stage(asked)
    made = replace(
        report,
        dataset=dataset.name,
        preset=preset or _called(system),
        stages=tuple(_row(name, steps, dataset.qrels) for name, steps in stages.items()),
        latency_ms=percentiles([each.ms for each in asked]),
        left_out=dataset.left_out,
        remarks=(
            *_remarks(dataset, resumed, len(every)),
            *([] if id_key else _unindexed(dataset, system)),
            *_faults(stages),
        ),
        funnel=_funnel(system, asked, dataset.qrels, seed) if with_funnel else None,
        ms=tuple(round(each.ms, 3) for each in asked),
        stage_values={
            name: stage_ndcg(steps, dataset.qrels)
            for name, steps in stages.items()
            if len(steps) == len(asked)
        },
    )
    made = _calibrated(made, every, judged, seed)
    return made if baseline is None else against(made, baseline, seed=seed)


def evaluate_run(
    run: Run,
    qrels: Qrels,
    *,
    dataset: str,
    measures: Sequence[str] = MEASURES,
    baseline: Report | None = None,
    preset: str | None = None,
    seed: int = 0,
) -> Report:
    """Measure a run that was made elsewhere.

    A judged query that the run lacks counts 0; a query that nobody judged, or that has no relevant
    document, is left out.

    Args:
        run: Scores by query and document.
        qrels: Grades by query and document.
        dataset: What the report calls the judgements.
        measures: As in `evaluate`.
        baseline: As in `evaluate`.
        preset: What the report calls the run.
        seed: As in `evaluate`.

    Raises:
        InputError: The run answers none of the judged queries, or as in `evaluate`.
        MissingExtraError: The extra `eval` is not installed.
    """
    if not run.keys() & qrels.keys():
        raise InputError("the run answers none of the judged queries; their ids differ")
    judged = Dataset(dataset, dict.fromkeys(qrels, ""), qrels).answerable()
    names = list(parsed(measures))
    _same_questions(baseline, tuple(judged.qrels), names)
    lacking = len(judged.qrels.keys() - run.keys())
    remarks = _remarks(judged, 0, 0)
    if lacking:
        remarks += (f"{lacking} queries that the run does not answer count 0",)
    made = replace(
        _measured(judged.qrels, run, names, seed),
        dataset=dataset,
        preset=preset,
        left_out=len(run.keys() - qrels.keys()),
        remarks=remarks,
    )
    return made if baseline is None else against(made, baseline, seed=seed)


def against(report: Report, baseline: Report, *, seed: int = 0) -> Report:
    """The report with how it differs from another one of the same questions."""
    new = dict(report.values)
    _same_questions(baseline, report.ids, list(new))
    found = Baseline(
        name=baseline.name,
        measures={name: baseline.measures[name] for name in new},
        differences=differences(new, {name: baseline.values[name] for name in new}, seed=seed),
    )
    return replace(report, baseline=found)


def warm_up(cascade: Cascade, query: str) -> None:
    """Ask once without timing: the first query loads the models, which is no part of its time."""
    # Another text, since scores of pairs are kept: the query itself must still be worked for.
    cascade.search(f"{query} ?", k=DEPTH)


def _calibrated(report: Report, asked: Sequence[Asked], judged: Dataset, seed: int) -> Report:
    """With how far the probabilities are from what came true, where the system gives any."""
    rows = [
        (at, p, judged.qrels[each.query].get(id, 0) > 0)
        for at, each in enumerate(asked)
        for id, p in each.said.items()
    ]
    if not rows:
        return report
    query, said, true = (np.array(column) for column in zip(*rows))
    silent = sum(not each.ids for each in asked if each.query in report.ids)
    told = [f"{silent} queries were answered with nothing, though all have a relevant document"]
    told = told if silent else []
    if len(asked) > len(report.ids):
        told.append("the calibration is that of all judged queries, those without an answer too")
    elif judged.no_relevant:
        told.append(
            "the calibration is that of queries with a relevant document alone; that of all is "
            "told by stepwell calibrate --check"
        )
    return replace(
        report,
        calibration=reliability(said.astype(float), true.astype(bool), query, seed=seed),
        remarks=(*report.remarks, *told),
    )


def _measured(qrels: Qrels, run: Run, names: Sequence[str], seed: int) -> Report:
    values = measure(qrels, run, measures=names)
    return Report(
        dataset="",
        preset=None,
        queries=len(qrels),
        measures={name: mean(each) for name, each in values.items()},
        interval95={name: _rounded(interval95(each, seed=seed)) for name, each in values.items()},
        ids=tuple(qrels),
        values=values,
    )


def _same_questions(baseline: Report | None, ids: tuple[str, ...], names: Sequence[str]) -> None:
    if baseline is None:
        return
    if baseline.ids != ids:
        raise InputError("the baseline was measured on other queries; measure both on the same")
    lacking = [name for name in names if name not in baseline.values]
    if lacking:
        raise InputError(f"the baseline was not measured by {', '.join(lacking)}")


def _check_ids(system: System, asked: Sequence[Asked], dataset: Dataset) -> None:
    """Refuse answers that are all of other documents than the data set's."""
    answered = {id for each in asked for id in each.ids}
    judged = {id for grades in dataset.qrels.values() for id in grades}
    if not answered or answered & judged:
        return
    corpus = corpus_of(system) if isinstance(system, Cascade) else None
    if corpus is not None and any(id in corpus for id in judged):
        return
    known = () if dataset.documents is None else dataset.documents.read().documents
    if any(document.id in answered for document in known):
        return
    raise InputError(
        f"none of the {len(answered)} documents answered (such as {min(answered)!r}) is judged in "
        f"{dataset.name} (such as {min(judged)!r}): their ids differ; name the metadata key that "
        "holds the data set's ids with id_key="
    )


def _by_stage(asked: Sequence[Asked]) -> dict[str, list[Step]]:
    stages: dict[str, list[Step]] = {}
    for each in asked:
        for step in each.steps:
            stages.setdefault(step.name, []).append(step)
    return stages


def _row(name: str, steps: Sequence[Step], qrels: Qrels) -> StageRow:
    n_in, n_out = np.mean([(step.n_in, step.n_out) for step in steps], axis=0)
    statuses = {step.status for step in steps}
    times = percentiles([step.ms for step in steps])
    return StageRow(
        name=name,
        n_in=round(float(n_in), 1),
        n_out=round(float(n_out), 1),
        recall=mean([recall(grades, step.places) for step, grades in zip(steps, qrels.values())]),
        ndcg=mean(stage_ndcg(steps, qrels)),
        ms_p50=times["p50"] or 0.0,
        ms_p95=times["p95"] or 0.0,
        status=next(status for status in _WORST_FIRST if status in statuses),
    )


def _called(system: System) -> str:
    named = str(getattr(system, "__name__", type(system).__name__))
    return repr(system) if isinstance(system, Cascade) else named


def _funnel(system: System, asked: Sequence[Asked], qrels: Qrels, seed: int) -> Funnel | None:
    if not isinstance(system, Cascade):
        return None
    hybrid = first_stage(system, corpus_of(system))
    best = None if hybrid is None else tuned(hybrid, asked, qrels, seed=seed)
    return funnel(asked, qrels, best, seed=seed)


def _unindexed(dataset: Dataset, system: object) -> list[str]:
    """What to say of judged documents that the corpus of a cascade lacks; empty if none."""
    corpus = corpus_of(system) if isinstance(system, Cascade) else None
    judged = {id for grades in dataset.qrels.values() for id in grades}
    lacking = 0 if corpus is None else sum(id not in corpus for id in judged)
    found = f"{lacking} of {len(judged)} judged documents are not indexed: counted as not found"
    return [found] if lacking else []


def _remarks(dataset: Dataset, resumed: int, asked: int) -> tuple[str, ...]:
    found = []
    if dataset.no_relevant:
        found.append(f"{dataset.no_relevant} queries left out that have no relevant document")
    if dataset.unasked:
        found.append(f"{dataset.unasked} judged queries are unknown to the data set: left out")
    if resumed:
        found.append(f"{resumed} of {asked} queries were asked by a run that was interrupted")
    if len(dataset.qrels) == 1:
        found.append("one query says nothing about the next: no interval, and nothing significant")
    return tuple(found)


def _faults(stages: dict[str, list[Step]]) -> list[str]:
    """Where the numbers are not those of the whole cascade."""
    found = []
    for name, steps in stages.items():
        broken = sum(step.status in ("failed", "skipped", "partial") for step in steps)
        if broken:
            found.append(f"{name} failed, or did not do all its work, in {broken} queries")
    return found


def _rounded(pair: tuple[float, float]) -> tuple[float, float]:
    return round(pair[0], 6), round(pair[1], 6)
