"""The vectors that a LlamaIndex vector store holds, read back by node id."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from llama_index.core.indices.vector_store import VectorIndexRetriever
from llama_index.core.schema import MetadataMode

from stepwell.documents import Document
from stepwell.llama_index.nodes import node_of
from stepwell.models.protocols import Vectors
from stepwell.stages.vectors import matched

# By id, the text that was embedded and its vector.
_Entries: TypeAlias = dict[str, tuple[str, Any]]
_Read: TypeAlias = Callable[[Any, list[str]], _Entries]


def _of_simple(retriever: Any, ids: list[str]) -> _Entries:
    # It keeps no text: that is in the index's document store.
    vectors, texts = retriever._vector_store.data.embedding_dict, retriever._docstore
    found: _Entries = {}
    for id in ids:
        vector, node = vectors.get(id), texts.get_document(id, raise_error=False)
        if vector is not None and node is not None:
            found[id] = (node.get_content(metadata_mode=MetadataMode.NONE), vector)
    return found


def _of_chroma(retriever: Any, ids: list[str]) -> _Entries:
    found = retriever._vector_store.client.get(ids=ids, include=["documents", "embeddings"])
    return dict(zip(found["ids"], zip(found["documents"], found["embeddings"])))


_READ: dict[str, _Read] = {"SimpleVectorStore": _of_simple, "ChromaVectorStore": _of_chroma}


def stored_vectors(
    retriever: VectorIndexRetriever, documents: Sequence[Document], *, dimension: int
) -> Vectors:
    """The vectors of some documents, see `matched`; none where the store cannot be read."""
    name = retriever._vector_store.class_name()
    asked = [
        (document.id, node_of(document).get_content(MetadataMode.NONE)) for document in documents
    ]
    read = _READ.get(name)
    held = read(retriever, list(dict(asked))) if read and asked else {}
    return matched(held, asked, dimension=dimension, name=name)
