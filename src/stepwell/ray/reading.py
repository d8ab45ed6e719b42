"""What a replica does with the requests of one batch: their pairs are read together, in steps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from stepwell.errors import RemoteError, StepwellError
from stepwell.models.protocols import PairScorer, PairScores
from stepwell.models.steps import Readings, ReadsPairs
from stepwell.stopping import stop_at

STEPS = 4
"""Of pairs at a time, where nobody is pressed for time."""

Answer: TypeAlias = PairScores | StepwellError
"""An error is answered, not raised: Ray would write it into its logs, whatever it quotes."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A part of one query's passages.

    Attributes:
        query: What is asked.
        passages: In order.
        deadline: `time.monotonic()` seconds of this machine; None for none.
    """

    query: str
    passages: Sequence[str]
    deadline: float | None

    @property
    def is_over(self) -> bool:
        """Whether nobody waits any more."""
        return self.deadline is not None and time.monotonic() >= self.deadline


def pairs_of(asks: Sequence[Ask]) -> int:
    """How large a batch of these is."""
    return sum(len(each.passages) for each in asks)


def answers(scorer: PairScorer, asks: Sequence[Ask]) -> list[Answer]:
    """Score the passages of each; NaN where its time was over."""
    if not isinstance(scorer, ReadsPairs) or len(asks) == 1:
        return [_alone(scorer, ask) for ask in asks]
    try:
        return list(_together(scorer, asks))
    except Exception:  # one of them may have spoilt it for all
        return [_alone(scorer, ask) for ask in asks]


def _alone(scorer: PairScorer, ask: Ask) -> Answer:
    try:
        return scorer.score(ask.query, ask.passages, stop=stop_at(ask.deadline))
    except StepwellError as error:
        return error
    except Exception as error:
        return RemoteError(f"a replica's model failed ({type(error).__name__})", api="ray")


def _together(scorer: ReadsPairs, asks: Sequence[Ask]) -> list[PairScores]:
    made = [Readings.none(len(ask.passages)) for ask in asks]
    pressed = any(ask.deadline is not None for ask in asks)
    size = scorer.step * (1 if pressed else STEPS)
    left = [(n, at) for n, ask in enumerate(asks) for at in range(len(ask.passages))]
    while left:
        over = {n for n, ask in enumerate(asks) if ask.is_over}
        left = [(n, at) for n, at in left if n not in over]
        part, left = left[:size], left[size:]
        if part:
            read = scorer.read([(asks[n].query, asks[n].passages[at]) for n, at in part])
            for place, (n, at) in enumerate(part):
                made[n].put(slice(at, at + 1), read.part(slice(place, place + 1)))
    return [each.scores() for each in made]
