"""`Hybrid`: several recall stages at once, fused into one order."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stepwell.attempt import (
    ALWAYS_RAISED,
    Outcome,
    attempt,
    attempt_async,
    attempt_many,
    failed_record,
    idle_reason,
    passed_record,
    raised,
)
from stepwell.candidates import Candidates, Ids, Ranks, Scores, check_blend, check_k
from stepwell.documents import overlay
from stepwell.errors import ConfigurationError
from stepwell.meaning import Meaning
from stepwell.stage import Stage
from stepwell.stages import blends
from stepwell.stages.bm25 import BM25
from stepwell.stages.dense import Dense
from stepwell.stages.fusion import convex, reciprocal_rank, union
from stepwell.threads import on_cores
from stepwell.trace import StageRecord, record_of

if TYPE_CHECKING:
    from stepwell.corpus.searchable import Searchable

Fusion: TypeAlias = Literal["convex", "rrf"]
Weights: TypeAlias = "Sequence[float] | Mapping[str, float]"


class Hybrid:
    """Runs several recall stages (its arms) side by side and fuses what they find.

    Each arm keeps its score column and its ranks, and has its own line in the trace. When an arm
    fails, or is not ready at the deadline, the others answer and the trace says so; when all fail,
    so does the stage. Given a set, the arms score that set. A document is its id: two arms over
    different corpora that use one id for two texts would fuse them into one hit, with the first
    arm's text; give such ids a prefix.

    Args:
        stages: The arms; or a corpus, which means BM25 and Dense over it; or None, which means
            those two over documents that are brought.
        k: How many to keep; None for all.
        weights: One an arm, in order or by name; equal by default. Only their proportion counts.
        fusion: "convex" for the weighted mean of scores moved to 0..1, from the least that the arm
            found, or from its `floor` where it has one (0 for BM25), to its best; "rrf" for
            weighted reciprocal ranks.
        k_rrf: The constant of reciprocal rank fusion.
        blend: Given a set, the weight of the fused score against the score so far, 0 to 1. Where
            documents were brought without scores there is none, and this changes nothing.
        name: The column the fused score is kept under.

    Raises:
        ConfigurationError: No arms, two of one name, weights that do not fit, an unknown fusion.
    """

    def __init__(
        self,
        stages: Iterable[Stage] | Searchable | None = None,
        k: int | None = 1000,
        *,
        weights: Weights | None = None,
        fusion: Fusion = "convex",
        k_rrf: int = 60,
        blend: float = blends.HYBRID,
        name: str = "hybrid",
    ) -> None:
        self.name = name
        self.k = check_k(k)
        check_k(k_rrf, what="k_rrf")
        self.k_rrf = k_rrf
        self.blend = check_blend(blend)
        self.arms = _arms(stages, k, name)
        self.weights = _weights(weights, [arm.name for arm in self.arms])
        self.fusion = fusion
        self.expands = any(getattr(arm, "expands", False) for arm in self.arms)
        self.recall_only = all(getattr(arm, "recall_only", False) for arm in self.arms)
        if fusion not in ("convex", "rrf"):
            raise ConfigurationError(f"fusion must be 'convex' or 'rrf', not {fusion!r}")

    @property
    def kind(self) -> Meaning:
        """Reciprocal ranks, or scores moved to 0..1 within a query."""
        return "rank" if self.fusion == "rrf" else "relative"

    def __repr__(self) -> str:
        arms = " + ".join(arm.name for arm in self.arms)
        return f"Hybrid({arms}, k={self.k}, fusion={self.fusion!r})"

    def run(self, candidates: Candidates, /) -> Candidates:
        """Run the arms in threads, and fuse."""
        active = self._active(candidates)
        pool = ThreadPoolExecutor(max(len(active), 1), thread_name_prefix="stepwell-hybrid")
        try:
            futures = {
                at: pool.submit(copy_context().run, attempt, self.arms[at], candidates)
                for at in active
            }
            pending: set[Future[Outcome]] = set(futures.values())
            while pending:
                patience, until = _patience(candidates, futures.values())
                if not until:
                    break
                _, pending = wait(pending, timeout=patience, return_when=until)
        finally:
            # A late arm ends in its own time; nobody waits for it.
            pool.shutdown(wait=False, cancel_futures=True)
        return self._fused(candidates, _finished(futures))

    async def arun(self, candidates: Candidates, /) -> Candidates:
        """Await the arms together, and fuse."""
        tasks = {
            at: asyncio.ensure_future(attempt_async(self.arms[at], candidates))
            for at in self._active(candidates)
        }
        pending = set(tasks.values())
        try:
            while pending:
                patience, until = _patience(candidates, tasks.values())
                if not until:
                    break
                _, pending = await asyncio.wait(pending, timeout=patience, return_when=until)
        finally:
            for task in pending:
                task.cancel()
        # Fusing a thousand takes milliseconds: too long for the loop's thread.
        return await on_cores(self._fused, candidates, _finished(tasks))

    def run_many(self, many: Sequence[Candidates], /) -> list[Candidates]:
        """`run` for each; an arm that can, works on all at once. With a deadline, one by one."""
        if any(each.deadline is not None for each in many):
            return [self.run(each) for each in many]
        outcomes: list[dict[int, Outcome | None]] = [{} for _ in many]

        def work(at: int) -> None:
            places = [n for n, each in enumerate(many) if at in self._active(each)]
            done = attempt_many(self.arms[at], [many[n] for n in places])
            for n, outcome in zip(places, done):
                outcomes[n][at] = outcome

        with ThreadPoolExecutor(len(self.arms), thread_name_prefix="stepwell-hybrid") as pool:
            for arm in [pool.submit(copy_context().run, work, at) for at in range(len(self.arms))]:
                arm.result()
        return [self._fused(each, outcome) for each, outcome in zip(many, outcomes)]

    def _active(self, candidates: Candidates) -> list[int]:
        return [at for at, arm in enumerate(self.arms) if not idle_reason(arm, candidates)]

    def _fused(self, candidates: Candidates, outcomes: Mapping[int, Outcome | None]) -> Candidates:
        """One list from what came of the arms; `outcomes` lacks idle arms, None is a late one."""
        found: dict[int, Candidates] = {}
        records: list[StageRecord] = []
        for at, arm in enumerate(self.arms):
            outcome = outcomes.get(at)
            if outcome is None:
                idle = idle_reason(arm, candidates)
                status: Literal["idle", "skipped"] = "idle" if idle else "skipped"
                records.append(passed_record(arm, at, status, idle or "deadline", candidates))
            elif isinstance(outcome.value, Exception):
                records.append(failed_record(arm, at, candidates, outcome.value, outcome.ms))
            else:
                found[at] = _within(candidates, outcome.value)
                records.append(record_of(arm.name, at, candidates, outcome.value, outcome.ms))
        for record in records:
            error = record.error
            if isinstance(error, ALWAYS_RAISED) or (isinstance(error, Exception) and not found):
                raise raised(record.name, error)
        return self._merged(candidates, found, tuple(records))

    def _merged(
        self,
        candidates: Candidates,
        found: Mapping[int, Candidates],
        records: tuple[StageRecord, ...],
    ) -> Candidates:
        lists = list(found.values())
        table = union(lists)
        weights = [self.weights[at] for at in found]
        if self.fusion == "convex":
            floors = [getattr(self.arms[at], "floor", None) for at in found]
            values = convex(table.scores, weights, floors=floors)
        else:
            values = reciprocal_rank(table.ranks, weights, k=self.k_rrf)
        base, fused = candidates, values
        if candidates.fresh:
            source = overlay(each.source for each in lists)
            base = candidates.recalled(self.name, table.ids, np.zeros(len(values)), source=source)
        else:
            # A candidate that no arm returned has no place in the table, and is worth 0.
            fused = np.append(values, 0.0)[_places(base.ids, table.ids)]
        scores, ranks = _columns(base, {self.arms[arm].name: each for arm, each in found.items()})
        kinds = {name: kind for each in lists for name, kind in each.kinds.items()}
        kinds = {**kinds, **base.kinds}
        joined = replace(base, scores=scores, ranks=ranks, kinds=kinds, children=records)
        blend = 1.0 if candidates.fresh else self.blend
        return joined.scored(self.name, fused, blend=blend, kind=self.kind).top(self.k)


def _columns(
    base: Candidates, found: Mapping[str, Candidates]
) -> tuple[dict[str, Scores], dict[str, Ranks]]:
    """The columns of the arms, in the order of the base; what it has already, it keeps."""
    scores, ranks = dict(base.scores), dict(base.ranks)
    for name, each in found.items():
        at = _places(each.ids, base.ids)
        for key, values in {name: each.score, **each.scores}.items():
            if key not in scores:
                scores[key] = np.full(len(base), np.nan)
                scores[key][at] = values
        order = np.arange(1, len(each) + 1, dtype=np.int32)
        for key, places in {name: order, **each.ranks}.items():
            if key not in ranks:
                ranks[key] = np.zeros(len(base), dtype=np.int32)
                ranks[key][at] = places
    return scores, ranks


def _within(given: Candidates, found: Candidates) -> Candidates:
    """What an arm found, without what it brought to a set that it was to score."""
    if given.fresh:
        return found
    own = np.flatnonzero(_places(found.ids, given.ids) >= 0)
    return found if len(own) == len(found) else found.reordered(own, found.score[own])


def _places(ids: Ids, among: Ids | Sequence[str]) -> NDArray[np.intp]:
    """(n,) where each id is among the others; -1 where it is not."""
    place = dict(zip(among, range(len(among))))
    return np.array([place.get(id, -1) for id in ids.tolist()], dtype=np.intp)


def _finished(
    arms: Mapping[int, Future[Outcome]] | Mapping[int, asyncio.Future[Outcome]],
) -> dict[int, Outcome | None]:
    # An arm that never started was cancelled, and counts as done.
    return {
        at: arm.result() if arm.done() and not arm.cancelled() else None for at, arm in arms.items()
    }


def _patience(
    candidates: Candidates, arms: Iterable[Future[Outcome] | asyncio.Future[Outcome]]
) -> tuple[float | None, str]:
    """How many seconds to wait, and for what; an empty string when there is enough to answer."""
    if candidates.deadline is None:
        return None, ALL_COMPLETED
    left = candidates.deadline - time.monotonic()
    if left > 0:
        return left, ALL_COMPLETED
    answered = any(arm.done() and isinstance(arm.result().value, Candidates) for arm in arms)
    return None, "" if answered else FIRST_COMPLETED


def _arms(stages: Any, k: int | None, name: str) -> tuple[Stage, ...]:
    if stages is None or hasattr(stages, "search_text"):
        return BM25(stages, k), Dense(stages, k)
    arms = tuple(stages)
    names = [getattr(arm, "name", None) for arm in arms]
    if not arms:
        raise ConfigurationError(f"stage {name!r} needs at least one recall stage")
    for arm, each in zip(arms, names):
        if not isinstance(arm, Stage):
            raise ConfigurationError(f"{arm!r} is no stage: it needs a name and run(candidates)")
        if names.count(each) > 1 or each == name:
            raise ConfigurationError(f"two stages are named {each!r}; give one another name=")
    return arms


def _weights(weights: Weights | None, names: Sequence[str]) -> tuple[float, ...]:
    if weights is None:
        return (1.0,) * len(names)
    if isinstance(weights, Mapping):
        if set(weights) != set(names):
            raise ConfigurationError(f"weights are for {sorted(weights)}, the stages {names}")
        weights = [weights[name] for name in names]
    if isinstance(weights, str):
        raise ConfigurationError(f"weights must be a list or a mapping, not {weights!r}")
    values = tuple(float(weight) for weight in weights)
    if len(values) != len(names):
        raise ConfigurationError(f"{len(values)} weights for {len(names)} stages; give one each")
    if not all(math.isfinite(value) and value >= 0 for value in values) or not any(values):
        raise ConfigurationError(f"weights must be 0 or more and not all 0, not {values}")
    return values
