"""Encoders in both directions."""

from __future__ import annotations

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings

import stepwell as sw
from stepwell.langchain import CascadeRetriever, as_embeddings, as_encoder
from tests.conformance.langchain_parts import QUERY, documents, shape


class Named(Embeddings):
    """Somebody's embeddings, with a model's name and other vectors for queries."""

    model = "m-1"

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return as_embeddings().embed_documents(texts)

    def embed_query(self, text: str) -> list[float]:
        return [-value for value in as_embeddings().embed_query(text)]


def test_there_and_back() -> None:
    """An encoder made embeddings made an encoder gives the same vectors."""
    back = as_encoder(as_embeddings())
    direct = as_embeddings().embed_documents(["a log", "a cat"])
    assert np.abs(back.encode(["a log", "a cat"]) - np.array(direct)).max() < 1e-6
    assert back.dimension == len(direct[0])
    assert back.encode([]).shape == (0, back.dimension)


def test_corpus_over_embeddings() -> None:
    """A corpus takes LangChain embeddings, queries as queries, and answers as over its own."""
    mine = CascadeRetriever.from_documents(documents()[:12], encoder=as_embeddings())
    own = CascadeRetriever.from_documents(documents()[:12])
    found, expected = shape(mine.invoke(QUERY)), shape(own.invoke(QUERY))
    assert [id for id, _ in found] == [id for id, _ in expected]
    flipped = CascadeRetriever.from_documents(documents()[:12], encoder=Named()).corpus
    worst = sw.Cascade([sw.Dense(flipped)]).search(QUERY).ids
    assert worst == sw.Cascade([sw.Dense(own.corpus)]).search(QUERY).ids[::-1]
    assert flipped.encoder.name.endswith("Named:m-1")


def test_refuses_what_is_none() -> None:
    """Something else than embeddings is refused by name."""
    with pytest.raises(sw.ConfigurationError, match="not a str"):
        as_encoder("all-MiniLM-L6-v2")  # type: ignore[arg-type]
