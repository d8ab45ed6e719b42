"""A corpus and a reranker behind HTTP: what `stepwell serve` runs.

It speaks the rerank APIs of Cohere, Jina and Text Embeddings Inference, so their clients work
against it unchanged; `stepwell.remote` is the other end of the same shapes.
"""

from __future__ import annotations

from stepwell.server.app import create_app
from stepwell.server.limits import Limits
from stepwell.server.service import Service

__all__ = ["Limits", "Service", "create_app"]
