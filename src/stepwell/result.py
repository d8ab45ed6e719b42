"""The answer: hits with their scores and ranks by stage, and the trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from stepwell.candidates import Candidates, Dropped, below
from stepwell.documents import Document, Query, Source
from stepwell.meaning import Meaning
from stepwell.trace import StageRecord, Trace


@dataclass(frozen=True, slots=True)
class Hit:
    """One answered document.

    Attributes:
        document: With its id, text and metadata.
        score: The final score, higher is better, never increasing along the list.
        rank: Its place, from 1.
        scores: Raw score by stage; a stage that did not score it is absent.
        ranks: Place by stage, from 1; a stage that did not rank it is absent.
    """

    document: Document
    score: float
    rank: int
    scores: Mapping[str, float] = field(default_factory=dict)
    ranks: Mapping[str, int] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The document's id."""
        return self.document.id

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, text included."""
        return {
            "rank": self.rank,
            "id": self.document.id,
            "score": self.score,
            "scores": dict(self.scores),
            "ranks": dict(self.ranks),
            "text": self.document.text,
            "metadata": dict(self.document.metadata),
        }


@dataclass(frozen=True, slots=True)
class Result:
    """What a cascade answers.

    Attributes:
        query: What was asked.
        hits: Best first.
        trace: What each stage did.
    """

    query: Query
    hits: tuple[Hit, ...]
    trace: Trace

    @property
    def ids(self) -> list[str]:
        """The ids of the hits, best first."""
        return [hit.document.id for hit in self.hits]

    @property
    def documents(self) -> list[Document]:
        """The documents of the hits, best first."""
        return [hit.document for hit in self.hits]

    @property
    def degraded(self) -> bool:
        """True when a stage failed, was skipped, or left work undone at the deadline."""
        return self.trace.degraded

    @property
    def kinds(self) -> dict[str, Meaning]:
        """What the scores of each stage mean; see `stepwell.meaning`."""
        return self.trace.kinds

    @property
    def kind(self) -> Meaning | None:
        """What the score of a hit means; None if that is not known."""
        return self.trace.orders_by

    @property
    def empty_because(self) -> str:
        """Why there is no hit, in a clause, such as that nothing was relevant enough."""
        return self.trace.empty_because

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the hits with their text, and the trace."""
        return {
            "query": self.query.text,
            "hits": [hit.to_dict() for hit in self.hits],
            "trace": self.trace.to_dict(),
        }

    def to_html(self, path: str | Path | None = None) -> str:
        """The query as one page of HTML, with question and passages; see `Trace.to_html`.

        Args:
            path: Also written there.
        """
        from stepwell.page import page_of, view_of, written

        view = view_of(self.trace, query=self.query.text, documents=self.documents)
        return written(page_of(view), path)

    def _repr_html_(self) -> str:
        from stepwell.page import framed

        return framed(self.to_html())


def hits_of(
    final: Candidates, records: list[StageRecord], k: int | None
) -> tuple[tuple[Hit, ...], dict[str, str]]:
    """The first k of the final order, back-filled, without what was deleted or is filtered out.

    When more is asked for than the last stage kept, what the stages cut follows in their order,
    later stages first: the document next in line at the last stage is the next best.

    Returns:
        The hits, and by id why a document that was in line is none.
    """
    places = _in_line(final, records) if k is not None else _final(final)
    hits: list[Hit] = []
    rejected: dict[str, str] = {}
    allowed = final.query.filter
    wanted = len(final) if k is None else k
    while len(hits) < wanted:
        batch = list(islice(places, wanted - len(hits)))
        if not batch:
            break
        documents = _fetch(final.source, [place[0] for place in batch])
        for (id, score, scores, ranks), document in zip(batch, documents):
            if document is None:
                rejected[id] = "it was deleted meanwhile"
            elif allowed is not None and not allowed.matches(document.metadata):
                rejected[id] = "excluded by the filter"
            else:
                hits.append(Hit(document, score, len(hits) + 1, scores, ranks))
    return tuple(hits), rejected


_Place = tuple[str, float, dict[str, float], dict[str, int]]


def _in_line(final: Candidates, records: list[StageRecord]) -> Iterator[_Place]:
    seen: set[str] = set()
    lowest = float("inf")
    for place in _final(final):
        seen.add(place[0])
        lowest = place[1]
        yield place
    for record in reversed(records):
        if record.decides:
            return
        for dropped in reversed(record.dropped):
            if not dropped.cut:
                return
            ranked = record.status in ("ok", "partial")
            for place in _next(record.name if ranked else None, dropped, lowest):
                if place[0] not in seen:
                    seen.add(place[0])
                    lowest = place[1]
                    yield place


def _final(final: Candidates) -> Iterator[_Place]:
    for at, id in enumerate(final.ids.tolist()):
        yield id, float(final.score[at]), _scores(final.scores, at), _ranks(final.ranks, at)


def _next(stage: str | None, dropped: Dropped, lowest: float) -> Iterator[_Place]:
    score = below(dropped.score, np.array([lowest]))
    for at, id in enumerate(dropped.ids.tolist()):
        ranks = _ranks(dropped.stage_ranks, at)
        if stage is not None:
            ranks[stage] = int(dropped.ranks[at])
        yield id, float(score[at]), _scores(dropped.scores, at), ranks


def _scores(columns: Mapping[str, Any], at: int) -> dict[str, float]:
    values = ((name, float(column[at])) for name, column in columns.items())
    return {name: value for name, value in values if value == value}


def _ranks(columns: Mapping[str, Any], at: int) -> dict[str, int]:
    return {name: int(column[at]) for name, column in columns.items() if column[at]}


def _fetch(source: Source, ids: list[str]) -> list[Document | None]:
    return source.get_many(ids) if ids else []
