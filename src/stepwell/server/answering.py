"""From the words of an API to the service, and back."""

from __future__ import annotations

import uuid
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stepwell.meaning import as_probability, logistic_of
from stepwell.models.protocols import PairScorer, PairScores
from stepwell.page import view_of
from stepwell.result import Result
from stepwell.server.problems import Problem
from stepwell.server.reasons import kinds_only
from stepwell.server.service import Service
from stepwell.server.shapes import (
    Found,
    Meta,
    Rank,
    RerankAnswer,
    RerankAsked,
    RerankResult,
    SearchAnswer,
    SearchAsked,
    TextDocument,
    TextsAsked,
    Version,
)

Scores: TypeAlias = NDArray[np.float64]


async def rerank(service: Service, asked: RerankAsked, *, version: str) -> RerankAnswer:
    """Answer in the shape of Cohere, Jina and vLLM.

    Raises:
        Problem: A document would be cut, and the request forbids it.
    """
    texts = asked.texts()
    made = await service.scored(asked.query, texts)
    _check_cut(made, allowed=asked.truncation is not False, by="truncation")
    scores = _scores(made, service.scorer, raw=bool(asked.raw_scores))
    results = [
        RerankResult(
            index=at,
            relevance_score=float(scores[at]),
            document=TextDocument(text=texts[at]) if asked.return_documents else None,
        )
        for at in _best_first(scores)[: asked.top_n]
    ]
    return RerankAnswer(
        id=str(uuid.uuid4()),
        model=service.scorer.name,
        results=results,
        meta=Meta(api_version=Version(version=version)),
    )


async def rank(service: Service, asked: TextsAsked) -> list[Rank]:
    """Answer in the shape of Text Embeddings Inference.

    Raises:
        Problem: A text would be cut, and the request forbids it.
    """
    made = await service.scored(asked.query, asked.texts)
    _check_cut(made, allowed=asked.truncate is not False, by="truncate")
    scores = _scores(made, service.scorer, raw=asked.raw_scores)
    return [
        Rank(
            index=at,
            score=float(scores[at]),
            text=asked.texts[at] if asked.return_text else None,
        )
        for at in _best_first(scores)
    ]


async def search(service: Service, asked: SearchAsked) -> SearchAnswer:
    """Answer from the corpus."""
    result = await _searched(service, asked)
    return SearchAnswer(
        documents=[Found(**hit.to_dict()) for hit in result.hits],
        degraded=result.degraded,
        empty_because=result.empty_because or None,
        trace=kinds_only(result.trace.to_dict()),
    )


async def explained(service: Service, asked: SearchAsked) -> dict[str, Any]:
    """What `search` did with every candidate, as the page shows it."""
    result = await _searched(service, asked)
    view = view_of(result.trace, query=asked.query, documents=result.documents)
    return kinds_only(view)


async def _searched(service: Service, asked: SearchAsked) -> Result:
    return await service.search(
        asked.query, k=asked.k, filter=asked.filter, deadline=asked.deadline
    )


def _check_cut(made: PairScores, *, allowed: bool, by: str) -> None:
    if made.truncated and not allowed:
        message = f"{made.truncated} texts are longer than the model reads; allow {by}"
        raise Problem(422, "too_large", message)


def _scores(made: PairScores, scorer: PairScorer, *, raw: bool) -> Scores:
    return made.values.astype(np.float64) if raw else probabilities(made.values, scorer)


def probabilities(values: NDArray[Any], scorer: PairScorer) -> Scores:
    """Scores as float64 from 0 to 1, in an order that is the scores' own.

    A logit goes through the logistic function, centred where the model says in `logistic`; a
    similarity is moved from -1..1.
    """
    scores = as_probability(values, scorer.kind, logistic=logistic_of(scorer))
    if scores is None:
        raise TypeError(f"{scorer.name} has scores of the kind {scorer.kind!r}")
    return scores


def _best_first(scores: Scores) -> list[int]:
    order: list[int] = np.argsort(-scores, kind="stable").tolist()
    return order
