"""Rows to batches: rows of one width share a batch, so that no row's score knows its mates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from stepwell.models.pairs import Ids, Row, padded
from stepwell.models.protocols import Vectors
from stepwell.models.runtime import side_by_side


class Engine(Protocol):
    """Runs a cross-encoder over padded rows.

    Attributes:
        pad: Token id that fills a row.
        step: Rows are padded to a multiple of this many tokens, up to `limit`.
        limit: Tokens that the model reads at most.
        parallel: Whether several batches may run at a time.
    """

    pad: int
    step: int
    limit: int
    parallel: bool

    @property
    def backend(self) -> str:
        """Runtime and precision, such as ``"openvino-int8"``."""
        ...

    @property
    def budget(self) -> int:
        """Tokens in one batch at most, padding counted; a batch has one row at least."""
        ...

    def run(self, ids: Ids, mask: Ids, kinds: Ids, /) -> Vectors:
        """Return one logit a row, shape ``(rows,)``, for inputs of shape ``(rows, width)``."""
        ...


def plan(
    sizes: Sequence[int], /, *, step: int, limit: int, budget: int
) -> list[tuple[int, list[int]]]:
    """Return (width, positions) of each batch, widest first.

    A row's width follows from its own size alone.
    """
    widths: dict[int, list[int]] = {}
    for at, size in enumerate(sizes):
        widths.setdefault(min(-(-size // step) * step, limit), []).append(at)
    return [
        (width, members[start : start + max(budget // width, 1)])
        for width, members in sorted(widths.items(), reverse=True)
        for start in range(0, len(members), max(budget // width, 1))
    ]


def logits(engine: Engine, rows: Sequence[Row], /) -> Vectors:
    """Return the engine's score of each row, float32, in the order given."""
    out = np.empty(len(rows), dtype=np.float32)
    sizes = [len(row.ids) for row in rows]
    batches = plan(sizes, step=engine.step, limit=engine.limit, budget=engine.budget)

    def work(batch: tuple[int, list[int]]) -> Vectors:
        width, members = batch
        return engine.run(*padded([rows[at] for at in members], width, engine.pad))

    run = side_by_side(work, batches) if engine.parallel else map(work, batches)
    for (_, members), values in zip(batches, run, strict=True):
        out[members] = values
    return out
