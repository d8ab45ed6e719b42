"""Three drivers of one walk over the stages: at once, awaited, and for many queries in step."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import TypeAlias

from stepwell.attempt import Outcome, attempt, attempt_async, attempt_many
from stepwell.candidates import Candidates
from stepwell.stage import Stage
from stepwell.trace import StageRecord

End: TypeAlias = "tuple[Candidates, list[StageRecord]]"
Walk: TypeAlias = "Generator[tuple[Stage, Candidates], Outcome, End]"
"""Yields a stage and what it is given, receives what came of it; ends in candidates and records."""


def drive(walk: Walk) -> End:
    """Walk at once, in this thread."""
    with closing(walk):
        try:
            request = next(walk)
            while True:
                request = walk.send(attempt(*request))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


async def drive_async(walk: Walk) -> End:
    """Walk without blocking the event loop."""
    # A StopIteration cannot cross a coroutine's edge, so it is caught where it is raised.
    outcome: Outcome | None = None
    # Closed, so that a walk whose task is cancelled ends now and not when it is collected.
    with closing(walk):
        while True:
            try:
                request = next(walk) if outcome is None else walk.send(outcome)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            outcome = await attempt_async(*request)


def drive_many(walks: Sequence[Walk]) -> list[End | Exception]:
    """Walk in step: those that wait for the same stage are given to it together.

    Returns:
        The end of each walk, or the exception that ended it, in order.
    """
    ended: dict[int, End | Exception] = {}
    waiting: dict[int, tuple[Stage, Candidates]] = {}

    def advance(at: int, outcome: Outcome | None) -> None:
        try:
            waiting[at] = next(walks[at]) if outcome is None else walks[at].send(outcome)
        except StopIteration as end:
            ended[at] = end.value
        except Exception as error:
            ended[at] = error

    for at in range(len(walks)):
        advance(at, None)
    while waiting:
        stage = next(iter(waiting.values()))[0]
        together = [at for at, request in waiting.items() if request[0] is stage]
        outcomes = attempt_many(stage, [waiting.pop(at)[1] for at in together])
        for at, outcome in zip(together, outcomes):
            advance(at, outcome)
    return [ended[at] for at in range(len(walks))]
