"""Stepwell inside LlamaIndex: a retriever, a node postprocessor, and your retrievers as stages."""

from __future__ import annotations

from stepwell.errors import import_extra

import_extra("llama_index.core", extra="llama-index")

from stepwell.llama_index.embeddings import as_embedding, as_encoder  # noqa: E402
from stepwell.llama_index.events import CascadeEvent  # noqa: E402
from stepwell.llama_index.postprocessor import CascadePostprocessor  # noqa: E402
from stepwell.llama_index.query import CascadeQuery  # noqa: E402
from stepwell.llama_index.retriever import CascadeRetriever  # noqa: E402
from stepwell.llama_index.stage import RetrieverStage, as_stage  # noqa: E402

__all__ = [
    "CascadeEvent",
    "CascadePostprocessor",
    "CascadeQuery",
    "CascadeRetriever",
    "RetrieverStage",
    "as_embedding",
    "as_encoder",
    "as_stage",
]
