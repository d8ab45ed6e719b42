"""The vectors that a LangChain store holds, read back by the ids of its documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from langchain_core.vectorstores import VectorStore

from stepwell.documents import Document
from stepwell.langchain.convert import Borrowed
from stepwell.models.checks import checked_vectors
from stepwell.models.protocols import Vectors

# By id, the text that was embedded and its vector.
_Entries: TypeAlias = dict[str, tuple[str, Any]]
Read: TypeAlias = Callable[[Any, list[str]], _Entries]


def of_chroma(store: Any, ids: list[str]) -> _Entries:
    """What `langchain_chroma.Chroma` holds of some ids."""
    found = store.get(ids=ids, include=["documents", "embeddings"])
    return dict(zip(found["ids"], zip(found["documents"], found["embeddings"])))


def of_memory(store: Any, ids: list[str]) -> _Entries:
    """What `InMemoryVectorStore` holds of some ids."""
    held = {id: store.store.get(id) for id in ids}
    return {id: (entry["text"], entry["vector"]) for id, entry in held.items() if entry}


def stored_vectors(
    store: VectorStore, read: Read | None, documents: Sequence[Document], *, dimension: int
) -> Vectors:
    """The vectors of some documents, (n, d) float32 unit rows; NaN where the store has none.

    A document of the same id and another text has none: it came from somewhere else.

    Raises:
        ConfigurationError: The store's vectors have another dimension than its embeddings make.
    """
    rows = np.full((len(documents), dimension), np.nan, dtype=np.float32)
    if read is None or not documents:
        return rows
    ids = [_own_id(document) for document in documents]
    held = read(store, list(dict.fromkeys(ids)))
    there = [
        at
        for at, (id, document) in enumerate(zip(ids, documents))
        if id in held and held[id][0] == document.text
    ]
    if there:
        values = np.asarray([held[ids[at]][1] for at in there], dtype=np.float32)
        name = type(store).__name__
        rows[there] = checked_vectors(values, rows=len(there), dimension=dimension, name=name)
    return rows


def _own_id(document: Document) -> str:
    original = document.original.id if isinstance(document, Borrowed) else None
    return original or document.id
