"""Encoders in both directions: a LlamaIndex embedding for a stage, an encoder for an index."""

from __future__ import annotations

import asyncio
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from pydantic import PrivateAttr

from stepwell.errors import ConfigurationError
from stepwell.models.callables import ForeignEncoder
from stepwell.models.loading import EncoderSpec, load_encoder
from stepwell.models.protocols import Encoder, Kind


def as_encoder(embedding: BaseEmbedding, *, name: str | None = None) -> Encoder:
    """A LlamaIndex embedding as the encoder of a corpus or a stage.

    Args:
        embedding: Queries go to its `get_query_embedding`, passages to its
            `get_text_embedding_batch`.
        name: What a corpus records, so that it is never read with another model; by default the
            class and its `model_name`.

    Raises:
        ConfigurationError: It is no LlamaIndex embedding.
    """
    if not isinstance(embedding, BaseEmbedding):
        kind = type(embedding).__name__
        raise ConfigurationError(f"as_encoder takes a LlamaIndex BaseEmbedding, not a {kind}")
    if type(embedding) is StepwellEmbedding and name is None:
        return embedding._encoder
    kind = type(embedding)
    usual = f"{kind.__module__}.{kind.__qualname__}:{embedding.model_name}"
    return _Encoder(embedding, name or usual)


def as_embedding(encoder: EncoderSpec = None) -> BaseEmbedding:
    """An encoder as a LlamaIndex embedding, for an index or `Settings.embed_model`.

    Args:
        encoder: None for the packaged one, which needs no key and no download; else see
            `stepwell.models.load_encoder`.
    """
    return StepwellEmbedding(load_encoder(encoder))


class StepwellEmbedding(BaseEmbedding):
    """An encoder inside LlamaIndex; made by `as_embedding`."""

    _encoder: Encoder = PrivateAttr()

    def __init__(self, encoder: Encoder | None = None, **fields: Any) -> None:
        """Take an encoder; without one, as when read from a dictionary, the packaged one."""
        encoder = encoder or load_encoder()
        super().__init__(**{**fields, "model_name": encoder.name})
        self._encoder = encoder

    @classmethod
    def class_name(cls) -> str:
        """The name under which it is serialised."""
        return "StepwellEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        row: list[float] = self._encoder.encode([query], kind="query")[0].tolist()
        return row

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        rows: list[list[float]] = self._encoder.encode(texts, kind="passage").tolist()
        return rows

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)


class _Encoder(ForeignEncoder):
    def __init__(self, embedding: BaseEmbedding, name: str) -> None:
        super().__init__(name)
        self._embedding = embedding

    def _made(self, texts: list[str], kind: Kind, /) -> Any:
        if kind == "query":
            return [self._embedding.get_query_embedding(text) for text in texts]
        return self._embedding.get_text_embedding_batch(texts)
