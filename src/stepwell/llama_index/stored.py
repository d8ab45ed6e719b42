"""The vectors that a LlamaIndex vector store holds, read back by node id."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from llama_index.core.vector_stores.types import BasePydanticVectorStore

from stepwell.models.checks import checked_vectors
from stepwell.models.protocols import Vectors

_Read: TypeAlias = Callable[[Any, list[str]], dict[str, Any]]


def _of_simple(store: Any, ids: list[str]) -> dict[str, Any]:
    held = store.data.embedding_dict
    return {id: held[id] for id in ids if id in held}


def _of_chroma(store: Any, ids: list[str]) -> dict[str, Any]:
    found = store.client.get(ids=ids, include=["embeddings"])
    return dict(zip(found["ids"], found["embeddings"]))


_READ: dict[str, _Read] = {"SimpleVectorStore": _of_simple, "ChromaVectorStore": _of_chroma}


def stored_vectors(store: BasePydanticVectorStore, ids: list[str], *, dimension: int) -> Vectors:
    """The vectors of some nodes, (n, d) float32 unit rows; NaN where the store has, or gives, none.

    Raises:
        ConfigurationError: The store's vectors have another dimension than its embedding makes.
    """
    rows = np.full((len(ids), dimension), np.nan, dtype=np.float32)
    read = _READ.get(store.class_name())
    held = read(store, ids) if read and ids else {}
    there = [at for at, id in enumerate(ids) if id in held]
    if there:
        values = np.asarray([held[ids[at]] for at in there], dtype=np.float32)
        name = store.class_name()
        rows[there] = checked_vectors(values, rows=len(there), dimension=dimension, name=name)
    return rows
