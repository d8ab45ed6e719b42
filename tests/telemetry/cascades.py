"""Small real cascades, with stages of which one can say what they do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np

from stepwell import Candidates, Document
from stepwell.documents import InMemory

SECRET = "the codename is basilisk"
DOCUMENTS = [Document(f"key-{at}", f"{SECRET}, part {at}") for at in range(6)]


class Recall:
    """Recalls the documents in their order."""

    def __init__(self, name: str = "recall", documents: list[Document] = DOCUMENTS) -> None:
        self.name, self.documents = name, documents

    def run(self, candidates: Candidates) -> Candidates:
        ids = [document.id for document in self.documents]
        scores = np.arange(len(ids), 0, -1.0)
        return candidates.recalled(self.name, ids, scores, source=InMemory(self.documents))


class Score:
    """Gives these values, in the order of what it is given, and keeps k."""

    def __init__(
        self, values: list[float], name: str = "score", k: int | None = None, **notes: Any
    ) -> None:
        self.name, self.values, self.k, self.notes = name, values, k, notes

    def run(self, candidates: Candidates) -> Candidates:
        scored = candidates.scored(self.name, self.values[: len(candidates)])
        return scored.noted(**self.notes).top(self.k)


class Awaited(Score):
    """Is awaited."""

    async def arun(self, candidates: Candidates) -> Candidates:
        await asyncio.sleep(0)
        return self.run(candidates)


class Together(Score):
    """Runs for many at once."""

    def run_many(self, many: list[Candidates]) -> list[Candidates]:
        return [self.run(each) for each in many]


class Fail:
    """Fails with what it is told, whose message quotes a text."""

    def __init__(self, name: str = "fail", error: Exception | None = None) -> None:
        self.name, self.error = name, error or TimeoutError(f"no answer to: {SECRET}")

    def run(self, candidates: Candidates) -> Candidates:
        raise self.error


class Call:
    """Calls a function, such as one that makes a span, and leaves the order."""

    def __init__(self, function: Callable[[], object], name: str = "call") -> None:
        self.name, self.function = name, function

    def run(self, candidates: Candidates) -> Candidates:
        self.function()
        return candidates
