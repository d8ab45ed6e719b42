"""What was seen of one query: the answer, and where each stage put the judged documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import numpy as np

from stepwell.result import Result
from stepwell.trace import StageRecord, Status

Places: TypeAlias = dict[str, int]
"""Places from 1 by document, of judged documents only: all that a measure needs."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one stage did with one query.

    Attributes:
        name: The stage.
        status: As in the trace.
        n_in: Candidates it was given.
        n_out: Candidates it returned.
        ms: Milliseconds it took.
        places: The judged documents that it returned.
        own: The judged documents by the stage's own scores, before any blend; None where it does
            not score, or not all of its scores are known.
        dropped: The judged documents that it left behind, in its order.
        unread: Relevant documents of which its model did not read all.
    """

    name: str
    status: Status
    n_in: int
    n_out: int
    ms: float
    places: Places
    own: Places | None = None
    dropped: Places = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Asked:
    """One query that was asked: no text, so that it may be kept in a file.

    Attributes:
        query: Its id.
        ids: The answer, best first.
        ms: Milliseconds from the question to the answer.
        steps: One a stage; empty where the system is no cascade.
        wordless: Relevant documents that share no word with the query (a BM25 score of 0).
        tuned: By weight of the second arm, the judged documents in a hybrid first stage.
        said: By document, the probability of relevance of a calibrated cascade.
        perfect: By stage, the judged documents in the answer if that stage were perfect.
    """

    query: str
    ids: list[str]
    ms: float
    steps: tuple[Step, ...] = ()
    wordless: list[str] = field(default_factory=list)
    tuned: dict[str, Places] = field(default_factory=dict)
    perfect: dict[str, Places] = field(default_factory=dict)
    said: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Asked:
        """What `to_dict` made."""
        return cls(**{**found, "steps": tuple(Step(**step) for step in found["steps"])})


def steps_of(result: Result, grades: Mapping[str, int]) -> tuple[Step, ...]:
    """Where each stage put the judged documents."""
    raw = _raw(result)
    return tuple(_step(record, grades, raw.get(record.name, {})) for record in result.trace.records)


def places_of(ids: Sequence[str], grades: Mapping[str, int]) -> Places:
    """The places of judged documents in a ranking."""
    return {id: at for at, id in enumerate(ids, start=1) if id in grades}


def _step(record: StageRecord, grades: Mapping[str, int], raw: Mapping[str, float]) -> Step:
    behind = [pair for each in record.dropped for pair in zip(each.ids, each.ranks)]
    known = bool(raw) and record.n_in > 0 and all(id in raw for id in record.given.tolist())
    own = sorted(record.given.tolist(), key=lambda each: -raw[each]) if known else None
    return Step(
        name=record.name,
        status="partial" if record.status == "ok" and record.degraded else record.status,
        n_in=record.n_in,
        n_out=record.n_out,
        ms=round(record.ms, 3),
        places=places_of(record.ids.tolist(), grades),
        own=None if own is None else places_of(own, grades),
        dropped={id: int(rank) for id, rank in behind if id in grades},
    )


def said_of(result: Result, stage: str) -> dict[str, float]:
    """The probabilities that a stage gave, to what it left out too."""
    return _raw(result).get(stage, {})


def _raw(result: Result) -> dict[str, dict[str, float]]:
    """By stage, the scores it gave: those of the hits, and those of what was dropped."""
    raw: dict[str, dict[str, float]] = {}
    for record in result.trace.records:
        for each in record.dropped:
            for name, column in each.scores.items():
                scored = np.flatnonzero(~np.isnan(column)).tolist()
                raw.setdefault(name, {}).update((each.ids[at], float(column[at])) for at in scored)
    for hit in result.hits:
        for name, score in hit.scores.items():
            raw.setdefault(name, {})[hit.id] = score
    return raw
