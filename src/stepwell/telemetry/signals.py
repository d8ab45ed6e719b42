"""What an answer says about its cascade, without anybody's judgement: `signals`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from stepwell.result import Result
from stepwell.telemetry.overlap import rank_biased_overlap
from stepwell.telemetry.settings import current
from stepwell.trace import StageRecord

DEPTH = 100
"""Ranks of an order that are compared; those below weigh under .00003 together."""


@dataclass(frozen=True, slots=True)
class Signals:
    """Signals of one answer.

    Attributes:
        overlap: By stage that re-scored a set of two or more, the rank-biased overlap of its order
            with the order that it was given: 1 where it moved nothing.
        recall_ranks: For each hit its rank in the order that the cascade began with (the first
            recall's, or the one that was brought), from 1; None where it was not in it.
        margin: How far the best is ahead of the second, in parts of the range of the scores that
            the last scoring stage returned: from 0 (a tie) to 1 (all others are alike). None where
            it scored and returned fewer than three.
        good: Whether a hit reaches the least score that was set for a stage; None where none was
            set, or no such stage scored a hit. An answer without hits has no good one.
    """

    overlap: Mapping[str, float]
    recall_ranks: tuple[int | None, ...]
    margin: float | None
    good: bool | None


def signals(result: Result, *, good: Mapping[str, float] | None = None) -> Signals:
    """What an answer says about its cascade.

    Args:
        result: Of `search`, `rank` or their relatives.
        good: By stage name, the least raw score of a good hit; by default what
            `stepwell.telemetry.configure` was told.

    Example:
        >>> from stepwell import Cascade, CrossEncoder, Document
        >>> read = CrossEncoder(lambda query, texts: [len(text) for text in texts])
        >>> documents = [Document("a", "x"), Document("b", "xxxxx"), Document("c", "xx")]
        >>> found = signals(Cascade([read]).rank("q", documents))
        >>> found.recall_ranks, found.margin
        ((2, 3, 1), 0.75)
    """
    records = result.trace.records
    scored = [record for record in records if record.scored and record.status != "failed"]
    return Signals(
        overlap={record.name: _overlap(record) for record in _rescored(records)},
        recall_ranks=_recall_ranks(result),
        margin=_margin(scored[-1]) if scored else None,
        good=_good(result, current().good if good is None else good),
    )


def _rescored(records: Sequence[StageRecord]) -> Iterator[StageRecord]:
    """The records of stages that re-scored a set; for one inside another, the outer's."""
    for record in records:
        if record.scored and len(record.given) > 1:
            yield record
        else:
            yield from _rescored(record.children)


def _overlap(record: StageRecord) -> float:
    given = record.given[:DEPTH].tolist()
    order: list[str] = record.ids[:DEPTH].tolist()
    # What the stage cut for depth alone follows in its order, and still was ranked by it.
    for dropped in reversed(record.dropped):
        if dropped.cut and len(order) < DEPTH:
            order += dropped.ids[: DEPTH - len(order)].tolist()
    return rank_biased_overlap(given, order)


def _recall_ranks(result: Result) -> tuple[int | None, ...]:
    records = result.trace.records
    brought: list[str] = records[0].given.tolist() if records else []
    if brought:
        places = {id: rank for rank, id in enumerate(brought, 1)}
        return tuple(places.get(hit.id) for hit in result.hits)
    first = next((record for record in records if record.status in ("ok", "partial")), None)
    # A nested cascade scores nothing under its own name: its first stage is the recall.
    while first is not None and first.children and not _has_column(result, first.name):
        first = first.children[0]
    name = first.name if first is not None else ""
    return tuple(hit.ranks.get(name) for hit in result.hits)


def _has_column(result: Result, name: str) -> bool:
    return any(name in hit.scores for hit in result.hits)


def _margin(record: StageRecord) -> float | None:
    left = int(record.notes.get("unscored", 0))
    score = record.score[: max(record.n_in - left, 0)] if record.n_in else record.score
    if len(score) < 3:
        return None
    spread = float(score[0] - score[-1])
    return float(score[0] - score[1]) / spread if spread > 0 else 0.0


def _good(result: Result, least: Mapping[str, float]) -> bool | None:
    if not least or result.query.is_blank:
        return None
    if not result.hits:
        return False
    told = [
        hit.scores[stage] >= value
        for hit in result.hits
        for stage, value in least.items()
        if stage in hit.scores
    ]
    return any(told) if told else None
