from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.metrics import _internal as metrics_of_api
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util._once import Once

from stepwell import watching
from stepwell.telemetry import configure


def providers(tracer: Any, meter: Any) -> None:
    """Put these in the global places, which the API lets one do but once."""
    trace._TRACER_PROVIDER_SET_ONCE = Once()
    trace._TRACER_PROVIDER = tracer
    metrics_of_api._METER_PROVIDER_SET_ONCE = Once()
    metrics_of_api._METER_PROVIDER = meter
    watching._telemetry.cache_clear()


@dataclass
class Kept:
    """What an SDK kept of spans and metrics."""

    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    reader: MetricReader = field(default_factory=InMemoryMetricReader)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    def children(self, parent: ReadableSpan | trace.Span) -> list[ReadableSpan]:
        above = parent.get_span_context().span_id
        return [span for span in self.spans if span.parent and span.parent.span_id == above]

    def points(self, name: str) -> list[Any]:
        """The data points of one metric."""
        data = self.reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def total(self, name: str, **attributes: Any) -> float:
        """The sum of a counter, or the count of a histogram, where the attributes are these."""
        told = {f"stepwell.{key.replace('_', '.')}": value for key, value in attributes.items()}
        return sum(
            getattr(point, "value", None) or getattr(point, "count", 0)
            for point in self.points(name)
            if told.items() <= dict(point.attributes).items()
        )


@pytest.fixture
def sdk() -> Iterator[Kept]:
    """A real SDK in the global places, for one test."""
    kept = Kept()
    tracer = TracerProvider()
    tracer.add_span_processor(SimpleSpanProcessor(kept.exporter))
    meter = MeterProvider([kept.reader])
    providers(tracer, meter)
    yield kept
    tracer.shutdown()
    meter.shutdown()
    providers(None, None)


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    yield
    configure(texts=False, good={})
