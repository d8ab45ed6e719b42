"""Models that write down what they are asked, where every process of this machine can read it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from stepwell.models import Kind, PairScores, ScoreKind, Vectors
from stepwell.models.steps import Pair, Readings
from tests.corpus.encoders import BagOfWords


class Noted(BagOfWords):
    """An encoder that takes its time and appends each passage to a file."""

    def __init__(self, log: Path, seconds: float = 0.0) -> None:
        super().__init__()
        self.log, self.seconds = log, seconds

    def encode(self, texts: Sequence[str], /, *, kind: Kind = "passage") -> Vectors:
        if kind == "passage":
            note(self.log, *texts)
            time.sleep(self.seconds * len(texts))
        return super().encode(texts, kind=kind)


class Gated(BagOfWords):
    """An encoder that never ends on one node, and on others begins when that one has begun."""

    def __init__(self, gate: Path, node_id: str) -> None:
        super().__init__()
        self.gate, self.node_id = gate, node_id

    def encode(self, texts: Sequence[str], /, *, kind: Kind = "passage") -> Vectors:
        import ray

        if ray.get_runtime_context().get_node_id() == self.node_id:
            self.gate.touch()
            time.sleep(300)
        awaited_until(self.gate.exists, 120)
        return super().encode(texts, kind=kind)


class Lengths:
    """A scorer of lengths that reads pairs of any queries, and notes each batch as one line.

    A query such as "q@0.05" takes so many seconds a pair.
    """

    kind: ScoreKind = "logit"
    name = "lengths"
    step = 4

    def __init__(self, log: Path) -> None:
        self.log = log

    def read(self, pairs: Sequence[Pair], /) -> Readings:
        note(self.log, ",".join(query for query, _ in pairs))
        time.sleep(sum(float(query.partition("@")[2] or 0) for query, _ in pairs))
        if any("poison" in passage for _, passage in pairs):
            raise ValueError("secret poison")
        made = Readings.none(len(pairs))
        made.values[:] = [len(passage) for _, passage in pairs]
        made.passes[:] = 1
        return made

    def score(
        self, query: str, passages: Sequence[str], /, *, stop: Callable[[], bool] | None = None
    ) -> PairScores:
        made = Readings.none(len(passages))
        for start in range(0, len(passages), self.step):
            if stop is not None and stop():
                break
            part = slice(start, min(start + self.step, len(passages)))
            made.put(part, self.read([(query, each) for each in passages[part]]))
        return made.scores()


def awaited_until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    over = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < over
        time.sleep(0.05)


def note(log: Path, *lines: str) -> None:
    with log.open("a", encoding="utf-8") as file:  # appended whole, by any number of processes
        file.write("".join(f"{line}\n" for line in lines))


def noted(log: Path, about: str = "") -> list[str]:
    lines = log.read_text("utf-8").splitlines() if log.exists() else []
    return [line for line in lines if about in line]
