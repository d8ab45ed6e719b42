"""A report as titled tables of text, which a terminal, a Markdown file and a page show alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stepwell.evaluate.funnel import Funnel, StageLoss, bin_names
from stepwell.evaluate.hurting import WHY
from stepwell.evaluate.reliability import Reliability
from stepwell.evaluate.report import Baseline, Report, StageRow
from stepwell.evaluate.significance import Difference

ERRORS = ("ECE", "95% resampled", "Brier", "95% interval")
ECE_NOTE = (
    "ECE: expected calibration error; resampled: where that of 95% of resamples lies, which noise "
    "raises, so that it is no confidence interval"
)
"""The columns of `error_cells`."""
SHOWN = 10
"""Queries that are listed; all are in the JSON."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table.

    Attributes:
        title: What it is of; empty for the first.
        columns: Names; the first column is text, the others are numbers unless `words` says so.
        rows: Cells.
        note: A sentence below, or empty.
        words: Columns besides the first that are text.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    words: tuple[str, ...] = ()


def head(report: Report) -> str:
    """What was measured, in one line."""
    asked = f"{report.queries} queries"
    if report.left_out:
        asked += f", {report.left_out} left out that nobody judged"
    return ", ".join(part for part in (report.dataset, report.preset, asked) if part)


def sheets(report: Report) -> list[Sheet]:
    """All tables of a report, in reading order."""
    found = [_measures(report)]
    if report.baseline:
        found.append(_baseline(report.baseline))
    if report.stages:
        found.append(_stages(report.stages))
    if report.calibration:
        found += [_calibration(report.calibration), reliability_sheet(report.calibration)]
    if report.funnel:
        found += funnel_sheets(report.funnel)
    return found


def latency(report: Report) -> str:
    """The time a query took, in a sentence; empty where nothing was timed."""
    p50, p95, p99 = (report.latency_ms[name] for name in ("p50", "p95", "p99"))
    if p50 is None or p95 is None or p99 is None:
        return ""
    return (
        f"a query takes {p50:.1f} ms, {p95:.1f} ms at the 95th percentile, {p99:.1f} ms at the 99th"
    )


def funnel_sheets(funnel: Funnel) -> list[Sheet]:
    """Where quality is lost."""
    found = [_left(funnel), _gains(funnel)]
    if any(any(stage.lost_at) for stage in funnel.stages):
        found.append(_dropped(funnel.stages))
    if funnel.hurt:
        found += [_reasons(funnel), _hurt(funnel)]
    return found


def reliability_sheet(found: Reliability) -> Sheet:
    """Probabilities and what came true, bin by bin."""
    rows = [(f"{each.said:.4f}", f"{each.true:.4f}", f"{each.n}") for each in found.bins]
    return Sheet(
        "reliability",
        ("probability", "relevant", "candidates"),
        tuple(rows),
        note="bins of as many candidates each; equal probabilities stay together",
    )


def error_cells(found: Reliability) -> tuple[str, ...]:
    """Calibration error and Brier score with their intervals."""
    return (f"{found.ece:.4f}", _to(found.ece95), f"{found.brier:.4f}", _to(found.brier95))


def _calibration(found: Reliability) -> Sheet:
    return Sheet(
        "calibration",
        ("probabilities", *ERRORS),
        (
            ("as answered", *error_cells(found)),
            ("one for all", "", "", f"{found.brier_of_rate:.4f}", ""),
        ),
        note=f"{ECE_NOTE}; candidates that nobody judged count as not relevant",
    )


def _to(pair: tuple[float, float]) -> str:
    return f"{pair[0]:.4f} to {pair[1]:.4f}"


def _measures(report: Report) -> Sheet:
    rows = []
    for name, mean in report.measures.items():
        known = len(report.values[name]) > 1
        rows.append((name, f"{mean:.4f}", _to(report.interval95[name]) if known else "-"))
    return Sheet("", ("measure", "mean", "95% interval"), tuple(rows))


def _baseline(baseline: Baseline) -> Sheet:
    rows = [
        (name, f"{baseline.measures[name]:.4f}", *difference_cells(each))
        for name, each in baseline.differences.items()
    ]
    return Sheet(
        f"against {baseline.name}",
        ("measure", baseline.name, *DIFFERENCE_COLUMNS),
        tuple(rows),
        note="p by a paired randomisation test, two-sided; Holm's correction over the measures; "
        "an interval is of one difference, without correction",
    )


UNKNOWN = (-1.0, 1.0)
"""The interval of a difference on one query."""
DIFFERENCE_COLUMNS = ("difference", "95% interval", "p", "p (Holm)", "better", "worse")


def difference_cells(each: Difference) -> tuple[str, ...]:
    """The cells of `DIFFERENCE_COLUMNS`."""
    low, high = each.interval95
    return (
        f"{each.mean:+.4f}",
        "-" if (low, high) == UNKNOWN else f"{low:+.4f} to {high:+.4f}",
        f"{each.p:.4f}",
        f"{each.p_holm:.4f}",
        str(each.better),
        str(each.worse),
    )


def _stages(stages: Sequence[StageRow]) -> Sheet:
    rows = [
        (
            row.name,
            f"{row.n_in:g}",
            f"{row.n_out:g}",
            f"{row.recall:.4f}",
            f"{row.ndcg:.4f}",
            f"{row.ms_p50:.1f}",
            f"{row.ms_p95:.1f}",
            row.status,
        )
        for row in stages
    ]
    columns = ("stage", "in", "out", "recall", "nDCG@10", "ms p50", "ms p95", "status")
    return Sheet("", columns, tuple(rows), words=("status",))


def _left(funnel: Funnel) -> Sheet:
    rows = [
        (
            stage.name,
            f"{stage.recall:.4f}",
            f"{stage.reachable:.4f}",
            f"{stage.ndcg:.4f}",
            f"{stage.lost}",
            "" if stage.perfect is None else f"{stage.perfect:.4f}",
            "" if stage.perfect is None else f"{stage.perfect - funnel.ndcg:+.4f}",
        )
        for stage in funnel.stages
    ]
    columns = ("stage", "recall", "reachable", "nDCG@10", "lost", "if perfect", "gain")
    note = f"of {funnel.relevant} relevant documents; reachable: nDCG@10 of the best order of them"
    if funnel.work_on:
        note += f"; work on {funnel.work_on}: its perfection would gain most"
    return Sheet("the funnel", columns, tuple(rows), note=note)


def _gains(funnel: Funnel) -> Sheet:
    rows = []
    for stage in funnel.stages:
        for over, each in (("stage before", stage.lift), ("tuned first stage", stage.over_tuned)):
            if each is not None:
                rows.append((stage.name, over, *difference_cells(each)))
    note = "nDCG@10; p as against a baseline, Holm's correction over this table"
    if funnel.tuned is None:
        note += "; there is no tuned first stage: it takes two arms, or a corpus with vectors"
    else:
        first, second = funnel.tuned.arms
        note += (
            f"; the tuned first stage is {1 - funnel.tuned.weight:g} {first} + "
            f"{funnel.tuned.weight:g} {second}, nDCG@10 {funnel.tuned.ndcg:.4f} by cross-validation"
        )
    return Sheet(
        "lift of each stage",
        ("stage", "over", *DIFFERENCE_COLUMNS),
        tuple(rows),
        note=note,
        words=("over",),
    )


def _dropped(stages: Sequence[StageLoss]) -> Sheet:
    rows = [(stage.name, *map(str, stage.lost_at)) for stage in stages if any(stage.lost_at)]
    note = "relevant documents by their place in the stage's order, where its depth dropped them"
    return Sheet("dropped by a cut", ("stage", *bin_names()), tuple(rows), note=note)


def _reasons(funnel: Funnel) -> Sheet:
    rows = [
        (stage, why, str(count), WHY[why])
        for stage, counts in funnel.reasons().items()
        for why, count in counts.items()
    ]
    return Sheet(
        "why a stage hurts",
        ("stage", "reason", "queries", "meaning"),
        tuple(rows),
        note="a query may have several reasons",
        words=("reason", "meaning"),
    )


def _hurt(funnel: Funnel) -> Sheet:
    rows = [
        (each.query, each.stage, f"{each.before:.4f}", f"{each.after:.4f}", ", ".join(each.why))
        for each in funnel.hurt[:SHOWN]
    ]
    return Sheet(
        "queries that a stage hurts most",
        ("query", "stage", "before", "after", "why"),
        tuple(rows),
        note=f"{len(rows)} of {len(funnel.hurt)}; nDCG@10 before and after the stage",
        words=("stage", "why"),
    )
