"""Work for many machines: passages encoded by Ray Data, pairs scored by replicas on Ray Serve."""

from __future__ import annotations

from stepwell.ray.encoder import RayEncoder
from stepwell.ray.scorer import RayScorer

__all__ = ["RayEncoder", "RayScorer"]
