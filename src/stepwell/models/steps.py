"""One query's passages to a reader of pairs, in steps, between which a deadline may end it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from stepwell.models.protocols import PairScores, Vectors

Pair: TypeAlias = tuple[str, str]


class Readings(NamedTuple):
    """What was made of some pairs, in their order; the fields are those of `PairScores`."""

    values: Vectors
    cut: NDArray[np.bool_]
    passes: NDArray[np.int32]

    @classmethod
    def none(cls, n: int) -> Readings:
        """What `n` pairs are before they are read: NaN, whole, in no window."""
        return cls(
            np.full(n, np.nan, dtype=np.float32),
            np.zeros(n, dtype=np.bool_),
            np.zeros(n, dtype=np.int32),
        )

    def part(self, at: slice) -> Readings:
        """Some pairs' readings."""
        return Readings(self.values[at], self.cut[at], self.passes[at])

    def copy(self) -> Readings:
        """The same in arrays of its own."""
        return Readings(self.values.copy(), self.cut.copy(), self.passes.copy())

    def put(self, at: slice, made: Readings) -> None:
        """Write some pairs' readings where they belong."""
        for whole, part in zip(self, made, strict=True):
            whole[at] = part

    def scores(self) -> PairScores:
        """The same with its totals counted."""
        values, cut, passes = self
        return PairScores(values, int(cut.sum()), int(passes.sum()), cut=cut, passes=passes)


@runtime_checkable
class ReadsPairs(Protocol):
    """A scorer whose one call may hold pairs of several queries."""

    @property
    def step(self) -> int:
        """Pairs that keep the machine busy; the fewest worth reading at once."""
        ...

    def read(self, pairs: Sequence[Pair], /) -> Readings:
        """Score pairs of query and passage in the order given."""
        ...


def in_steps(
    read: Callable[[list[Pair]], Readings],
    query: str,
    passages: Sequence[str],
    *,
    size: int,
    stop: Callable[[], bool] | None,
) -> PairScores:
    """Score one query's passages, `size` at a time, asking `stop` before each step."""
    made = Readings.none(len(passages))
    for start in range(0, len(passages), size):
        if stop is not None and stop():
            break
        part = slice(start, start + size)
        made.put(part, read([(query, passage) for passage in passages[part]]))
    return made.scores()
