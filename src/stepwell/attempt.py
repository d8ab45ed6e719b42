"""One stage and its query: run at once, awaited, or for many; and whether the outcome is legal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from stepwell.candidates import Candidates
from stepwell.errors import (
    ConfigurationError,
    ContractError,
    InputError,
    MissingExtraError,
    ModelError,
    OverloadedError,
    RemoteError,
    StageError,
    StepwellError,
)
from stepwell.stage import BatchStage, Stage
from stepwell.threads import on_cores
from stepwell.trace import StageRecord, record_of
from stepwell.watching import watcher

# The caller's mistakes: skipping the stage would hide them for ever.
ALWAYS_RAISED = (ConfigurationError, InputError, MissingExtraError, ContractError)

# Their messages quote neither a query nor a document nor a key.
TELLING = (ModelError, OverloadedError, RemoteError)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of running one stage.

    Attributes:
        value: Candidates that keep the contract, or the exception.
        ms: Milliseconds it took.
    """

    value: Candidates | Exception
    ms: float


def attempt(stage: Stage, candidates: Candidates) -> Outcome:
    """Run the stage; a failure is an outcome too."""
    with watcher().running(stage.name, (candidates,)) as seen:
        began = time.perf_counter()
        try:
            value: Candidates | Exception = stage.run(candidates)
        except Exception as error:
            value = error
        return seen(_outcome(stage, candidates, value, time.perf_counter() - began))


async def attempt_async(stage: Stage, candidates: Candidates) -> Outcome:
    """`attempt`, awaited; a stage without `arun` goes to a thread."""
    # Not isinstance: against a protocol it takes longer than all the rest of this.
    arun = getattr(stage, "arun", None)
    if arun is None:
        away = on_cores if getattr(stage, "computes", False) else asyncio.to_thread
        return await away(attempt, stage, candidates)
    with watcher().running(stage.name, (candidates,)) as seen:
        began = time.perf_counter()
        try:
            value: Candidates | Exception = await arun(candidates)
        except Exception as error:
            value = error
        return seen(_outcome(stage, candidates, value, time.perf_counter() - began))


def attempt_many(stage: Stage, many: Sequence[Candidates]) -> list[Outcome]:
    """`attempt` for each, in order, together where the stage can; the time is shared out."""
    together = _together(stage, many) if len(many) > 1 else []
    # One query may have spoilt the batch; each then gets its own outcome.
    return together or [attempt(stage, each) for each in many]


def _together(stage: Stage, many: Sequence[Candidates]) -> list[Outcome]:
    """The outcomes of one run for all; none where it failed, or the stage has no such run."""
    if not isinstance(stage, BatchStage):
        return []
    with watcher().running(stage.name, many) as seen:
        began = time.perf_counter()
        try:
            values: Sequence[Candidates | Exception] = stage.run_many(many)
        except Exception as error:
            seen(Outcome(error, 0.0))
            return []
        share = (time.perf_counter() - began) / len(many)
        if len(values) != len(many):
            rule = f"run_many returned {len(values)} results for {len(many)} queries"
            values = [_broken(stage, rule)] * len(many)
        return [seen(_outcome(stage, each, value, share)) for each, value in zip(many, values)]


def idle_reason(stage: Stage, candidates: Candidates) -> str:
    """Why there is nothing for the stage to do; empty if there is."""
    if candidates.fresh:
        return ""
    if not len(candidates):
        return "no candidates"
    return "recalls only; a set was given" if getattr(stage, "recall_only", False) else ""


def passed_record(
    stage: Stage,
    position: int,
    status: Literal["idle", "skipped"],
    reason: str,
    candidates: Candidates,
) -> StageRecord:
    """The record of a stage that did not run."""
    n = len(candidates)
    return StageRecord(
        name=stage.name,
        position=position,
        status=status,
        n_in=n,
        n_out=n,
        ms=0.0,
        reason=reason,
        ids=candidates.ids,
        score=candidates.score,
        given=candidates.ids,
        orders_by=candidates.kind,
    )


def failed_record(
    stage: Stage, position: int, candidates: Candidates, error: Exception, ms: float
) -> StageRecord:
    """The record of a stage that failed: the candidates go on as they were."""
    return StageRecord(
        name=stage.name,
        position=position,
        status="failed",
        n_in=len(candidates),
        n_out=len(candidates),
        ms=ms,
        reason=failure_of(error),
        error=error,
        ids=candidates.ids,
        score=candidates.score,
        given=candidates.ids,
        orders_by=candidates.kind,
    )


def kept_of(
    stage: Stage, candidates: Candidates, record: StageRecord
) -> tuple[Candidates, StageRecord]:
    """What goes on where a stage did not do its work: as many as it keeps, in the order so far.

    Otherwise a stage after it would have much more to read, and the answer be of another length.
    """
    k = getattr(stage, "k", None)
    if not isinstance(k, int) or not 0 < k < len(candidates):
        return candidates, record
    kept = candidates.top(k)
    record = replace(record, n_out=k, ids=kept.ids, score=kept.score, dropped=kept.dropped)
    return replace(kept, dropped=()), record


def failure_of(error: Exception) -> str:
    """Why a stage failed: the type, and the message where that is known to quote no text."""
    kind = type(error).__name__
    return f"{kind}: {error}" if isinstance(error, TELLING) else kind


def partial_of(stage: Stage, before: Candidates, error: Exception) -> Candidates | None:
    """What a stage had made of the candidates when it failed, if it says and that is legal."""
    partial = error.partial if isinstance(error, RemoteError) else None
    return None if partial is None or broken_rule(stage, before, partial) else partial


def partial_record(failed: StageRecord, before: Candidates, partial: Candidates) -> StageRecord:
    """The record of a stage that failed, where the cascade goes on with what it had made."""
    record = record_of(failed.name, failed.position, before, partial, failed.ms)
    reason = f"{failed.reason}; {partial.notes.get('unscored', 0)} not scored"
    error, budget = failed.error, failed.budget_ms
    return replace(record, status="partial", reason=reason, error=error, budget_ms=budget)


def raised(name: str, error: Exception) -> Exception:
    """The error to raise when a stage failed: ours as it is, a foreign one inside a StageError."""
    if isinstance(error, StepwellError):
        return error
    wrapped = StageError(f"stage {name!r} failed: {type(error).__name__}: {error}", stage=name)
    wrapped.__cause__ = error
    return wrapped


def _outcome(
    stage: Stage, before: Candidates, value: Candidates | Exception, seconds: float
) -> Outcome:
    if not isinstance(value, Exception):
        rule = broken_rule(stage, before, value)
        value = _broken(stage, rule) if rule else value
    return Outcome(value, seconds * 1e3)


def _broken(stage: Stage, rule: str) -> ContractError:
    return ContractError(f"stage {stage.name!r} broke the contract: {rule}", stage=stage.name)


def broken_rule(stage: Stage, before: Candidates, after: Candidates) -> str:
    """The rule of the contract that a stage's answer breaks, as a clause; empty if none."""
    if not isinstance(after, Candidates):
        return f"it returned {type(after).__name__}, not Candidates"
    if after.query is not before.query and after.query != before.query:
        return "it changed the query"
    if after.ids is before.ids and after.score is before.score:
        return ""  # untouched, and checked when it was made
    ids = set(after.ids.tolist())
    if len(ids) != len(after.ids):
        return "it returned an id twice"
    odd = [kind.__name__ for kind in set(map(type, ids)) if not issubclass(kind, str)]
    if odd:
        return f"it returned an id that is no string but {odd[0]}"
    if len(after.score) != len(after.ids) or not np.isfinite(after.score).all():
        return "a score is missing, NaN or infinite"
    if (np.diff(after.score) > 0).any():
        return "its scores increase along the list"
    if not before.fresh and not getattr(stage, "expands", False):
        invented = ids.difference(before.ids.tolist())
        if invented:
            return f"it returned ids that it was not given, such as {sorted(invented)[:3]}"
    return ""
