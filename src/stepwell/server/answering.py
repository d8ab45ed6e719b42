"""From the words of an API to the service, and back."""

from __future__ import annotations

import uuid
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stepwell.models.protocols import PairScorer
from stepwell.page import view_of
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
    """Answer in the shape of Cohere, Jina and vLLM."""
    texts = asked.texts()
    made = await service.scored(asked.query, texts)
    scores = probabilities(made.values, service.scorer)
    results = [
        RerankResult(
            index=at,
            relevance_score=float(scores[at]),
            document=TextDocument(text=texts[at]) if asked.return_documents else None,
        )
        for at in _best_first(scores)[: asked.top_n or None]
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
    if asked.truncate is False and made.truncated:
        message = f"{made.truncated} texts are longer than the model reads; allow truncate"
        raise Problem(422, "too_large", message)
    if asked.raw_scores:
        scores = made.values.astype(np.float64)
    else:
        scores = probabilities(made.values, service.scorer)
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
    seconds = None if asked.deadline_ms is None else asked.deadline_ms / 1e3
    result = await service.search(asked.query, k=asked.k, filter=asked.filter, deadline=seconds)
    return SearchAnswer(
        documents=[Found(**hit.to_dict()) for hit in result.hits],
        degraded=result.degraded,
        trace=kinds_only(result.trace.to_dict()),
    )


async def explained(service: Service, asked: SearchAsked) -> dict[str, Any]:
    """What `search` did with every candidate, as the page shows it."""
    seconds = None if asked.deadline_ms is None else asked.deadline_ms / 1e3
    result = await service.search(asked.query, k=asked.k, filter=asked.filter, deadline=seconds)
    view = view_of(result.trace, query=asked.query, documents=result.documents)
    return kinds_only(view)


def probabilities(values: NDArray[Any], scorer: PairScorer) -> Scores:
    """Scores as float64 from 0 to 1, in an order that is the scores' own.

    A logit goes through the logistic function, centred where the model says in `logistic`; a
    similarity is moved from -1..1.
    """
    scores = np.asarray(values, dtype=np.float64)
    if scorer.kind == "logit":
        middle, width = _logistic(scorer)
        # 1 / (1 + exp(-x)), without an overflow at either end.
        return np.exp(-np.logaddexp(0.0, (middle - scores) / width))
    if scorer.kind == "similarity":
        scores = (scores + 1) / 2
    return np.clip(scores, 0.0, 1.0)


def _logistic(scorer: Any) -> tuple[float, float]:
    """Where the innermost model's probability is a half, and how far from there it is 0.73."""
    while not hasattr(scorer, "logistic"):
        if not hasattr(scorer, "scorer"):
            return 0.0, 1.0
        scorer = scorer.scorer
    middle, width = scorer.logistic
    return middle, width


def _best_first(scores: Scores) -> list[int]:
    order: list[int] = np.argsort(-scores, kind="stable").tolist()
    return order
