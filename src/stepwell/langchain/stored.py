"""The vectors that a LangChain store holds, read back by the ids of its documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from langchain_core.vectorstores import VectorStore

from stepwell.documents import Document
from stepwell.langchain.convert import Borrowed
from stepwell.models.protocols import Vectors
from stepwell.stages.vectors import matched

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
    """The vectors of some documents, see `matched`; none where the store cannot be read."""
    asked = [(_own_id(document), document.text) for document in documents]
    held = read(store, list(dict(asked))) if read and asked else {}
    return matched(held, asked, dimension=dimension, name=type(store).__name__)


def _own_id(document: Document) -> str:
    original = document.original.id if isinstance(document, Borrowed) else None
    return original or document.id
