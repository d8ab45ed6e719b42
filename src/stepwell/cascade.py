"""`Cascade`: stages in order, inside one deadline, each checked and traced."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from stepwell.ask import Ask, several
from stepwell.attempt import (
    ALWAYS_RAISED,
    failed_record,
    idle_reason,
    kept_of,
    partial_of,
    partial_record,
    passed_record,
    raised,
)
from stepwell.budget import Budget
from stepwell.candidates import Candidates, Dropped
from stepwell.documents import Document, Query
from stepwell.driving import Walk, drive, drive_async, drive_many
from stepwell.errors import (
    ConfigurationError,
    StageError,
)
from stepwell.filters import Filter
from stepwell.moment import one_moment, one_moment_awaited
from stepwell.result import Result
from stepwell.stage import Follows, Recalls, Stage
from stepwell.threads import on_cores
from stepwell.trace import StageRecord, Trace, record_of
from stepwell.watching import watcher

if TYPE_CHECKING:
    from stepwell.corpus.searchable import Searchable
    from stepwell.shadow import Shadow

OnFailure = Literal["raise", "skip"]


class Cascade:
    """Runs stages in order and keeps the trace; itself a stage.

    Args:
        stages: In order; the first usually recalls.
        name: As a stage of another cascade.
        on_failure: By stage name, "raise" or "skip" (keep the order so far). By default a stage
            that recalls or guards raises and any other is skipped; the trace says so. As many go
            on as a skipped stage keeps (`k`). When a recall is skipped, a recall stage after it
            recalls instead.
        shadow: Another cascade to run beside live traffic, off its path, or a `Shadow` of it that
            says how: the differences of the answers are told. Inside another cascade it is idle.

    Raises:
        ConfigurationError: No stages, one that is no stage, two of one name, an unknown policy.

    Example:
        >>> from stepwell import Cascade, Document, TopK
        >>> result = Cascade([TopK(1)]).rank("logs", [Document("a", "x"), Document("b", "y")])
        >>> result.ids
        ['a']
    """

    expands = True
    # Never skipped whole at the deadline: its own stages are judged one by one.
    guards = True

    def __init__(
        self,
        stages: Iterable[Stage],
        *,
        name: str = "cascade",
        on_failure: Mapping[str, OnFailure] | None = None,
        shadow: Cascade | Shadow | None = None,
    ) -> None:
        if isinstance(stages, (str, Stage)) or not isinstance(stages, Iterable):
            raise ConfigurationError(f"a cascade takes a list of stages, not {stages!r}")
        self.stages = tuple(stages)
        self.name = name
        self.on_failure = _policies(on_failure, self.stages)
        self.shadow = _beside(shadow)
        self._budget = Budget()
        _check_stages(self.stages, self.on_failure)

    @classmethod
    def default(cls, corpus: Searchable | None = None, *, k: int = 10) -> Cascade:
        """The recommended cascade: hybrid recall, bi-encoder, cross-encoder, each blended.

        Args:
            corpus: Where to recall from; without one the cascade only ranks brought documents.
            k: How many documents the last stage returns.
        """
        # The one place where the core names a stage: the contract wants this line on Cascade.
        from stepwell.stages.presets import default_stages

        return cls(default_stages(corpus, k=k))

    @classmethod
    def load(
        cls,
        path: str | Path,
        corpus: Searchable | EllipsisType | None = ...,
        *,
        stages: Iterable[Stage] = (),
        shadow: Cascade | Shadow | None = None,
    ) -> Cascade:
        """Read a cascade file, such as `save` and `stepwell tune` write; see `docs/concepts.md`.

        Args:
            path: A TOML file; it holds stages and options, and neither corpus nor weights nor keys.
            corpus: What recall stages search; None to rank documents that are brought. It may be
                left out where the file recalls nothing from a corpus.
            stages: Those of your own that the file names.
            shadow: As in `Cascade`; a file holds none.

        Raises:
            ConfigurationError: The file is missing, faulty or of another version, or its recall
                stages were given no corpus.
        """
        from stepwell.stages.cascade_file import check_recall, read_cascade

        cascade = read_cascade(path, None if corpus is ... else corpus, stages=stages)
        if corpus is ...:
            check_recall(cascade, path)
        cascade.shadow = _beside(shadow)
        return cascade

    def save(self, path: str | Path) -> None:
        """Write the stages and their options to a cascade file, without a shadow.

        Raises:
            ConfigurationError: A stage holds an object that a file cannot name.
        """
        from stepwell.stages.cascade_file import write_cascade

        write_cascade(self, path)

    def __repr__(self) -> str:
        return f"Cascade({' > '.join(stage.name for stage in self.stages)})"

    # -- asking ----------------------------------------------------------------------------

    def search(
        self,
        query: str | Query,
        *,
        k: int | None = None,
        filter: Mapping[str, Any] | Filter | None = None,
        deadline: float | None = None,
    ) -> Result:
        """Answer one query from what the first stage recalls.

        Args:
            query: The question; blank gives an empty result.
            k: How many documents; None gives what the last stage kept. More than that is
                back-filled with what the stages cut, in their order.
            filter: See `stepwell.filters`.
            deadline: Seconds for the whole; when they are over, re-scoring stages that have not
                run are skipped and the result is `degraded`.

        Raises:
            InputError: The query is no string, k is below 1, the deadline not positive, or the
                filter unknown.
            StageError: A stage failed whose policy is to raise.
        """
        ask = Ask.of(query, k, filter, deadline)
        with one_moment(), watcher().searching(self.name, (ask,)) as seen:
            result = seen(ask.answer(*drive(self._walk(ask.start()))))
        return self._shadowed(result)

    async def asearch(
        self,
        query: str | Query,
        *,
        k: int | None = None,
        filter: Mapping[str, Any] | Filter | None = None,
        deadline: float | None = None,
    ) -> Result:
        """`search` without blocking the event loop; the same result."""
        ask = Ask.of(query, k, filter, deadline)
        async with one_moment_awaited():
            with watcher().searching(self.name, (ask,)) as seen:
                # When many ask at once, all have asked before the first one's work begins to
                # compete.
                await asyncio.sleep(0)
                end = await drive_async(self._walk(ask.start()))
                result = await on_cores(lambda: seen(ask.answer(*end)))
        return self._shadowed(result)

    def search_many(
        self,
        queries: Sequence[str | Query],
        *,
        k: int | None = None,
        filter: Mapping[str, Any] | Filter | None = None,
        deadline: float | None = None,
    ) -> list[Result]:
        """`search` for each query, in order; stages that can, work on all at once."""
        answers = self.search_each(queries, k=k, filter=filter, deadline=deadline)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return [answer for answer in answers if isinstance(answer, Result)]

    def search_each(
        self,
        queries: Sequence[str | Query],
        *,
        k: int | None = None,
        filter: Mapping[str, Any] | Filter | None = None,
        deadline: float | None = None,
    ) -> list[Result | Exception]:
        """`search_many`, but a query that fails gives its exception and spoils no other."""
        several(queries, "queries")
        asks = [Ask.attempt(query, k, filter, deadline) for query in queries]
        good = [ask for ask in asks if isinstance(ask, Ask)]
        with one_moment(), watcher().searching(self.name, good) as seen:
            ends = iter(drive_many([self._walk(ask.start()) for ask in good]))
            answers = [
                seen(ask.finish(next(ends))) if isinstance(ask, Ask) else ask for ask in asks
            ]
        return [self._shadowed(each) if isinstance(each, Result) else each for each in answers]

    async def asearch_many(
        self,
        queries: Sequence[str | Query],
        *,
        k: int | None = None,
        filter: Mapping[str, Any] | Filter | None = None,
        deadline: float | None = None,
    ) -> list[Result]:
        """`search_many` without blocking the event loop; the same results."""
        return await asyncio.to_thread(
            self.search_many, queries, k=k, filter=filter, deadline=deadline
        )

    def rank(
        self,
        query: str | Query,
        documents: Iterable[Document | str],
        *,
        k: int | None = None,
        scores: Sequence[float] | None = None,
        filter: Mapping[str, Any] | Filter | None = None,
        deadline: float | None = None,
    ) -> Result:
        """Run the same stages over documents that the caller brings.

        Recall stages score the documents instead of searching; those that cannot are left out.

        Args:
            query: The question; blank keeps the order.
            documents: With unique ids; bare strings get "0", "1", ... for ids.
            scores: Scores that came with them, kept as column "given".
            k: As in `search`.
            filter: As in `search`.
            deadline: As in `search`.

        Raises:
            InputError: As in `search`, or two documents have one id.
        """
        ask = Ask.of(query, k, filter, deadline)
        brought, excluded = ask.bring(documents, scores)
        with one_moment(), watcher().searching(self.name, (ask,)) as seen:
            result = seen(ask.answer(*drive(self._walk(brought)), rejected=excluded))
        return self._shadowed(result, brought)

    async def arank(
        self,
        query: str | Query,
        documents: Iterable[Document | str],
        *,
        k: int | None = None,
        scores: Sequence[float] | None = None,
        filter: Mapping[str, Any] | Filter | None = None,
        deadline: float | None = None,
    ) -> Result:
        """`rank` without blocking the event loop; the same result."""
        ask = Ask.of(query, k, filter, deadline)
        brought, excluded = await asyncio.to_thread(ask.bring, documents, scores)
        async with one_moment_awaited():
            with watcher().searching(self.name, (ask,)) as seen:
                end = await drive_async(self._walk(brought))
                result = await asyncio.to_thread(lambda: seen(ask.answer(*end, rejected=excluded)))
        return self._shadowed(result, brought)

    def _shadowed(self, result: Result, brought: Candidates | None = None) -> Result:
        """The answer, which the shadow has taken note of."""
        if self.shadow is not None:
            self.shadow.offer(self.name, result, brought)
        return result

    # -- being a stage ---------------------------------------------------------------------

    def run(self, candidates: Candidates, /) -> Candidates:
        """Run the stages on candidates; their records become children of this one's."""
        return _as_one_stage(*drive(self._walk(candidates)))

    async def arun(self, candidates: Candidates, /) -> Candidates:
        """`run`, awaited."""
        return _as_one_stage(*await drive_async(self._walk(candidates)))

    def run_many(self, many: Sequence[Candidates], /) -> list[Candidates]:
        """`run` for each, in order; stages that can, work on all at once."""
        ends = drive_many([self._walk(each) for each in many])
        for end in ends:
            if isinstance(end, Exception):
                raise end
        return [_as_one_stage(*end) for end in ends if not isinstance(end, Exception)]

    # -- the one body ----------------------------------------------------------------------

    def _walk(self, candidates: Candidates) -> Walk:
        """Yield (stage, candidates), receive what came of it, return the end and the records."""
        records: list[StageRecord] = []
        for position, stage in enumerate(self.stages):
            idle = idle_reason(stage, candidates) or _nothing_recalled(stage, candidates, records)
            skipped = _late(stage, candidates)
            if idle or skipped:
                status: Literal["idle", "skipped"] = "idle" if idle else "skipped"
                record = passed_record(stage, position, status, idle or skipped, candidates)
                if not idle:
                    candidates, record = kept_of(stage, candidates, record)
                watcher().passed(record)
                records.append(record)
                continue
            budget = self._budget.of(self.stages[position:], candidates)
            outcome = yield stage, _within(candidates, budget)
            after = outcome.value
            if isinstance(after, Exception):
                record = failed_record(stage, position, candidates, after, outcome.ms)
                record = replace(record, budget_ms=_ms(budget))
                records.append(record)
                if self._raises(stage, candidates, after):
                    raise _raised(record, after, records)
                partial = partial_of(stage, candidates, after)
                if partial is None:
                    candidates, records[-1] = kept_of(stage, candidates, record)
                    continue
                records[-1] = partial_record(record, candidates, partial)
                after = partial
            else:
                decides = bool(getattr(stage, "decides", False))
                self._budget.learn(stage, candidates, after, outcome.ms / 1e3)
                record = record_of(
                    stage.name, position, candidates, after, outcome.ms, decides=decides
                )
                record = replace(record, budget_ms=_ms(budget), settings=_settings(stage))
                records.append(record)
            candidates = replace(_passed_on(stage, after), deadline=candidates.deadline)
        return candidates, records

    def _raises(self, stage: Stage, candidates: Candidates, error: Exception) -> bool:
        # What was built wrong is raised unless this very stage was said to be skipped.
        told = self.on_failure.get(stage.name) == "skip" and type(error) is ConfigurationError
        if isinstance(error, ALWAYS_RAISED) and not told:
            return True
        needed = candidates.fresh or getattr(stage, "guards", False)
        default: OnFailure = "raise" if needed else "skip"
        return self.on_failure.get(stage.name, default) == "raise"


def _beside(shadow: Cascade | Shadow | None) -> Shadow | None:
    if shadow is None:
        return None
    from stepwell.shadow import Shadow

    return shadow if isinstance(shadow, Shadow) else Shadow(shadow)


# -- rules -----------------------------------------------------------------------------------


def _check_stages(stages: tuple[Stage, ...], on_failure: Mapping[str, str]) -> None:
    if not stages:
        raise ConfigurationError("a cascade needs at least one stage")
    for stage in stages:
        if not isinstance(stage, Stage):
            raise ConfigurationError(f"{stage!r} is no stage: it needs a name and run(candidates)")
    columns = [name for stage in stages for name in _columns(stage)]
    for name in columns:
        if columns.count(name) > 1:
            raise ConfigurationError(f"two stages are named {name!r}; give one another name=")
    for stage in stages:
        of = getattr(stage, "of", None)
        if isinstance(of, str) and of not in (*columns, "given"):
            raise ConfigurationError(f"{stage!r}: no stage is named {of!r}; there are {columns}")
    for at, stage in enumerate(stages):
        if isinstance(stage, Follows):
            stage.check_after(stages[:at])
    for name, policy in on_failure.items():
        if name not in [stage.name for stage in stages]:
            raise _no_such_stage(name, stages)
        if policy not in ("raise", "skip"):
            raise ConfigurationError(f"on_failure[{name!r}] must be 'raise' or 'skip': {policy!r}")


def _policies(
    on_failure: Mapping[str, OnFailure] | None, stages: tuple[Stage, ...]
) -> dict[str, OnFailure]:
    if on_failure is None or isinstance(on_failure, Mapping):
        return dict(on_failure or {})
    example = {stage.name: "skip" for stage in stages[:1] if isinstance(stage, Stage)}
    raise ConfigurationError(f"on_failure is by stage name, such as {example}, not {on_failure!r}")


def _no_such_stage(name: str, stages: tuple[Stage, ...]) -> ConfigurationError:
    for stage in stages:
        if name in _columns(stage):
            return ConfigurationError(
                f"on_failure names {name!r}, which runs inside {stage.name!r}: a hybrid goes on "
                "with the arms that are left, and a cascade has an on_failure of its own; "
                f"name {stage.name!r} here"
            )
    names = ", ".join(repr(stage.name) for stage in stages)
    return ConfigurationError(f"on_failure names {name!r}, but the stages are {names}")


def _columns(stage: Stage) -> list[str]:
    """The names that a stage keeps scores under: its own and those of the stages inside it."""
    inside = (*getattr(stage, "arms", ()), *getattr(stage, "stages", ()))
    return [stage.name, *(name for each in inside for name in _columns(each))]


def _nothing_recalled(stage: Stage, candidates: Candidates, records: list[StageRecord]) -> str:
    """Why a stage that cannot recall has nothing to do after a recall that failed."""
    failed = candidates.fresh and any(record.status == "failed" for record in records)
    return "nothing was recalled" if failed and not isinstance(stage, Recalls) else ""


def _within(candidates: Candidates, budget: float | None) -> Candidates:
    """The candidates as a stage is given them that may spend this many seconds."""
    return candidates if budget is None else replace(candidates, deadline=time.monotonic() + budget)


def _settings(stage: Stage) -> dict[str, Any]:
    """What a reader of the trace may want to turn."""
    found = ((name, getattr(stage, name, None)) for name in ("k", "depth", "blend"))
    return {name: value for name, value in found if isinstance(value, (int, float))}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3


def _late(stage: Stage, candidates: Candidates) -> str:
    """Why a stage must not start: recall always does, or there would be no answer at all."""
    if candidates.deadline is None or candidates.fresh or getattr(stage, "guards", False):
        return ""
    return "deadline" if time.monotonic() >= candidates.deadline else ""


def _raised(record: StageRecord, error: Exception, records: list[StageRecord]) -> Exception:
    """The error to raise, telling the stage, its place and what had happened."""
    error = raised(record.name, error)
    if isinstance(error, StageError):
        if error.position < 0:
            error.stage, error.position = error.stage or record.name, record.position
        error.trace = error.trace or Trace(tuple(records))
    return error


def _passed_on(stage: Stage, after: Candidates) -> Candidates:
    """What the next stage sees: ranked by this stage, its reports moved to the trace."""
    place = np.arange(1, len(after) + 1, dtype=np.int32)
    place.flags.writeable = False
    return replace(
        after,
        ranks={**after.ranks, stage.name: place},
        fresh=False,
        dropped=(),
        notes={},
        children=(),
    )


def _as_one_stage(final: Candidates, records: list[StageRecord]) -> Candidates:
    """The end of a nested cascade; nothing that came before a verdict of it is next in line."""
    dropped: list[Dropped] = []
    for record in records:
        if record.decides:
            dropped = [replace(each, cut=False) for each in (*dropped, *record.dropped)]
        else:
            dropped += record.dropped
    return replace(final, children=tuple(records), dropped=tuple(dropped))
