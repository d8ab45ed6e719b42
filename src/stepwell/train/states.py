"""Texts, read once by the trunk: their lower states, token vectors and sentence vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from stepwell.train.model import Trunk, trunk_folder


def tokenizer(length: int, /) -> Tokenizer:
    """Return the trunk's tokenizer, cutting at `length` tokens and padding nothing."""
    made = Tokenizer.from_file(str(trunk_folder() / "tokenizer.json"))
    made.no_padding()
    made.enable_truncation(length)
    return made


@dataclass(frozen=True)
class Texts:
    """Token states of many texts, end to end.

    Attributes:
        starts: int64 (n + 1,), where each text's tokens begin.
        low: float16 (tokens, d), after the shared layers.
        high: float16 (tokens, d), after the last layer, rows of unit length.
        vectors: float32 (n, d), mean of the last layer, unit length.
    """

    starts: NDArray[np.int64]
    low: NDArray[np.float16]
    high: NDArray[np.float16]
    vectors: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def tokens(self, at: int) -> slice:
        """Return where the tokens of text `at` lie."""
        return slice(int(self.starts[at]), int(self.starts[at + 1]))


def read(trunk: Trunk, texts: Sequence[str], /, *, length: int, budget: int = 8192) -> Texts:
    """Run `trunk` over texts cut at `length` tokens, about `budget` tokens at a time."""
    ids = [e.ids for e in tokenizer(length).encode_batch(list(texts))]
    sizes = np.array([len(x) for x in ids], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    low = np.empty((int(starts[-1]), 384), dtype=np.float16)
    high = np.empty_like(low)
    vectors = np.empty((len(ids), 384), dtype=np.float32)
    order = np.argsort(sizes, kind="stable")
    at = 0
    while at < len(order):
        end = at + 1
        while end < len(order) and (end + 1 - at) * sizes[order[end]] <= budget:
            end += 1
        _read_batch(trunk, ids, order[at:end], starts, (low, high, vectors))
        at = end
    return Texts(starts, low, high, vectors)


def _read_batch(
    trunk: Trunk,
    ids: list[list[int]],
    chosen: NDArray[np.int64],
    starts: NDArray[np.int64],
    out: tuple[NDArray[np.float16], NDArray[np.float16], NDArray[np.float32]],
) -> None:
    width = max(len(ids[i]) for i in chosen)
    batch = torch.zeros((len(chosen), width), dtype=torch.long)
    mask = torch.zeros((len(chosen), width))
    for row, i in enumerate(chosen):
        batch[row, : len(ids[i])] = torch.tensor(ids[i])
        mask[row, : len(ids[i])] = 1.0
    with torch.inference_mode():
        low, high = trunk.states(batch, mask)
    unit = torch.nn.functional.normalize(high, dim=-1)
    mean = (high * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
    mean = torch.nn.functional.normalize(mean, dim=-1)
    for row, i in enumerate(chosen):
        size, place = len(ids[i]), int(starts[i])
        out[0][place : place + size] = low[row, :size].numpy()
        out[1][place : place + size] = unit[row, :size].numpy()
        out[2][i] = mean[row].numpy()
