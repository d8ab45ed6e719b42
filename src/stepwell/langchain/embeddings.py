"""Encoders in both directions: LangChain embeddings for a corpus, an encoder for a vector store."""

from __future__ import annotations

from typing import Any

from langchain_core.embeddings import Embeddings

from stepwell.errors import ConfigurationError
from stepwell.models.callables import ForeignEncoder
from stepwell.models.loading import EncoderSpec, load_encoder
from stepwell.models.protocols import Encoder, Kind


def as_encoder(embeddings: Embeddings, *, name: str | None = None) -> Encoder:
    """LangChain embeddings as the encoder of a corpus or a stage.

    Args:
        embeddings: Queries go to its `embed_query`, passages to its `embed_documents`.
        name: What a corpus records, so that it is never read with another model; by default the
            class and its model's name.

    Raises:
        ConfigurationError: It is no LangChain embeddings.
    """
    if not isinstance(embeddings, Embeddings):
        kind = type(embeddings).__name__
        raise ConfigurationError(f"as_encoder takes LangChain Embeddings, not a {kind}")
    if type(embeddings) is _Embeddings and name is None:
        return embeddings.encoder
    return _Encoder(embeddings, name or _name_of(embeddings))


def as_embeddings(encoder: EncoderSpec = None) -> Embeddings:
    """An encoder as LangChain embeddings, for a vector store.

    Args:
        encoder: None for the packaged one, which needs no key and no download; else see
            `stepwell.models.load_encoder`.
    """
    return _Embeddings(load_encoder(encoder))


class _Encoder(ForeignEncoder):
    def __init__(self, embeddings: Embeddings, name: str) -> None:
        super().__init__(name)
        self._embeddings = embeddings

    def _made(self, texts: list[str], kind: Kind, /) -> Any:
        if kind == "query":
            return [self._embeddings.embed_query(text) for text in texts]
        return self._embeddings.embed_documents(texts)


class _Embeddings(Embeddings):
    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        rows: list[list[float]] = self.encoder.encode(texts).tolist()
        return rows

    def embed_query(self, text: str) -> list[float]:
        row: list[float] = self.encoder.encode([text], kind="query")[0].tolist()
        return row


def _name_of(embeddings: Embeddings) -> str:
    """The class and what it says of its model, in the fields that LangChain's integrations use."""
    kind = type(embeddings)
    fields = ("model", "model_name", "deployment", "azure_deployment", "model_id")
    said = [getattr(embeddings, field, None) for field in fields]
    models = dict.fromkeys(each for each in said if isinstance(each, str) and each)
    return ":".join([f"{kind.__module__}.{kind.__qualname__}", *models])
