"""What each rerank API is asked and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from stepwell.models.protocols import ScoreKind

Body: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """One API.

    Attributes:
        path: Put behind the base URL.
        body: From the model's name or None, the query and the passages to the JSON to send.
        results: The key of the list of results in the answer; None where the answer is that list.
        score: The key of a result's score; its position is always under `index`.
        kind: What the scores are: probabilities 0 to 1, similarities -1 to 1, or logits.
        limit: Passages that one request may hold.
        tokens: Tokens that one request may hold, the query's counted with each passage; None where
            no such limit is documented.
        similarity: Models whose scores are similarities, whatever the rest gives.
        url: The base URL of the public service; None for what one hosts.
        key: Environment variables that may hold its key, the first that is set.
        model: Used where none is named; None where the server knows.
    """

    path: str
    body: Callable[[str | None, str, list[str]], Body]
    results: str | None = "results"
    score: str = "relevance_score"
    kind: ScoreKind = "probability"
    limit: int = 1000
    tokens: int | None = None
    similarity: tuple[str, ...] = ()
    url: str | None = None
    key: tuple[str, ...] = ()
    model: str | None = None


def _documents(model: str | None, query: str, passages: list[str], **more: Any) -> Body:
    named = {} if model is None else {"model": model}
    return {**named, "query": query, "documents": passages, **more}


def _jina(model: str | None, query: str, passages: list[str]) -> Body:
    return _documents(model, query, passages, return_documents=False)


def _infinity(model: str | None, query: str, passages: list[str]) -> Body:
    return _documents(model, query, passages, return_documents=False, raw_scores=False)


def _tei(_: str | None, query: str, passages: list[str]) -> Body:
    return {"query": query, "texts": passages, "truncate": True, "raw_scores": False}


SHAPES: Mapping[str, Shape] = {
    # docs.cohere.com/v2/reference/rerank: a thousand documents a request are advised.
    "cohere": Shape(
        "/v2/rerank",
        _documents,
        url="https://api.cohere.com",
        key=("COHERE_API_KEY", "CO_API_KEY"),
        model="rerank-v3.5",
    ),
    # docs.voyageai.com/docs/reranker: a thousand documents; 600,000 tokens, of older models half.
    "voyage": Shape(
        "/v1/rerank",
        _jina,
        results="data",
        tokens=300_000,
        url="https://api.voyageai.com",
        key=("VOYAGE_API_KEY",),
        model="rerank-2.5",
    ),
    # api.jina.ai/redoc; v3 answers cosines (huggingface.co/jinaai/jina-reranker-v3/discussions/2).
    "jina": Shape(
        "/v1/rerank",
        _jina,
        similarity=("jina-reranker-v3",),
        url="https://api.jina.ai",
        key=("JINA_API_KEY",),
        model="jina-reranker-v2-base-multilingual",
    ),
    # A Text Embeddings Inference server takes 32 texts unless --max-client-batch-size says more.
    "tei": Shape("/rerank", _tei, results=None, score="score", limit=32),
    "vllm": Shape("/v1/rerank", _documents),
    "infinity": Shape("/rerank", _infinity, limit=2048),
    "llama.cpp": Shape("/v1/rerank", _documents, kind="logit"),
}
