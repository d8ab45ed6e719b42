"""Encoders and pair scorers: the embedded pair, any by name, any callable.

Importing this package loads no model runtime; a model is loaded when it is first used.
"""

from stepwell.models.loading import load_encoder, load_scorer
from stepwell.models.protocols import (
    Encoder,
    Kind,
    PairScorer,
    PairScores,
    ScoreKind,
    TokenEncoder,
    Vectors,
)

__all__ = [
    "Encoder",
    "Kind",
    "PairScorer",
    "PairScores",
    "ScoreKind",
    "TokenEncoder",
    "Vectors",
    "load_encoder",
    "load_scorer",
]
