"""The watcher that tells OpenTelemetry: live spans, and metrics from each finished trace.

Imported only where the program has loaded the API. Spans are live, so that what a stage calls over
HTTP, or logs, is a child of the stage's span.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry import context, metrics, trace
from opentelemetry.trace import StatusCode

import stepwell
from stepwell.attempt import Outcome
from stepwell.candidates import Candidates
from stepwell.result import Result
from stepwell.telemetry.metrics import Instruments
from stepwell.telemetry.reasons import reason_of
from stepwell.telemetry.settings import current
from stepwell.trace import StageRecord

if TYPE_CHECKING:
    from stepwell.ask import Ask

T = TypeVar("T")


class Telemetry:
    """A `stepwell.watching.Watcher`. A provider that is set later is used from then on."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer("stepwell", stepwell.__version__)
        self._instruments = Instruments(metrics.get_meter("stepwell", stepwell.__version__))

    def searching(self, cascade: str, asks: Sequence[Ask], /) -> _Search:
        """A span `stepwell.cascade` around a call of a cascade."""
        return _Search(self._tracer, self._instruments, cascade, asks)

    def running(self, stage: str, many: Sequence[Candidates], /) -> _Run:
        """A span `stepwell.stage NAME` around one run of a stage."""
        return _Run(self._tracer, stage, many)

    def passed(self, record: StageRecord, /) -> None:
        """A span without length for a stage that did not run."""
        with _Span(self._tracer, f"stepwell.stage {record.name}", _named(record.name)) as span:
            span.tell({"status": record.status, "reason": reason_of(record)}, "stepwell.stage.")

    def count(self, what: str, amount: int = 1, /, **attributes: str) -> None:
        """Add to a counter."""
        self._instruments.count(what, amount, attributes)

    def record(self, what: str, value: float, /, **attributes: str) -> None:
        """Add to a histogram."""
        self._instruments.record(what, value, attributes)


class _Span:
    """A span that is current for what runs inside; it takes no message of an error."""

    def __init__(
        self, tracer: trace.Tracer, name: str, attributes: Mapping[str, str | int | float | bool]
    ) -> None:
        self._span = tracer.start_span(name, attributes=attributes)
        self._token: Any = None

    def __enter__(self) -> _Span:
        if self._span.get_span_context().is_valid:
            self._token = context.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._token is not None:
            context.detach(self._token)
        if kind is not None:
            self.failed(kind)
        self._span.end()

    @property
    def recording(self) -> bool:
        """Whether anybody keeps what is told."""
        return self._span.is_recording()

    def tell(self, facts: Mapping[str, Any], prefix: str = "") -> None:
        """Set the attributes that have a value."""
        self._span.set_attributes(
            {prefix + name: value for name, value in facts.items() if value not in (None, "")}
        )

    def failed(self, kind: type[BaseException]) -> None:
        """The type alone: a message may quote a text."""
        self._span.set_attribute("error.type", kind.__qualname__)
        self._span.set_status(StatusCode.ERROR)


class _Run:
    """Around one run of a stage."""

    def __init__(self, tracer: trace.Tracer, stage: str, many: Sequence[Candidates]) -> None:
        self._span = _Span(tracer, f"stepwell.stage {stage}", _named(stage))
        self._many = many
        self._outcomes: list[Outcome] = []
        self._began = time.monotonic()

    def __enter__(self) -> _Run:
        self._span.__enter__()
        return self

    def __call__(self, value: T, /) -> T:
        if isinstance(value, Outcome):
            self._outcomes.append(value)
        return value

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._span.recording:
            self._tell(kind)
        self._span.__exit__(kind)

    def _tell(self, kind: type[BaseException] | None) -> None:
        values = [outcome.value for outcome in self._outcomes]
        found = [value for value in values if isinstance(value, Candidates)]
        errors = [value for value in values if isinstance(value, Exception)]
        unscored = sum(int(each.notes.get("unscored", 0)) for each in found)
        status = "failed" if errors else "partial" if unscored else "ok"
        if kind is not None:
            status = "cancelled" if issubclass(kind, asyncio.CancelledError) else "failed"
        deadline = self._many[0].deadline
        facts = {
            "status": status,
            "reason": "deadline" if status == "partial" else "",
            "candidates.in": sum(len(each) for each in self._many),
            "candidates.out": sum(len(each) for each in found),
            "budget": None if deadline is None else max(deadline - self._began, 0.0),
            "batch.size": len(self._many) if len(self._many) > 1 else None,
            **_notes(found),
        }
        self._span.tell(facts, "stepwell.stage.")
        if errors:
            self._span.failed(type(errors[0]))


class _Search:
    """Around one call of a cascade."""

    def __init__(
        self, tracer: trace.Tracer, instruments: Instruments, cascade: str, asks: Sequence[Ask]
    ) -> None:
        facts = {"gen_ai.operation.name": "retrieval", "stepwell.cascade.name": cascade}
        self._span = _Span(tracer, "stepwell.cascade", facts)
        self._instruments, self._cascade, self._asks = instruments, cascade, asks
        self._ends: list[Result | Exception] = []

    def __enter__(self) -> _Search:
        self._span.__enter__()
        return self

    def __call__(self, value: T, /) -> T:
        if isinstance(value, Result):
            self._instruments.answered(self._cascade, value)
            self._ends.append(value)
        elif isinstance(value, Exception):
            self._failed(type(value), value)
        return value

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, *_: object
    ) -> None:
        if kind is not None:
            self._failed(kind, error)
        if self._span.recording and self._asks:
            self._tell()
        self._span.__exit__(kind)

    def _failed(self, kind: type[BaseException], error: BaseException | None) -> None:
        seconds = time.monotonic() - self._asks[0].began
        self._instruments.failed(self._cascade, kind, seconds, getattr(error, "trace", None))
        self._span.failed(kind)

    def _tell(self) -> None:
        ask, results = self._asks[0], [end for end in self._ends if isinstance(end, Result)]
        facts = {
            "gen_ai.retrieval.top_k": ask.k,
            "stepwell.cascade.deadline": ask.deadline,
            "stepwell.cascade.degraded": any(result.degraded for result in results),
            "stepwell.cascade.hits": sum(len(result) for result in results),
            "stepwell.cascade.batch.size": len(self._asks) if len(self._asks) > 1 else None,
        }
        self._span.tell(facts)
        if current().texts and len(self._asks) == 1:
            hits = [{"id": hit.id, "score": hit.score} for each in results for hit in each]
            self._span.tell({"query.text": ask.query.text}, "gen_ai.retrieval.")
            self._span.tell({"documents": json.dumps(hits)}, "gen_ai.retrieval.")


def _named(stage: str) -> dict[str, str | int | float | bool]:
    return {"stepwell.stage.name": stage}


def _notes(found: Sequence[Candidates]) -> dict[str, Any]:
    """The notes that are numbers, summed; a note of a stage of one's own may hold a text."""
    sums: dict[str, Any] = {}
    for each in found:
        for name, value in each.notes.items():
            if isinstance(value, (int, float)):
                sums[f"notes.{name}"] = sums.get(f"notes.{name}", 0) + value
    return sums
