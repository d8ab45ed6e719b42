"""Whether live traffic still is what a depth was calibrated on: tests that may be looked at daily.

An alarm on a stream of zeros and ones whose rate should be at most a number. It is the e-detector
of Shiryaev and Roberts (Shin, Ramdas and Rinaldo, "E-detectors", 2024): money that is bet on each
next one being an error, begun anew at every query. While the rate is what it should be, the mean
number of queries before a false alarm is at least `patience`, however often one looks; after the
rate rises, the money grows by itself.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

from stepwell.depth.calibrated import Depth

# Parts of the largest stake that cannot lose all: cautious ones find small rises, bold ones soon.
_STAKES = (0.05, 0.1, 0.2, 0.4, 0.8)
# Questions remembered: one that comes again is no new evidence.
_KEPT = 10_000
_DRAWS = 1 << 32
# Of questions, in which patience is counted where none is audited.
_SHARE = 0.02
_ALARMS = 3


class Detector:
    """Sounds once the rate of ones in a stream has risen above what it should be.

    Args:
        rate: The most it should be, between 0 and 1.
        patience: Values before a false alarm, on average at least.
    """

    def __init__(self, rate: float, patience: float) -> None:
        self.rate, self.patience = rate, patience
        self.seen = self.ones = 0
        self._money = [0.0] * len(_STAKES)

    @property
    def evidence(self) -> float:
        """The money by now; the alarm sounds at `patience`."""
        return sum(self._money) / len(self._money)

    @property
    def sounds(self) -> bool:
        """Whether there is an alarm."""
        return self.evidence >= self.patience

    def heard(self, one: bool) -> None:
        """Take in the next value; after an alarm nothing changes it."""
        if self.sounds:
            return
        self.seen += 1
        self.ones += one
        for at, stake in enumerate(_STAKES):
            # A bet at odds that are fair where the rate is right, and a gain where it is higher.
            gain = 1.0 + stake / self.rate * (float(one) - self.rate)
            self._money[at] = (self._money[at] + 1.0) * gain


class Once:
    """Which questions have been there before; thread-safe, of the last 10,000."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, None] = OrderedDict()
        self._lock = threading.Lock()

    def first(self, question: str) -> bool:
        """Whether it is there for the first time, as far as is remembered."""
        key = hash(question)
        with self._lock:
            known = key in self._kept
            self._kept[key] = None
            self._kept.move_to_end(key)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return not known


class Watch:
    """Looks whether a calibrated depth still holds; thread-safe, copies begin anew.

    Three alarms: errors among the questions that were read to the end are more than was promised;
    questions need more reading than at calibration, or less. The first needs audited questions, the
    others nothing. A question counts once. Each alarm gets three times the patience of the depth,
    so that false ones of all three together are no more frequent than it says.

    Args:
        depth: As it was calibrated.

    Attributes:
        alarm: What sounded first; empty if nothing did.
    """

    def __init__(self, depth: Depth) -> None:
        self.depth = depth
        self.alarm = ""
        patience = _ALARMS * depth.patience
        self.errors = Detector(depth.error_rate, patience)
        # Each question tells these something, not only those audited, in which patience is counted.
        often = patience / (depth.audit or _SHARE)
        self.deeper = Detector(depth.deep_high, often)
        self.shallower = Detector(1.0 - depth.deep_low, often)
        self._asked = Once()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Watch, (self.depth,)

    @property
    def reads_all(self) -> bool:
        """Whether everything is to be read from now on."""
        return bool(self.alarm) and self.depth.on_drift == "full"

    def audits(self, question: str) -> bool:
        """Whether a question is to be read to the end: the same ones always."""
        return _number(question) < self.depth.audit * _DRAWS

    def heard(self, question: str, *, read: int, wrong: bool | None) -> bool:
        """Take in a question; True when that makes an alarm sound.

        Args:
            question: Only a hash of it is kept.
            read: How many candidates it took to be sure.
            wrong: Whether stopping there was an error; None if that was not looked at.
        """
        if not self._asked.first(question):
            return False
        with self._lock:
            if wrong is not None:
                self.errors.heard(wrong)
            self.deeper.heard(read > self.depth.deep)
            self.shallower.heard(read <= self.depth.deep)
            sounding = next((text for text, each in self._alarms() if each.sounds), "")
            new = bool(sounding) and not self.alarm
            self.alarm = self.alarm or sounding
        return new

    def to_dict(self) -> dict[str, Any]:
        """Where it stands, as plain values."""
        return {
            "alarm": self.alarm,
            "asked": self.deeper.seen,
            "audited": self.errors.seen,
            "errors": self.errors.ones,
            "evidence": {text: each.evidence for text, each in self._alarms()},
        }

    def _alarms(self) -> Iterator[tuple[str, Detector]]:
        yield "more errors than promised", self.errors
        yield "questions need more reading", self.deeper
        yield "questions need less reading", self.shallower


def _number(question: str) -> int:
    text = question.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=4).digest(), "big")
