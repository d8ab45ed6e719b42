"""A small real encoder: hashed bags of words. Deterministic, and nothing is downloaded."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from stepwell.models.protocols import Kind, Vectors


class BagOfWords:
    """Counts of words, each hashed to one dimension."""

    def __init__(self, *, name: str = "bag-of-words", dimension: int = 64) -> None:
        self.name = name
        self.dimension = dimension
        self.encoded = 0

    def encode(self, texts: Sequence[str], /, *, kind: Kind = "passage") -> Vectors:
        del kind
        self.encoded += len(texts)
        out = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in enumerate(texts):
            for word in ("", *text.lower().split()):
                out[row, zlib.crc32(word.encode("utf-8", "replace")) % self.dimension] += 1
        return out / np.linalg.norm(out, axis=1, keepdims=True)


class Failing(BagOfWords):
    """Gives NaN for texts with a certain word."""

    def encode(self, texts: Sequence[str], /, *, kind: Kind = "passage") -> Vectors:
        out = super().encode(texts, kind=kind)
        out[["poison" in text for text in texts]] = np.nan
        return out
