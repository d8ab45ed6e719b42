"""LangChain: the cascade as a retriever, as a document compressor, and LangChain as its recall.

Needs `langchain-core` (`pip install 'stepwell[langchain]'`) and nothing else of LangChain.
"""

from __future__ import annotations

from stepwell.errors import import_extra

import_extra("langchain_core", extra="langchain")

from stepwell.langchain.compressor import CascadeCompressor  # noqa: E402
from stepwell.langchain.embeddings import as_embeddings, as_encoder  # noqa: E402
from stepwell.langchain.recall import as_stage  # noqa: E402
from stepwell.langchain.retriever import CascadeRetriever  # noqa: E402

__all__ = ["CascadeCompressor", "CascadeRetriever", "as_embeddings", "as_encoder", "as_stage"]
