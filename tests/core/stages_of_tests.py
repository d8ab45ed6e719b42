"""Small stages with one behaviour each, for the tests of the core."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np

from stepwell import Candidates, Document
from stepwell.documents import InMemory


class Recall:
    """Recalls `n` documents "d0", "d1", ... with falling scores, numbered in their metadata."""

    recall_only = False

    def __init__(self, n: int = 10, name: str = "recall", **metadata: object) -> None:
        self.name = name
        self.documents = [
            Document(f"d{at}", f"text {at}", {"n": at, **metadata}) for at in range(n)
        ]
        self.source = InMemory(self.documents)

    def run(self, candidates: Candidates) -> Candidates:
        if not candidates.fresh:
            return candidates
        allowed = candidates.query.filter
        ids = [d.id for d in self.documents if allowed is None or allowed.matches(d.metadata)]
        scores = np.arange(len(ids), 0, -1.0)
        return candidates.recalled(self.name, ids, scores, source=self.source)


class RecallOnly(Recall):
    recall_only = True

    def run(self, candidates: Candidates) -> Candidates:
        if not candidates.fresh:
            raise AssertionError("a recall-only stage was given a set")
        return super().run(candidates)


class Score:
    """Scores by a function of the id, keeps k."""

    def __init__(self, function, name: str = "score", k: int | None = None, blend=1.0) -> None:
        self.name, self.function, self.k, self.blend = name, function, k, blend

    def run(self, candidates: Candidates) -> Candidates:
        values = [self.function(id) for id in candidates.ids]
        return candidates.scored(self.name, values, blend=self.blend).top(self.k)


class AsyncScore(Score):
    """Only `arun` may be called from a loop."""

    async def arun(self, candidates: Candidates) -> Candidates:
        await asyncio.sleep(0)
        return self.run(candidates)


class BatchScore(Score):
    """Counts how often it is asked for many at once."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.batches: list[int] = []

    def run_many(self, many):
        self.batches.append(len(many))
        return [self.run(each) for each in many]


class Fail:
    def __init__(self, error: Exception | None = None, name: str = "fail", **flags) -> None:
        self.name = name
        self.error = error or RuntimeError("out of order")
        self.__dict__.update(flags)

    def run(self, candidates: Candidates) -> Candidates:
        raise self.error


class Bad:
    """Breaks one rule of the contract."""

    name = "bad"

    def __init__(self, rule: str) -> None:
        self.rule = rule

    def run(self, candidates: Candidates):
        n = len(candidates)
        match self.rule:
            case "Candidates":
                return list(candidates.ids)
            case "query":
                return replace(candidates, query=replace(candidates.query, text="other"))
            case "twice":
                return candidates.reordered([0, 0], [1.0, 1.0])
            case "NaN":
                return candidates.reordered(range(n), np.full(n, np.nan))
            case "infinite":
                return candidates.reordered(range(n), np.full(n, np.inf))
            case "missing":
                return replace(candidates, score=np.zeros(n - 1))
            case "increase":
                return candidates.reordered(range(n), np.arange(n, dtype=float))
            case "not given":
                return candidates.recalled("bad", ["d0", "new"], [2, 1], source=candidates.source)
            case "no string":
                return candidates.recalled("bad", [0, "d0"], [2, 1], source=candidates.source)
        raise AssertionError(self.rule)


def number(id: str) -> float:
    """The number in "d12"."""
    return float(id[1:])


def shuffled(seed: int):
    """A scoring function with an order of its own, and ties."""
    return lambda name: (number(name) * (2 * seed + 3) + seed) % 7


def signature(result):
    """All of a result that must not depend on how it was asked for."""
    return [
        (hit.id, hit.score, hit.rank, dict(hit.scores), dict(hit.ranks)) for hit in result.hits
    ], [
        (record.name, record.status, record.n_in, record.n_out, record.ids.tolist())
        for record in result.trace.records
    ]
