"""Stepwell's retriever under the name that LlamaIndex's conventions expect."""

from stepwell.llama_index import CascadeQuery, CascadeRetriever, as_stage

__all__ = ["CascadeQuery", "CascadeRetriever", "as_stage"]
