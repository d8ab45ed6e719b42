"""Makes activations easy to quantise: their channels shifted and scaled, weights the other way.

A tensor gets one scale when it is quantised as it comes, and a few channels of a transformer are
far larger than the rest or far from zero. Moving that into the weights, which have a scale a
column, changes no product (after SmoothQuant, Xiao et al. 2023, with a shift added).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Smoothing:
    """How the input of one linear layer is moved: ``(x - shift) / scale``, each (d,)."""

    shift: Floats
    scale: Floats


class Watch:
    """Notes mean and spread of each input channel of linear layers.

    Not the extremes: one token of massive activation would move a channel's middle to where no
    other token is.
    """

    def __init__(self, layers: Iterable[nn.Linear]) -> None:
        self._layers = list(layers)
        self._sums: dict[int, torch.Tensor] = {}
        self._hooks = [layer.register_forward_pre_hook(self._note) for layer in self._layers]

    def _note(self, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        flat = inputs[0].detach().flatten(0, -2).double()
        sums = torch.stack([torch.ones_like(flat).sum(0), flat.sum(0), (flat**2).sum(0)])
        before = self._sums.get(id(layer))
        self._sums[id(layer)] = sums if before is None else before + sums

    def finish(self, *, strength: float = 0.5) -> dict[int, Smoothing]:
        """Return a smoothing for each layer that was used, by the layer's `id`."""
        for hook in self._hooks:
            hook.remove()
        made = {}
        for layer in self._layers:
            count, total, squares = self._sums[id(layer)].numpy()
            mean = total / count
            reach = np.sqrt(np.maximum(squares / count - mean**2, 1e-8)) ** strength
            rows = layer.weight.detach().abs().mean(dim=0).double().numpy()
            scale = reach / np.maximum(rows, 1e-4) ** (1 - strength)
            scale = scale / np.exp(np.log(scale).mean())
            made[id(layer)] = Smoothing(mean.astype(np.float32), scale.astype(np.float32))
        return made
