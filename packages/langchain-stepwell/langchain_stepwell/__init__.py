"""Stepwell's LangChain classes under the name that LangChain's conventions expect."""

from stepwell.langchain import (
    CascadeCompressor,
    CascadeRetriever,
    as_embeddings,
    as_encoder,
    as_stage,
)

__all__ = ["CascadeCompressor", "CascadeRetriever", "as_embeddings", "as_encoder", "as_stage"]
