"""`Guarded`: a stage that is tried again, rested or replaced when it fails."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

from stepwell.attempt import ALWAYS_RAISED, Outcome, failed_record, passed_record
from stepwell.candidates import Candidates
from stepwell.driving import Walk, drive, drive_async, drive_many
from stepwell.errors import ConfigurationError, StageError, import_extra
from stepwell.meaning import Meaning
from stepwell.stage import AsyncStage, Follows, Stage
from stepwell.stages.breaker import Breaker
from stepwell.threads import on_cores
from stepwell.trace import record_of
from stepwell.watching import watcher

log = logging.getLogger("stepwell")


class Guarded:
    """Runs a stage; when it fails tries it again, then another stage in its place.

    All of it stays inside the query's deadline: no pause is begun that would end after it, and a
    re-scoring fallback is not begun when it is over. The trace has a line for what failed or
    rested and one for the fallback, and the result is then `degraded`. When nothing helps, the last
    error goes on to the cascade's own policy (`on_failure`), which skips a re-scoring stage.

    What was called or built wrong (`InputError`, `ConfigurationError`) is raised at once: it would
    fail again, and be hidden.

    Args:
        stage: What to run.
        fallback: Run on the same candidates when `stage` failed or rests.
        attempts: How often to try, 1 for once. Pauses grow from at most .1 seconds to at most 5.
            More than one needs the extra ``remote``.
        failures: Queries in a row that fail before the stage is left alone; None for never.
        rest: Seconds it is then left alone, before one query tries it again.
        name: By default the stage's own.

    Raises:
        ConfigurationError: One of them is no stage, both have one name, or a number is too small.
        MissingExtraError: More than one attempt without the extra ``remote``.
    """

    def __init__(
        self,
        stage: Stage,
        fallback: Stage | None = None,
        *,
        attempts: int = 1,
        failures: int | None = 5,
        rest: float = 30.0,
        name: str | None = None,
    ) -> None:
        for each in (stage, *((fallback,) if fallback is not None else ())):
            if not isinstance(each, Stage):
                raise ConfigurationError(f"{each!r} is no stage: it needs a name and run()")
        if fallback is not None and fallback.name == stage.name:
            raise ConfigurationError(f"two stages are named {stage.name!r}; give one another name=")
        for what, value in (("attempts", attempts), ("failures", failures), ("rest", rest)):
            if value is not None and not value >= (0 if what == "rest" else 1):
                raise ConfigurationError(f"{what} is too small: {value!r}")
        if attempts > 1:
            import_extra("tenacity", extra="remote")
        self.stage, self.fallback, self.attempts = stage, fallback, attempts
        self.failures, self.rest = failures, rest
        self.name = name or stage.name
        self._tried: Stage = stage if attempts == 1 else _Retried(stage, attempts)
        self.breaker = None if failures is None else Breaker(failures, rest)
        both = [stage] if fallback is None else [stage, fallback]
        self.expands = any(getattr(each, "expands", False) for each in both)
        self.decides = any(getattr(each, "decides", False) for each in both)
        self.guards = any(getattr(each, "guards", False) for each in both)
        self.recall_only = all(getattr(each, "recall_only", False) for each in both)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages inside, whose columns are not the one of this stage's name."""
        first = (self.stage,)
        if self.stage.name == self.name:
            first = (*getattr(self.stage, "arms", ()), *getattr(self.stage, "stages", ()))
        return first if self.fallback is None else (*first, self.fallback)

    @property
    def kind(self) -> Meaning | None:
        """That of the stage; a fallback's scores are kept under its own name."""
        return getattr(self.stage, "kind", None)

    @property
    def k(self) -> int | None:
        """How many the stage keeps, for where neither it nor the fallback answers."""
        k = getattr(self.stage, "k", None)
        return k if isinstance(k, int) else None

    def __repr__(self) -> str:
        other = f", {self.fallback.name!r}" if self.fallback is not None else ""
        return f"Guarded({self.stage.name!r}{other}, attempts={self.attempts})"

    def check_after(self, stages: Sequence[Stage], /) -> None:
        """Let the stage and the fallback refuse what comes before them."""
        for each in (self.stage, self.fallback):
            if isinstance(each, Follows):
                each.check_after(stages)

    def run(self, candidates: Candidates, /) -> Candidates:
        """Run, as far as the stage may be tried now."""
        return drive(self._walk(candidates))[0]

    async def arun(self, candidates: Candidates, /) -> Candidates:
        """`run`, awaited."""
        return (await drive_async(self._walk(candidates)))[0]

    def run_many(self, many: Sequence[Candidates], /) -> list[Candidates]:
        """`run` for each, in order; the stage works on all at once where it can."""
        ends = drive_many([self._walk(each) for each in many])
        for end in ends:
            if isinstance(end, Exception):
                raise end
        return [end[0] for end in ends if not isinstance(end, Exception)]

    def _walk(self, candidates: Candidates) -> Walk:
        """Yield a stage and what it is given, receive what came of it."""
        if self.breaker is not None and not self.breaker.allows():
            reason = f"resting after {self.breaker.failures} failures in a row"
            record = passed_record(self.stage, 0, "skipped", reason, candidates)
            error: Exception = StageError(f"stage {self.stage.name!r} is {reason}")
        else:
            outcome = yield from self._try(candidates)
            if isinstance(outcome.value, Candidates):
                return outcome.value, []
            error = outcome.value
            record = failed_record(self.stage, 0, candidates, error, outcome.ms)
        if self.fallback is None or _late(candidates):
            raise error
        log.warning("stage %r did not answer; %r does", self.stage.name, self.fallback.name)
        outcome = yield self.fallback, candidates
        after = _value(outcome)
        other = record_of(self.fallback.name, 1, candidates, after, outcome.ms)
        return replace(after, notes={"fallback": self.fallback.name}, children=(record, other)), []

    def _try(self, candidates: Candidates) -> Generator[tuple[Stage, Candidates], Outcome, Outcome]:
        """Yield the stage, receive what came of it, and tell the breaker."""
        told = False
        try:
            outcome = yield self._tried, candidates
            if isinstance(outcome.value, ALWAYS_RAISED):
                raise outcome.value
            self._heard(failed=isinstance(outcome.value, Exception))
            told = True
            return outcome
        finally:
            # A caller's mistake, or a caller who went away, says nothing of the stage.
            if not told and self.breaker is not None:
                self.breaker.unheard()

    def _heard(self, *, failed: bool) -> None:
        if self.breaker is not None and self.breaker.heard(failed=failed):
            log.warning("stage %r is left alone for %g s", self.stage.name, self.breaker.rest)
            watcher().count("stage.breaker.opened", stage_name=self.stage.name)


class _Retried:
    """A stage that is tried several times."""

    def __init__(self, stage: Stage, attempts: int) -> None:
        self.stage, self.attempts, self.name = stage, attempts, stage.name
        self.expands = bool(getattr(stage, "expands", False))

    def run(self, candidates: Candidates, /) -> Candidates:
        from tenacity import Retrying

        policy = Retrying(**self._policy(candidates))
        return self._noted(policy(self.stage.run, candidates), policy)

    async def arun(self, candidates: Candidates, /) -> Candidates:
        from tenacity import AsyncRetrying

        async def once() -> Candidates:
            if isinstance(self.stage, AsyncStage):
                return await self.stage.arun(candidates)
            away = on_cores if getattr(self.stage, "computes", False) else asyncio.to_thread
            return await away(self.stage.run, candidates)

        policy = AsyncRetrying(**self._policy(candidates))
        return self._noted(await policy(once), policy)

    def _policy(self, candidates: Candidates) -> dict[str, Any]:
        import tenacity

        def over(state: tenacity.RetryCallState) -> bool:
            ends = time.monotonic() + state.upcoming_sleep
            late = candidates.deadline is not None and ends >= candidates.deadline
            return late or state.attempt_number >= self.attempts

        return {
            "retry": tenacity.retry_if_not_exception_type(ALWAYS_RAISED),
            "wait": tenacity.wait_random_exponential(multiplier=0.1, max=5.0),
            "stop": over,
            "before_sleep": lambda _: watcher().count("stage.retries", stage_name=self.name),
            "reraise": True,
        }

    def _noted(self, after: Candidates, policy: Any) -> Candidates:
        tries = int(policy.statistics["attempt_number"])
        return after.noted(attempts=tries) if tries > 1 else after


def _value(outcome: Outcome) -> Candidates:
    if isinstance(outcome.value, Exception):
        raise outcome.value
    return outcome.value


def _late(candidates: Candidates) -> bool:
    """Whether a stage in another's place must not begin: recall always does."""
    over = candidates.deadline is not None and time.monotonic() >= candidates.deadline
    return over and not candidates.fresh
