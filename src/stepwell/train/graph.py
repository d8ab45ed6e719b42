"""Builds ONNX graphs of quantised transformer layers, node by node."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from stepwell.train.model import Block
from stepwell.train.smooth import Smoothing

# Seven bits: on x86 without VNNI the product of u8 and s8 saturates at eight, and a score would
# then depend on the machine.
LIMIT = 64
Floats: TypeAlias = NDArray[np.float32]


def quantise(weight: NDArray[np.float32], /) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return int8 weights (in, out) and one scale a column, clipped where that errs least."""
    best = np.full(weight.shape[1], np.inf)
    scale = np.ones(weight.shape[1], dtype=np.float32)
    whole = np.maximum(np.abs(weight).max(axis=0), 1e-8) / LIMIT
    for part in np.linspace(0.7, 1.0, 13):
        tried = (whole * part).astype(np.float32)
        error = ((np.clip(np.round(weight / tried), -LIMIT, LIMIT) * tried - weight) ** 2).sum(0)
        better = error < best
        best[better], scale[better] = error[better], tried[better]
    return np.clip(np.round(weight / scale), -LIMIT, LIMIT).astype(np.int8), scale


class Graph:
    """A graph under construction: every method adds nodes and returns the name of a result."""

    def __init__(self, smoothing: dict[int, Smoothing] | None = None) -> None:
        self._smoothing = smoothing or {}
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._count = 0

    def fresh(self, hint: str) -> str:
        """Return a name that nothing in the graph has."""
        self._count += 1
        return f"{hint}_{self._count}"

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        """Add an initializer."""
        name = self.fresh("c")
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype=dtype), name))
        return name

    def add(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add one node with one result."""
        name = self.fresh(op.lower())
        node = helper.make_node(op, list(inputs), [name], domain=domain, **attributes)
        self.nodes.append(node)
        return name

    def product(self, x: str, weight: Floats, bias: Floats) -> str:
        """Multiply by int8 weights (in, out), activations quantised as they come."""
        packed, scale = quantise(weight)
        return self.add(
            "DynamicQuantizeMatMul",
            x,
            self.constant(packed, np.int8),
            self.constant(scale),
            self.constant(np.zeros(len(scale)), np.int8),
            self.constant(bias),
            domain="com.microsoft",
        )

    def linear(self, x: str, layer: nn.Linear) -> str:
        """Apply a linear layer to an input that is smoothed here."""
        return self.product(self.smoothed(x, layer), *self.weights(layer))

    def smoothed(self, x: str, layer: nn.Linear) -> str:
        """Shift and scale the input of `layer` as its smoothing says."""
        how = self._smoothing.get(id(layer))
        if how is None:
            return x
        scaled = self.add("Mul", x, self.constant(1 / how.scale))
        return self.add("Sub", scaled, self.constant(how.shift / how.scale))

    def weights(self, layer: nn.Linear) -> tuple[Floats, Floats]:
        """Return weights (in, out) and bias that undo the smoothing of the layer's input."""
        weight, bias = array(layer.weight).T, array(layer.bias)
        how = self._smoothing.get(id(layer))
        if how is None:
            return weight, bias
        return weight * how.scale[:, None], bias + how.shift @ weight

    def attention_in(self, x: str, layer: Block) -> str:
        """Return query, key and value side by side, the value smoothed for the layer behind."""
        weight, bias = map(list, zip(*map(self.weights, layer.inputs), strict=True))
        how = self._smoothing.get(id(layer.mix))
        if how is not None:
            # Attention averages, so a shift and a scale of the value pass through it unchanged.
            weight[2], bias[2] = weight[2] / how.scale, (bias[2] - how.shift) / how.scale
        smooth = self.smoothed(x, layer.query)
        return self.product(smooth, np.concatenate(weight, axis=1), np.concatenate(bias))

    def norm(self, x: str, layer: nn.LayerNorm) -> str:
        """Apply a layer norm."""
        gain, shift = self.constant(array(layer.weight)), self.constant(array(layer.bias))
        return self.add("LayerNormalization", x, gain, shift, axis=-1, epsilon=layer.eps)

    def block(self, x: str, layer: Block, bias: str = "") -> str:
        """Apply one transformer layer under an additive attention bias (1, heads, n, n)."""
        packed = self.attention_in(x, layer)
        names = [self.fresh(part) for part in "qkv"]
        self.nodes.append(helper.make_node("Split", [packed], names, axis=-1, num_outputs=3))
        optional = ["", "", bias] if bias else []
        mixed = self.add(
            "MultiHeadAttention", *names, *optional, domain="com.microsoft", num_heads=layer.heads
        )
        mixed = self.product(mixed, *self.weights(layer.mix))
        x = self.norm(self.add("Add", x, mixed), layer.mix_norm)
        raised = self.add("Gelu", self.linear(x, layer.rise), domain="com.microsoft")
        return self.norm(self.add("Add", x, self.linear(raised, layer.fall)), layer.fall_norm)

    def unit(self, x: str) -> str:
        """Scale the last axis to unit length."""
        length = self.add("ReduceL2", x, self.constant([-1], np.int64), keepdims=1)
        return self.add("Div", x, self.add("Max", length, self.constant(1e-12)))

    def mean(self, x: str) -> str:
        """Average over axis 1."""
        return self.add("ReduceMean", x, self.constant([1], np.int64), keepdims=0)

    def total(self, x: str, axis: int) -> str:
        """Sum over one axis."""
        return self.add("ReduceSum", x, self.constant([axis], np.int64), keepdims=0)

    def save(self, inputs: dict[str, Any], outputs: dict[str, str]) -> bytes:
        """Return the serialised model; `outputs` maps public names to results."""
        for public, result in outputs.items():
            self.nodes.append(helper.make_node("Identity", [result], [public]))
        graph = helper.make_graph(
            self.nodes,
            "stepwell",
            [helper.make_tensor_value_info(name, *what) for name, what in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            self.constants,
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        return bytes(model.SerializeToString())


def array(tensor: Any) -> NDArray[np.float32]:
    """Return a parameter as a float32 array."""
    values: NDArray[np.float32] = tensor.detach().float().numpy()
    return values
