"""Where the process counts, and the page that Prometheus reads."""

from __future__ import annotations

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, generate_latest

TEXT = "text/plain; version=0.0.4; charset=utf-8"
"""The content type of Prometheus's text format."""


class Metrics:
    """An OpenTelemetry meter provider with a Prometheus registry of its own.

    Attributes:
        provider: For `opentelemetry.metrics.set_meter_provider`, if all that the process counts
            shall be on the page.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        reader = PrometheusMetricReader(registry=self._registry)
        self.provider = MeterProvider([reader], shutdown_on_exit=False)

    def page(self) -> bytes:
        """The values of this moment."""
        return generate_latest(self._registry)
