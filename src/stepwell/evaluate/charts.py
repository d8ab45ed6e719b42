"""Plots as inline SVG that takes its colours from the page: readable in light and in dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH, LABELS, ROW = 720, 170, 26
_PLOT = WIDTH - LABELS - 70
_THIN = 500


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar, perhaps with an interval.

    Attributes:
        label: What it is of.
        value: Its length; below 0 it goes to the left.
        interval: Where its true value lies, or None.
        kind: Its colour: "main", "other" or "bad".
    """

    label: str
    value: float
    interval: tuple[float, float] | None = None
    kind: str = "main"


def bars(title: str, found: Sequence[Bar], *, digits: int = 4, sign: bool = False) -> str:
    """Bars one below the other, from 0.

    Args:
        title: What a screen reader says.
        found: From top to bottom.
        digits: Of the values.
        sign: Whether a plus is written.
    """
    ends = [0.0, *(end for bar in found for end in (bar.value, *(bar.interval or ())))]
    low, high = min(ends), max(ends)
    span = (high - low) or 1.0

    def x(value: float) -> float:
        return round(float(LABELS + _PLOT * (value - low) / span), 1)

    parts: list[str] = []
    for at, bar in enumerate(found):
        top, middle = 6 + at * ROW, 6 + at * ROW + ROW / 2 - 2
        number = f"{bar.value:+.{digits}f}" if sign else f"{bar.value:.{digits}f}"
        left, right = sorted((x(0), x(bar.value)))
        parts.append(words(LABELS - 8, middle + 4, bar.label, "label"))
        parts.append(
            f'<rect class="{bar.kind}" x="{left}" y="{top}" width="{max(right - left, 1):.1f}" '
            f'height="{ROW - 8}"><title>{escape(bar.label)}: {number}</title></rect>'
        )
        if bar.interval is not None:
            first, last = map(x, bar.interval)
            parts.append(
                f'<path class="line" d="M{first} {middle}H{last}M{first} {middle - 4}v8'
                f'M{last} {middle - 4}v8"/>'
            )
        parts.append(words(WIDTH - 4, middle + 4, number, "number"))
    parts.append(f'<path class="axis" d="M{x(0)} 2V{6 + len(found) * ROW}"/>')
    return framed(title, 12 + len(found) * ROW, parts)


def columns(title: str, names: Sequence[str], counts: Sequence[float], *, unit: str = "") -> str:
    """Columns side by side, such as a histogram; names below, counts above.

    Args:
        title: What a screen reader says.
        names: Of the columns.
        counts: Their heights.
        unit: Of the counts, for a screen reader.
    """
    height, floor = 190, 150
    wide, most = (WIDTH - 20) / max(len(names), 1), max([*counts, 1])
    parts: list[str] = []
    for at, (name, count) in enumerate(zip(names, counts)):
        left, tall = 10 + at * wide, 120 * count / most
        parts.append(
            f'<rect class="main" x="{left + 2:.1f}" y="{floor - tall:.1f}" '
            f'width="{max(wide - 4, 1):.1f}" height="{tall:.1f}">'
            f"<title>{escape(name)}: {count:g} {escape(unit)}</title></rect>"
        )
        if count:
            parts.append(words(left + wide / 2, floor - tall - 5, f"{count:g}", "middle"))
        parts.append(words(left + wide / 2, floor + 18, name, "middle"))
    parts.append(f'<path class="axis" d="M10 {floor}H{WIDTH - 10}"/>')
    return framed(title, height - 15, parts)


def deltas(title: str, values: Sequence[float]) -> str:
    """The change of each query, from most gained to most lost.

    Args:
        title: What a screen reader says.
        values: In any order.
    """
    changed = sorted((float(value) for value in values if value), reverse=True)
    if len(changed) > _THIN:
        # Thinner bars cannot be seen: evenly picked ones stand for all.
        changed = [changed[at] for at in np.linspace(0, len(changed) - 1, _THIN).astype(int)]
    middle, most = 80, max(map(abs, changed), default=1.0)
    wide = (WIDTH - 20) / max(len(changed), 1)
    parts = []
    for at, value in enumerate(changed):
        tall = 70 * abs(value) / most
        kind, top = ("main", middle - tall) if value > 0 else ("bad", middle)
        parts.append(
            f'<rect class="{kind}" x="{10 + at * wide:.2f}" y="{top:.1f}" '
            f'width="{max(wide * 0.9, 0.4):.2f}" height="{tall:.1f}"/>'
        )
    parts.append(f'<path class="axis" d="M10 {middle}H{WIDTH - 10}"/>')
    parts.append(words(WIDTH - 10, 14, f"at most {most:.2f} either way", "number"))
    return framed(title, 160, parts)


def histogram(title: str, values: Sequence[float], *, unit: str) -> str:
    """How often each value occurs, in twelve steps of equal ratio.

    Args:
        title: What a screen reader says.
        values: Above 0, such as milliseconds.
        unit: What is counted.
    """
    low, high = max(min(values), 1e-3), max(*values, 2e-3)
    edges = np.geomspace(low, max(high, low * 1.01), 13)
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    names = [f"{edge:,.0f}" if edge >= 100 else f"{edge:.3g}" for edge in edges[1:]]
    return columns(title, names, [int(count) for count in counts], unit=unit)


def words(x: float, y: float, text: str, kind: str) -> str:
    """A text at a place, cut where it is long; `kind` says how it is aligned."""
    shown = text if len(text) <= 26 else f"{text[:25]}…"
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(shown)}</text>'


def framed(title: str, height: float, parts: Sequence[str]) -> str:
    """A plot of its parts; the title is what a screen reader says."""
    return (
        f'<div class="wide" tabindex="0"><svg role="img" viewBox="0 0 {WIDTH} {height:.0f}" xmlns="http://www.w3.org/2000/svg">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg></div>"
    )
