"""What happened to a query: one record a stage, a value before it is a table, a log or a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stepwell.candidates import Candidates, Dropped, Ids, Scores
from stepwell.meaning import Meaning

Status = Literal["ok", "partial", "skipped", "failed", "idle"]


@dataclass(frozen=True, slots=True, eq=False)
class StageRecord:
    """What one stage did with one query.

    Attributes:
        name: The stage.
        position: Its place in the cascade, from 0.
        status: "ok"; "partial" when it scored only some before the deadline; "skipped" when it did
            not run though it should have; "failed"; "idle" when there was nothing for it to do.
        n_in: Candidates it was given.
        n_out: Candidates it returned.
        ms: Milliseconds it took.
        reason: Why it was skipped or failed; empty otherwise. Of an error its type, and its message
            where that quotes no text: of a rerank API the status and the server's words.
        error: The exception of a failure that the policy let pass.
        ids: (n_out,) what it returned, in order.
        score: (n_out,) float64 the score that ordered it.
        dropped: What it left behind, and why.
        decides: Whether what it drops stays dropped, see `stepwell.stage.Decides`.
        notes: What it reported, such as `truncated`.
        children: Records of stages inside it (the arms of a hybrid, a nested cascade).
        budget_ms: Milliseconds that it might take; None without a deadline.
        given: (n_in,) what it was given, in order.
        scored: Whether it added scores, its own or those of a stage inside it.
        own: (n_out,) float64 its own scores before any blend, NaN where it gave none.
        settings: What it was set to, of "k", "depth" and "blend".
        kind: What its own scores mean; None where it gave none, or did not say.
        orders_by: What the score that orders its answer means; None if that is not known.
    """

    name: str
    position: int
    status: Status
    n_in: int
    n_out: int
    ms: float
    reason: str = ""
    error: BaseException | None = None
    ids: Ids = field(default_factory=lambda: np.empty(0, dtype=object), repr=False)
    score: Scores = field(default_factory=lambda: np.empty(0), repr=False)
    dropped: tuple[Dropped, ...] = field(default=(), repr=False)
    decides: bool = False
    notes: Mapping[str, Any] = field(default_factory=dict)
    children: tuple[StageRecord, ...] = ()
    budget_ms: float | None = None
    given: Ids = field(default_factory=lambda: np.empty(0, dtype=object), repr=False)
    scored: bool = False
    own: Scores = field(default_factory=lambda: np.empty(0), repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    kind: Meaning | None = None
    orders_by: Meaning | None = None

    @property
    def degraded(self) -> bool:
        """Whether the stage failed, was skipped or ran out of time, or one inside it did."""
        return bool(self.faults)

    @property
    def faults(self) -> tuple[StageRecord, ...]:
        """This record if its stage failed, was skipped or ran out of time, and such inside it."""
        own = (self,) if self.status in ("partial", "skipped", "failed") else ()
        return (*own, *(fault for child in self.children for fault in child.faults))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; ids and text are left out."""
        return {
            "name": self.name,
            "status": self.status,
            "n_in": self.n_in,
            "n_out": self.n_out,
            "ms": round(self.ms, 3),
            **({"budget_ms": round(self.budget_ms, 3)} if self.budget_ms is not None else {}),
            **({"kind": self.kind} if self.kind else {}),
            **({"reason": self.reason} if self.reason else {}),
            **({"notes": dict(self.notes)} if self.notes else {}),
            **({"children": [c.to_dict() for c in self.children]} if self.children else {}),
        }


@dataclass(frozen=True, slots=True)
class Why:
    """What became of one document; `str()` is a sentence.

    Attributes:
        id: The document.
        outcome: "answered", "dropped" by a stage, "left out" of the line (deleted meanwhile, or
            excluded by the filter) or "not recalled".
        stage: The stage that dropped it, or the last one that ranked it.
        rank: Its place in that stage's order, from 1; None when it was not recalled.
        score: The score that gave that place.
        reason: Why it was dropped.
    """

    id: str
    outcome: Literal["answered", "dropped", "left out", "not recalled"]
    stage: str
    rank: int | None = None
    score: float | None = None
    reason: str = ""

    def __str__(self) -> str:
        if self.outcome == "answered":
            return f"{self.id} is in the answer, at rank {self.rank}"
        if self.outcome == "left out":
            return f"{self.id} was left out: {self.reason}"
        if self.outcome == "not recalled":
            return f"{self.id} was not recalled by {self.stage}"
        return f"{self.id} was dropped by {self.stage}: rank {self.rank}, {self.reason}"


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """The records of one query, in the order the stages ran.

    Attributes:
        records: One a stage.
        answered: (k,) ids of the answer, in order.
        ms: Milliseconds from the call to the answer.
        k: How many documents were asked for, or None.
        deadline_ms: The time allowed, in milliseconds, or None.
        rejected: By id, why a document that was brought, or in line for the answer, is not in it.
    """

    records: tuple[StageRecord, ...]
    answered: tuple[str, ...] = ()
    ms: float = 0.0
    k: int | None = None
    deadline_ms: float | None = None
    rejected: Mapping[str, str] = field(default_factory=dict)

    @property
    def degraded(self) -> bool:
        """Whether a stage failed, was skipped, or left work undone at the deadline.

        An answer that is whole but late is not degraded: compare `ms` with `deadline_ms`.
        """
        return bool(self.faults)

    @property
    def faults(self) -> tuple[StageRecord, ...]:
        """The records that make it degraded, those of stages inside others too."""
        return tuple(fault for record in self.records for fault in record.faults)

    @property
    def kinds(self) -> dict[str, Meaning]:
        """What the scores of each stage mean, those of stages inside others too."""
        return {each.name: each.kind for each in _every(self.records) if each.kind is not None}

    @property
    def orders_by(self) -> Meaning | None:
        """What the score of a hit means; None if that is not known."""
        return self.records[-1].orders_by if self.records else None

    @property
    def empty_because(self) -> str:
        """Why nothing is answered, in a clause; empty where something is.

        Such as "nothing relevant: probability below 0.5 (best 0.031)". Where some were not read it
        speaks of those read, and says how many were not. Look at `degraded` too.
        """
        if self.answered:
            return ""
        for record in reversed(self.records):
            if record.n_in and not record.n_out and record.dropped:
                return self._emptied(record)
        if self.rejected:
            return "what was found was deleted meanwhile, or is excluded by the filter"
        return "nothing was recalled"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: counts, times and states, no ids, no text."""
        return {
            "ms": round(self.ms, 3),
            "k": self.k,
            "deadline_ms": self.deadline_ms,
            "degraded": self.degraded,
            **({"orders_by": self.orders_by} if self.orders_by else {}),
            **({"empty_because": self.empty_because} if self.empty_because else {}),
            "stages": [record.to_dict() for record in self.records],
        }

    def rows(self) -> list[tuple[str, str, int, int, float, str]]:
        """The table: stage (children indented), status, n in, n out, ms, remarks."""
        return list(_rows(self.records, ""))

    def __str__(self) -> str:
        head = ("stage", "status", "in", "out", "ms", "remarks")
        body = [(s, st, str(i), str(o), f"{ms:.1f}", n) for s, st, i, o, ms, n in self.rows()]
        body.append(("total", "degraded" if self.degraded else "ok", "", "", f"{self.ms:.1f}", ""))
        widths = [max(len(row[c]) for row in (head, *body)) for c in range(6)]
        lines = []
        for row in (head, *body):
            cells = [
                cell.rjust(width) if 2 <= column <= 4 else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(row, widths))
            ]
            lines.append("  ".join(cells).rstrip())
        return "\n".join(lines)

    def to_html(self, path: str | Path | None = None) -> str:
        """The query as one page of HTML, with no outside script; by id, with no text.

        What each stage did with every candidate, times against the deadline, why a document is
        missing, and sliders that compute other depths and blends from the recorded scores.
        `Result.to_html` shows question and passages too.

        Args:
            path: Also written there.
        """
        from stepwell.page import page_of, view_of, written

        return written(page_of(view_of(self)), path)

    def _repr_html_(self) -> str:
        from stepwell.page import framed

        return framed(self.to_html())

    def why(self, id: str) -> Why:
        """What became of a document: which stage dropped it, at which rank, and why.

        A document that the corpus does not hold was not recalled either; that is the same answer.
        """
        if id in self.answered:
            return Why(id, "answered", self._last(), self.answered.index(id) + 1)
        if id in self.rejected:
            return Why(id, "left out", self._last(), reason=self.rejected[id])
        for record in reversed(self.records):
            for dropped in record.dropped:
                at = np.flatnonzero(dropped.ids == id)
                if at.size:
                    place, score = int(dropped.ranks[at[0]]), float(dropped.score[at[0]])
                    return Why(id, "dropped", record.name, place, score, dropped.reason)
            at = np.flatnonzero(record.ids == id)
            if at.size:
                rank, score = int(at[0]) + 1, float(record.score[at[0]])
                reason = f"beyond the {len(self.answered)} answered"
                following = self._after(record)
                if following is not None:
                    return Why(id, "dropped", following, rank, score, "not returned by it")
                return Why(id, "dropped", record.name, rank, score, reason)
        first = self.records[0].name if self.records else "any stage"
        return Why(id, "not recalled", first)

    def _emptied(self, record: StageRecord) -> str:
        """Why a stage left nothing; and how many nobody read that were dropped before it."""
        why = str(record.notes.get("nothing", ""))
        why = why or f"{record.name} dropped the last: {record.dropped[-1].reason}"
        late = [int(each.notes.get("unscored", 0)) for each in self.faults]
        sure = [int(each.notes.get("left", 0)) for each in self.records]
        unread = max([int(record.notes.get("not_read", 0)), *late, *sure])
        if not unread:
            return why
        why = why.replace("nothing relevant:", "nothing relevant among those read:", 1)
        return f"{why}; {unread} not read"

    def _last(self) -> str:
        return self.records[-1].name if self.records else ""

    def _after(self, record: StageRecord) -> str | None:
        at = self.records.index(record) + 1
        return self.records[at].name if at < len(self.records) else None


def record_of(
    name: str,
    position: int,
    before: Candidates,
    after: Candidates,
    ms: float,
    *,
    decides: bool = False,
) -> StageRecord:
    """The record of a stage that returned; `partial` when it noted `unscored` candidates."""
    unscored = int(after.notes.get("unscored", 0))
    left = int(after.notes.get("left", 0))
    reason = f"confident: {left} not read" if left else ""
    return StageRecord(
        name=name,
        position=position,
        status="partial" if unscored else "ok",
        n_in=len(before),
        n_out=len(after),
        ms=ms,
        reason=f"deadline: {unscored} not scored" if unscored else reason,
        ids=after.ids,
        score=after.score,
        dropped=after.dropped,
        decides=decides,
        notes=after.notes,
        children=after.children,
        given=before.ids,
        scored=not after.scores.keys() <= before.scores.keys(),
        own=after.scores.get(name, np.full(len(after), np.nan)),
        kind=after.kinds.get(name),
        orders_by=after.kind,
    )


def _every(records: tuple[StageRecord, ...]) -> Iterator[StageRecord]:
    for record in records:
        yield record
        yield from _every(record.children)


def _rows(records: tuple[StageRecord, ...], indent: str) -> Any:
    for record in records:
        facts = [f"{key}={value}" for key, value in record.notes.items()]
        if record.budget_ms is not None:
            facts.insert(0, f"budget={record.budget_ms:.0f}ms")
        remarks = ", ".join([*([record.reason] if record.reason else []), *facts])
        yield (indent + record.name, record.status, record.n_in, record.n_out, record.ms, remarks)
        yield from _rows(record.children, indent + "  ")
