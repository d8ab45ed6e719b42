"""`Shadow`: another cascade that answers beside the live one, off its path."""

from __future__ import annotations

import atexit
import json
import logging
import math
import os
import random
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from stepwell.ask import Ask
from stepwell.candidates import Candidates
from stepwell.documents import Query, well_formed
from stepwell.driving import drive
from stepwell.errors import ConfigurationError, kind_of
from stepwell.moment import one_moment
from stepwell.result import Result
from stepwell.shadow.difference import Difference, Side, overlaps
from stepwell.shadow.line import Line
from stepwell.shadow.report import Books, ShadowReport
from stepwell.threads import ASIDE
from stepwell.watching import watcher

if TYPE_CHECKING:
    from stepwell.cascade import Cascade

log = logging.getLogger("stepwell.shadow")

GRACE = 1.0
"""Seconds that what runs is given when the process ends."""


@dataclass(frozen=True, slots=True)
class _Live:
    """What is remembered of a live answer until the shadow's turn."""

    cascade: str
    query: Query
    k: int | None
    deadline: float | None
    side: Side
    brought: Candidates | None
    at: float


class Shadow:
    """Runs a cascade on a sample of another one's queries, and tells how the answers differ.

    Nothing of it is on the path of the live answer: that is handed out first, the shadow works in
    threads of its own, and what it cannot keep up with is dropped and counted. What it raises is
    counted. It does share the machine, and models that both cascades name.

    Each difference goes to `on_difference`, to the logger `stepwell.shadow` as a line of JSON at
    level INFO, to OpenTelemetry, and into `report()`.

    Args:
        cascade: The other one.
        name: As which it appears in metrics and spans.
        rate: The share of live answers that are compared, above 0 and at most 1, drawn by chance.
        deadline: Seconds for each of its answers; None gives it what the live call was given.
        limit: Queries that may wait; further ones are dropped.
        threads: Queries that it works on at once.
        on_difference: Called with each, in a thread of the shadow.
        texts: Whether differences hold the question; otherwise only a hash of it. Texts of
            documents are never in them.
        salt: Goes into the hash, so that nobody without it can tell a guessed question.
        keep: Differences that the report speaks of: the latest.

    Raises:
        ConfigurationError: A number is out of its range, or the cascade is none.

    Example:
        >>> from stepwell import Cascade, Document, Shadow, TopK
        >>> shadow = Shadow(Cascade([TopK(1)]))
        >>> live = Cascade([TopK(2)], shadow=shadow)
        >>> live.rank("logs", [Document("a", "x"), Document("b", "y")]).ids
        ['a', 'b']
        >>> shadow.wait(10)
        True
        >>> shadow.report().overlap.value
        0.5
        >>> shadow.close()
    """

    def __init__(
        self,
        cascade: Cascade,
        *,
        name: str = "shadow",
        rate: float = 1.0,
        deadline: float | None = None,
        limit: int = 100,
        threads: int = 1,
        on_difference: Callable[[Difference], object] | None = None,
        texts: bool = False,
        salt: str = "",
        keep: int = 1000,
    ) -> None:
        if not (callable(getattr(cascade, "search", None)) and hasattr(cascade, "stages")):
            raise ConfigurationError(f"a shadow is a Cascade, not {kind_of(cascade)}")
        if not 0 < rate <= 1:
            raise ConfigurationError(f"rate must be above 0 and at most 1, not {rate!r}")
        if deadline is not None and not 0 < deadline < math.inf:
            raise ConfigurationError(f"deadline must be a number of seconds above 0: {deadline!r}")
        for what, value in (("limit", limit), ("threads", threads), ("keep", keep)):
            if value < 1:
                raise ConfigurationError(f"{what} must be at least 1, not {value!r}")
        self.cascade = cascade
        self.name = name
        self.rate = rate
        self.deadline = deadline
        self.limit = limit
        self.threads = threads
        self.on_difference = on_difference
        self.texts = texts
        self.keep = keep
        self._salt = blake2b(salt.encode(), digest_size=16).digest() if salt else b""
        self._begin()
        _SHADOWS.add(self)

    def _begin(self) -> None:
        """Begin anew, as a copy must and the child of a fork: threads and lock are the parent's."""
        self._chance = random.Random()
        self._line = Line(self._compare, limit=self.limit, threads=self.threads)
        self._books = Books(self.keep)

    def __repr__(self) -> str:
        return f"Shadow({self.cascade!r}, name={self.name!r}, rate={self.rate})"

    def __getstate__(self) -> dict[str, Any]:
        """The settings alone: a copy begins with an empty report."""
        own = ("_chance", "_line", "_books")
        return {name: value for name, value in vars(self).items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()
        _SHADOWS.add(self)

    def __enter__(self) -> Shadow:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- for the live cascade --------------------------------------------------------------

    def offer(self, cascade: str, result: Result, brought: Candidates | None = None) -> None:
        """Take note of a live answer; never waits and never raises.

        Args:
            cascade: Name of the live one.
            result: What it answered; one to a blank question is none to compare.
            brought: What it ranked; None where it searched.
        """
        try:
            if result.query.is_blank:
                return
            self._books.count("offered")
            if self.rate < 1 and self._chance.random() >= self.rate:
                self._books.count("unsampled")
                return
            allowed, now = result.trace.deadline_ms, time.monotonic()
            deadline = self.deadline or (None if allowed is None else allowed / 1e3)
            live = _Live(
                cascade, result.query, result.trace.k, deadline, Side.of(result), brought, now
            )
            if not self._line.add(live):
                self._books.count("dropped")
                self._metered("dropped", cascade)
        except Exception as error:
            log.warning("a live answer was not taken note of: %s", type(error).__name__)

    # -- for whoever looks -----------------------------------------------------------------

    def report(self) -> ShadowReport:
        """What came of it so far, in this process."""
        return self._books.report(self._line.state())

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until every answer that was taken is compared; whether it came to that.

        Args:
            timeout: Seconds; None waits for as long as it takes.
        """
        return self._line.wait(timeout)

    def close(self, timeout: float = GRACE) -> None:
        """Compare nothing more: what waits is dropped, what runs is given some seconds.

        The live cascade goes on, and what is offered from then on is dropped. Closing again does
        nothing.

        Args:
            timeout: Seconds; what still runs then is left alone.
        """
        forgotten = self._line.close(timeout)
        if forgotten:
            self._books.count("dropped", forgotten)

    # -- in a thread of its own ------------------------------------------------------------

    def _compare(self, live: _Live) -> None:
        ASIDE.set(True)  # in this thread, which is the shadow's
        try:
            self._tell(self._difference(live))
        except BaseException as error:  # the end of the thread would be nobody's news
            self._failed(live, error)

    def _difference(self, live: _Live) -> Difference:
        waited = (time.monotonic() - live.at) * 1e3
        side = Side.of(self._answered(live))
        shared, rbo = overlaps(live.side.ids, side.ids)
        asked = live.query.text
        text = asked if self.texts else None
        return Difference(
            self._hash(asked), text, live.cascade, live.side, side, shared, rbo, waited
        )

    def _answered(self, live: _Live) -> Result:
        ask = Ask(live.query, live.k, live.deadline, time.monotonic(), aside=True)
        begun = live.brought
        start = ask.start() if begun is None else replace(begun, deadline=ask.until)
        with one_moment(), watcher().searching(self.name, (ask,)) as seen:
            return seen(ask.answer(*drive(self.cascade._walk(start))))

    def _tell(self, difference: Difference) -> None:
        self._books.compared(difference)
        cascade, rbo = difference.cascade, difference.rank_biased_overlap
        self._metered("compared", cascade)
        watcher().record("shadow.overlap", rbo, cascade_name=cascade, shadow_name=self.name)
        _log(difference.to_dict())
        if self.on_difference is None:
            return
        try:
            self.on_difference(difference)
        except Exception as error:
            log.warning("on_difference failed: %s", type(error).__name__)

    def _failed(self, live: _Live, error: BaseException) -> None:
        # The type alone: a message may quote a text.
        kind, stage = type(error.__cause__ or error).__name__, getattr(error, "stage", "")
        self._books.failed(kind)
        self._metered("failed", live.cascade)
        told = {"query": self._hash(live.query.text), "cascade": live.cascade, "error": kind}
        _log({**told, "stage": stage} if stage else told)

    def _metered(self, outcome: str, cascade: str) -> None:
        watcher().count(
            "shadow.queries", cascade_name=cascade, shadow_name=self.name, shadow_outcome=outcome
        )

    def _hash(self, text: str) -> str:
        return blake2b(text.encode(), digest_size=8, key=self._salt).hexdigest()


def _log(told: dict[str, Any]) -> None:
    if log.isEnabledFor(logging.INFO):
        # Half a character in an id is no line that a handler could write.
        log.info("%s", well_formed(json.dumps(told, ensure_ascii=False)))


# All there are, for the child of a fork and the end of the process.
_SHADOWS: weakref.WeakSet[Shadow] = weakref.WeakSet()


def _reset() -> None:
    for shadow in list(_SHADOWS):
        closed = shadow._line.closed
        shadow._begin()
        shadow._line.closed = closed


def _end() -> None:
    # Native code of a model in a thread that outlives the interpreter may crash at the very end.
    until = time.monotonic() + GRACE
    for shadow in list(_SHADOWS):
        shadow.close(max(until - time.monotonic(), 0.0))


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset)
