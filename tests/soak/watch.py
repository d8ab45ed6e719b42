"""Memory, threads and open files over time, and whether they are flat."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import psutil

ALLOWED = 0.05
"""Of growth, from the first quarter after the warm-up to the last."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look: seconds since the start, MB resident, threads, open files."""

    at: float
    rss: float
    threads: int
    files: int


class Watch:
    """Looks at one process.

    Args:
        pid: None for this one.
    """

    def __init__(self, pid: int | None = None) -> None:
        self._process = psutil.Process(pid)
        self._began = time.monotonic()
        self.samples: list[Sample] = []

    def look(self) -> Sample:
        with self._process.oneshot():
            made = Sample(
                time.monotonic() - self._began,
                self._process.memory_info().rss / 2**20,
                self._process.num_threads(),
                self._process.num_fds(),
            )
        self.samples.append(made)
        return made

    def growth(self, warm: float) -> dict[str, tuple[float, float, float]]:
        """By measure: median of the first and of the last quarter after `warm` seconds, and slope.

        The slope is a least-squares fit, a minute.
        """
        late = [each for each in self.samples if each.at >= warm]
        quarter = max(len(late) // 4, 1)
        made = {}
        for name in ("rss", "threads", "files"):
            values = np.array([getattr(each, name) for each in late], dtype=float)
            slope = np.polyfit([each.at / 60 for each in late], values, 1)[0]
            first, last = np.median(values[:quarter]), np.median(values[-quarter:])
            made[name] = (float(first), float(last), float(slope))
        return made

    def leaks(self, warm: float, allowed: float = ALLOWED) -> list[str]:
        """What has grown by more than is allowed; of small numbers, by more than three."""
        return [
            f"{name}: {first:.1f} at first, {last:.1f} at last, {slope:+.2f} a minute"
            for name, (first, last, slope) in self.growth(warm).items()
            if last > first * (1 + allowed) and last - first > 3
        ]
