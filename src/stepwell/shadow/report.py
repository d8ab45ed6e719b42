"""What the differences add up to: the books, and a report of them."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean
from typing import Any

import numpy as np

from stepwell.shadow.difference import Difference

SHOWN = 10
"""Queries that are listed."""
PERCENTILES = (50, 95, 99)
Z = NormalDist().inv_cdf(0.975)
COUNTED = ("offered", "unsampled", "compared", "failed", "dropped")


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean of values between 0 and 1.

    Attributes:
        value: The mean; None of nothing.
        interval95: Where it lies with 95% confidence; from 0 to 1 for fewer than two. Values that
            are all alike have a width too: a few of them say little of the next one.
    """

    value: float | None
    interval95: tuple[float, float]

    @classmethod
    def of(cls, values: Sequence[float]) -> Mean:
        """The mean, with its interval by the normal approximation.

        As Agresti and Coull do for shares, z squared values are added to those that were seen, half
        of them 0 and half 1.
        """
        if len(values) < 2:
            return cls(values[0] if values else None, (0.0, 1.0))
        count = len(values) + Z * Z
        centre = (sum(values) + Z * Z / 2) / count
        spread = (sum(value * value for value in values) + Z * Z / 2) / count - centre * centre
        return cls(fmean(values), _within(centre, Z * math.sqrt(spread / count)))

    @classmethod
    def share(cls, hits: Sequence[bool]) -> Mean:
        """How many of them are true, in parts, with Wilson's interval."""
        if len(hits) < 2:
            return cls(float(hits[0]) if hits else None, (0.0, 1.0))
        count, part = len(hits), fmean(hits)
        centre = (part + Z * Z / (2 * count)) / (1 + Z * Z / count)
        spread = part * (1 - part) / count + (Z / (2 * count)) ** 2
        return cls(part, _within(centre, Z * math.sqrt(spread) / (1 + Z * Z / count)))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"mean": self.value, "interval95": list(self.interval95)}

    def __str__(self) -> str:
        if self.value is None:
            return "nothing yet"
        low, high = self.interval95
        return f"{self.value:.3f} ({low:.3f} to {high:.3f})"


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """The differences so far; `str()` is a table.

    Attributes:
        counts: Live answers that were `offered` (all but those to blank questions), of which the
            sample left some `unsampled`; the others are `compared`, `failed` (the shadow did),
            `dropped` (it could not keep up, or was closed), `waiting` or `running`.
        errors: By type of error, how many of the failed.
        kept: How many of the compared the rest speaks of: the latest.
        overlap: Of the first ten.
        rank_biased_overlap: Of the whole answers.
        same_first: How many have the same document first, in parts.
        latency_ms: By side ("live", "shadow"), p50, p95 and p99 in milliseconds.
        degraded: By side, answers that were.
        changed: Those that differ most, by the overlap of the first ten, then by the rank-biased.
    """

    counts: Mapping[str, int]
    errors: Mapping[str, int]
    kept: int
    overlap: Mean
    rank_biased_overlap: Mean
    same_first: Mean
    latency_ms: Mapping[str, Mapping[str, float]]
    degraded: Mapping[str, int]
    changed: tuple[Difference, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "counts": dict(self.counts),
            "errors": dict(self.errors),
            "kept": self.kept,
            "overlap@10": self.overlap.to_dict(),
            "rank_biased_overlap": self.rank_biased_overlap.to_dict(),
            "same_first": self.same_first.to_dict(),
            "latency_ms": {side: dict(found) for side, found in self.latency_ms.items()},
            "degraded": dict(self.degraded),
            "changed": [each.to_dict() for each in self.changed],
        }

    def __str__(self) -> str:
        lines = [
            ", ".join(f"{count} {name}" for name, count in self.counts.items()),
            f"of the latest {self.kept}:",
            f"  overlap@10           {self.overlap}",
            f"  rank-biased overlap  {self.rank_biased_overlap}",
            f"  same first           {self.same_first}",
        ]
        for side, found in self.latency_ms.items():
            times = ", ".join(f"{name} {ms:.1f} ms" for name, ms in found.items())
            lines.append(f"  {side:<19}  {times}, {self.degraded[side]} degraded")
        if self.changed:
            lines.append("  differ most, by overlap@10 and rank-biased overlap:")
        for each in self.changed:
            name = each.query if each.text is None else f"{each.query} {each.text}"
            lines.append(f"    {each.overlap:.3f}  {each.rank_biased_overlap:.3f}  {name}")
        return "\n".join(lines)


class Books:
    """What happened so far. Thread-safe.

    Args:
        keep: Differences to keep: the latest.
    """

    def __init__(self, keep: int) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._kept: deque[Difference] = deque(maxlen=keep)

    def count(self, what: str, amount: int = 1) -> None:
        """Note that something happened."""
        with self._lock:
            self._counts[what] += amount

    def failed(self, error: str) -> None:
        """Note a failure, by the type of its error."""
        with self._lock:
            self._counts["failed"] += 1
            self._errors[error] += 1

    def compared(self, difference: Difference) -> None:
        """Note a difference."""
        with self._lock:
            self._counts["compared"] += 1
            self._kept.append(difference)

    def report(self, state: Mapping[str, int]) -> ShadowReport:
        """Sum up, with what waits and runs."""
        with self._lock:
            counts, errors, kept = dict(self._counts), dict(self._errors), tuple(self._kept)
        all_ = {name: counts.get(name, 0) for name in COUNTED}
        return report_of(kept, counts={**all_, **state}, errors=errors)


def report_of(
    found: Sequence[Difference], *, counts: Mapping[str, int], errors: Mapping[str, int]
) -> ShadowReport:
    """Sum up differences."""
    sides = {"live": [d.live for d in found], "shadow": [d.shadow for d in found]}
    differing = [each for each in found if each.live.ids != each.shadow.ids]
    return ShadowReport(
        counts=dict(counts),
        errors=dict(errors),
        kept=len(found),
        overlap=Mean.of([each.overlap for each in found]),
        rank_biased_overlap=Mean.of([each.rank_biased_overlap for each in found]),
        same_first=Mean.share([d.live.ids[:1] == d.shadow.ids[:1] for d in found]),
        latency_ms={
            name: _percentiles([side.ms for side in each]) for name, each in sides.items() if each
        },
        degraded={name: sum(side.degraded for side in each) for name, each in sides.items()},
        changed=tuple(sorted(differing, key=_alike)[:SHOWN]),
    )


def _within(centre: float, half: float) -> tuple[float, float]:
    return max(centre - half, 0.0), min(centre + half, 1.0)


def _alike(each: Difference) -> tuple[float, float]:
    # The rank-biased overlap of an order and its beginning is 1: it takes the rest to agree.
    return each.overlap, each.rank_biased_overlap


def _percentiles(ms: Sequence[float]) -> dict[str, float]:
    values = np.percentile(ms, PERCENTILES)
    return {f"p{p}": round(float(value), 3) for p, value in zip(PERCENTILES, values)}
