"""The metrics: each instrument, and what of a finished answer goes into it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from opentelemetry import metrics

from stepwell.result import Result
from stepwell.telemetry.reasons import reason_of
from stepwell.telemetry.signals import signals
from stepwell.trace import StageRecord, Trace

Attributes: TypeAlias = dict[str, Any]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 2.5, 5, 10)
CANDIDATES = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
RANKS = (1, 2, 3, 5, 10, 20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1000)
SHARES = (0, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)

HISTOGRAMS = {
    "cascade.duration": ("s", SECONDS, "From the call to the answer or the error."),
    "cascade.hits": ("{document}", CANDIDATES, "Documents in an answer."),
    "stage.duration": ("s", SECONDS, "One stage at one query; of a batch, the query's share."),
    "stage.candidates.in": ("{candidate}", CANDIDATES, "Candidates that a stage was given."),
    "stage.candidates.out": ("{candidate}", CANDIDATES, "Candidates that a stage returned."),
    "stage.read": ("{candidate}", CANDIDATES, "Candidates that a calibrated depth read."),
    "signal.overlap": ("1", SHARES, "Rank-biased overlap of a stage's order with the one before."),
    "signal.recall_rank": ("{rank}", RANKS, "Rank of a hit in the first recall."),
    "signal.margin": ("1", SHARES, "Lead of the best over the second, in parts of the range."),
    "shadow.overlap": ("1", SHARES, "Rank-biased overlap of a shadow's answer with the live one."),
}
COUNTERS = {
    "cascade.late": ("{query}", "Answers that came after their deadline."),
    "stage.degraded": (
        "{query}",
        "Queries at which a stage failed, was skipped or cut short.",
    ),
    "stage.left": ("{candidate}", "Candidates that a calibrated depth left unread."),
    "stage.audited": ("{query}", "Queries read to the end to see whether a depth still holds."),
    "stage.changed": ("{query}", "Of those, queries at which stopping would have been an error."),
    "stage.alarm": ("{alarm}", "Times that a calibrated depth was seen to hold no longer."),
    "stage.unscored": ("{candidate}", "Candidates left unscored at the deadline."),
    "stage.truncated": ("{passage}", "Passages of which a model did not read all."),
    "stage.retries": ("{retry}", "Further tries of a guarded stage."),
    "stage.breaker.opened": ("{opening}", "Times that a guarded stage was left alone from then."),
    "remote.retries": ("{retry}", "Further requests to a rerank API after one that failed."),
    "cache.pairs": ("{pair}", "Pairs of query and passage that were looked up."),
    "signal.judged": ("{query}", "Queries, by whether one hit was good."),
    "shadow.queries": ("{query}", "Live answers sampled for a shadow, by what came of it."),
}
_NEUTRAL = "opentelemetry.metrics"


class Instruments:
    """All instruments, of one meter."""

    def __init__(self, meter: metrics.Meter) -> None:
        self._histograms = {
            name: meter.create_histogram(
                f"stepwell.{name}", unit, text, explicit_bucket_boundaries_advisory=_floats(bounds)
            )
            for name, (unit, bounds, text) in HISTOGRAMS.items()
        }
        self._counters = {
            name: meter.create_counter(f"stepwell.{name}", unit, text)
            for name, (unit, text) in COUNTERS.items()
        }

    def count(self, what: str, amount: int, attributes: Mapping[str, str]) -> None:
        """Add to a counter; attribute names get the prefix of all."""
        self._counters[what].add(amount, _named(attributes))

    def record(self, what: str, value: float, attributes: Mapping[str, str]) -> None:
        """Add to a histogram, likewise."""
        self._histograms[what].record(value, _named(attributes))

    def answered(self, cascade: str, result: Result) -> None:
        """Record an answer."""
        if not _kept():
            return
        trace = result.trace
        own: Attributes = {"stepwell.cascade.name": cascade}
        told = {**own, "stepwell.cascade.degraded": result.degraded}
        self._histograms["cascade.duration"].record(trace.ms / 1e3, told)
        self._histograms["cascade.hits"].record(len(result), own)
        if trace.deadline_ms is not None and trace.ms > trace.deadline_ms:
            self._counters["cascade.late"].add(1, own)
        self._stages(trace.records, own)
        # Where a stage is missing, ranks and margins are another cascade's.
        if not result.degraded:
            self._signals(result, own)

    def failed(
        self, cascade: str, kind: type[BaseException], seconds: float, trace: Trace | None
    ) -> None:
        """Record a query without an answer."""
        if not _kept():
            return
        own: Attributes = {"stepwell.cascade.name": cascade}
        told = {**own, "error.type": kind.__qualname__}
        self._histograms["cascade.duration"].record(seconds, told)
        self._stages(trace.records if trace is not None else (), own)

    def _stages(self, records: Iterable[StageRecord], own: Attributes) -> None:
        for record in _all(records):
            at = {**own, "stepwell.stage.name": record.name}
            if record.status in ("partial", "skipped", "failed"):
                why = {"stepwell.stage.reason": reason_of(record)}
                told = {**at, "stepwell.stage.status": record.status, **why}
                self._counters["stage.degraded"].add(1, told)
            if record.status in ("skipped", "idle"):
                continue
            told = {**at, "stepwell.stage.status": record.status}
            self._histograms["stage.duration"].record(record.ms / 1e3, told)
            self._histograms["stage.candidates.in"].record(record.n_in, at)
            self._histograms["stage.candidates.out"].record(record.n_out, at)
            if "read" in record.notes:
                self._histograms["stage.read"].record(int(record.notes["read"]), at)
            for note in ("truncated", "unscored", "left", "audited", "changed", "alarm"):
                if record.notes.get(note):
                    self._counters[f"stage.{note}"].add(int(record.notes[note]), at)

    def _signals(self, result: Result, own: Attributes) -> None:
        told = signals(result)
        for stage, overlap in told.overlap.items():
            at = {**own, "stepwell.stage.name": stage}
            self._histograms["signal.overlap"].record(overlap, at)
        for rank in told.recall_ranks:
            if rank is not None:
                self._histograms["signal.recall_rank"].record(rank, own)
        if told.margin is not None:
            self._histograms["signal.margin"].record(told.margin, own)
        if told.good is not None:
            self._counters["signal.judged"].add(1, {**own, "stepwell.good": told.good})


def _named(attributes: Mapping[str, str]) -> Attributes:
    return {f"stepwell.{name.replace('_', '.')}": attributes[name] for name in attributes}


def _all(records: Iterable[StageRecord]) -> Iterator[StageRecord]:
    for record in records:
        yield record
        yield from _all(record.children)


def _floats(bounds: Iterable[float]) -> list[float]:
    # Prometheus exposes them as they are, and from version 3 on reads "0" as "0.0".
    return [float(bound) for bound in bounds]


def _kept() -> bool:
    """Whether an SDK keeps what is recorded; without one the API's own provider stands there."""
    return not type(metrics.get_meter_provider()).__module__.startswith(_NEUTRAL)
