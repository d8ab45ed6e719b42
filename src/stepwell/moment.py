"""One moment for a whole query: what its stages read of a source is of one state of that source.

A source that others change meanwhile, such as a corpus, keeps its present state for the moment
that it is first asked in (`Moment.of`), and answers from that state until the moment ends.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeVar


class Closes(Protocol):
    """What is kept for a moment."""

    def close(self) -> None:
        """Called once, when the moment ends."""
        ...


C = TypeVar("C", bound=Closes)


class Moment:
    """The states that sources keep until it ends; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[int, tuple[object, Closes]] = {}
        self._over = False

    def of(self, source: object, keep: Callable[[], C]) -> C | None:
        """The state of a source, kept now if this is the first time; None once it is over.

        Args:
            source: Whose state.
            keep: Makes it.
        """
        with self._lock:
            if self._over:
                return None
            if id(source) not in self._kept:
                # With the source itself, whose id is no other's while it lives.
                self._kept[id(source)] = (source, keep())
            return self._kept[id(source)][1]  # type: ignore[return-value]

    @property
    def over(self) -> bool:
        """Whether it has ended: a thread or task may outlive the search that began it."""
        return self._over

    @property
    def keeps(self) -> bool:
        """Whether there is a state to let go of."""
        return bool(self._kept)

    def end(self) -> None:
        """Let go of every state."""
        with self._lock:
            self._over = True
            kept, self._kept = list(self._kept.values()), {}
        for _, state in kept:
            state.close()


_PRESENT: ContextVar[Moment | None] = ContextVar("stepwell-moment", default=None)


def present() -> Moment | None:
    """The moment that this code runs in; None outside any."""
    return _PRESENT.get()


@contextmanager
def one_moment() -> Iterator[Moment]:
    """What is read inside is of one moment: of the outer one, where there is one already."""
    with _begun() as (moment, is_new):
        try:
            yield moment
        finally:
            if is_new:
                moment.end()


@asynccontextmanager
async def one_moment_awaited() -> AsyncIterator[Moment]:
    """`one_moment`; letting go of what was kept, which may read a disk, is left to a thread."""
    with _begun() as (moment, is_new):
        try:
            yield moment
        finally:
            if is_new and moment.keeps:
                await asyncio.to_thread(moment.end)
            elif is_new:
                moment.end()


@contextmanager
def _begun() -> Iterator[tuple[Moment, bool]]:
    """The present moment and whether it begins here."""
    outer = _PRESENT.get()
    if outer is not None and not outer.over:
        yield outer, False
        return
    moment = Moment()
    token = _PRESENT.set(moment)
    try:
        yield moment, True
    finally:
        _PRESENT.reset(token)
