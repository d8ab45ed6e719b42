"""Rerankers behind an API, as the scorer of a cross-encoder stage."""

from __future__ import annotations

from stepwell.remote.reranker import RemoteReranker
from stepwell.remote.shapes import Shape

__all__ = ["RemoteReranker", "Shape"]
