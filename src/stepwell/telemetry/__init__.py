"""Watching a cascade at work: signals of an answer, OpenTelemetry spans and metrics.

Spans and metrics appear by themselves where the program sets up an OpenTelemetry SDK;
`docs/operate.md` says what each one means. `signals` needs no OpenTelemetry.
"""

from __future__ import annotations

from stepwell.telemetry.overlap import rank_biased_overlap
from stepwell.telemetry.settings import Settings, configure
from stepwell.telemetry.signals import Signals, signals

__all__ = ["Settings", "Signals", "configure", "rank_biased_overlap", "signals"]
