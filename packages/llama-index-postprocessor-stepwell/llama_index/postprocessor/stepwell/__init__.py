"""Stepwell's node postprocessor under the name that LlamaIndex's conventions expect."""

from stepwell.llama_index import CascadePostprocessor

__all__ = ["CascadePostprocessor"]
