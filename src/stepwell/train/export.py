"""Packages trunk and joint ranker: three int8 ONNX graphs, a tokenizer and a manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from onnx import TensorProto, helper
from safetensors.torch import save

from stepwell.models.runtime import manifest as packaged
from stepwell.train.graph import LIMIT, Graph, array
from stepwell.train.model import JointRanker, Trunk, trunk_folder
from stepwell.train.smooth import Smoothing, Watch
from stepwell.train.states import tokenizer

Smoothed: TypeAlias = dict[int, Smoothing]
STATES = (TensorProto.FLOAT, [1, "n", 384])


def trunk_graph(trunk: Trunk, smoothing: Smoothed, /) -> bytes:
    """Token ids (1, n) to the states (1, n, d) that the shared lower layers make of them."""
    g = Graph(smoothing)
    table = array(trunk.embeddings.word_embeddings.weight)
    # A row a word, so each row has its own scale; nothing multiplies here, so all eight bits.
    scale = np.maximum(np.abs(table).max(axis=1, keepdims=True), 1e-8) / 127
    rows = g.add("Gather", g.constant(np.round(table / scale), np.int8), "ids", axis=0)
    scales = g.add("Gather", g.constant(scale), "ids", axis=0)
    words = g.add("Mul", g.add("Cast", rows, to=TensorProto.FLOAT), scales)
    kind = array(trunk.embeddings.token_type_embeddings.weight)[0]
    places = g.constant(array(trunk.embeddings.position_embeddings.weight) + kind)
    count = g.add("Shape", "ids", start=1, end=2)
    place = g.add("Slice", places, g.constant([0], np.int64), count, g.constant([0], np.int64))
    x = g.norm(g.add("Add", words, place), trunk.embeddings.LayerNorm)
    for layer in trunk.lower:
        x = g.block(x, layer)
    return g.save({"ids": (TensorProto.INT64, [1, "n"])}, {"states": x})


def encoder_graph(trunk: Trunk, smoothing: Smoothed, /) -> bytes:
    """Lower states to token vectors (1, n, d) and the sentence vector (1, d), unit length."""
    g = Graph(smoothing)
    x = "states"
    for layer in trunk.upper:
        x = g.block(x, layer)
    outputs = {"tokens": g.unit(x), "vector": g.unit(g.mean(x))}
    return g.save({"states": STATES}, outputs)


def _open_gates(g: Graph, gates: Any, sizes: tuple[str, str]) -> str:
    ask, answer = array(gates)[:, None, :, None, None]
    heads = g.constant([1, ask.shape[1]], np.int64)
    n, m = sizes

    def tile(values: Any, rows: str, columns: str) -> str:
        return g.add("Expand", g.constant(values), g.add("Concat", heads, rows, columns, axis=0))

    shut = np.zeros_like(ask)
    top = g.add("Concat", tile(shut, n, n), tile(ask, n, m), axis=3)
    bottom = g.add("Concat", tile(answer, m, n), tile(shut, m, m), axis=3)
    return g.add("Concat", top, bottom, axis=2)


def joint_graph(ranker: JointRanker, smoothing: Smoothed, /) -> bytes:
    """Lower states of a query (1, n, d) and of a passage (1, m, d) to one score (1,)."""
    g = Graph(smoothing)
    sizes = (g.add("Shape", "query", start=1, end=2), g.add("Shape", "passage", start=1, end=2))
    x = g.add("Concat", "query", "passage", axis=1)
    for layer, gates in zip(ranker.blocks, ranker.gates, strict=True):
        x = g.block(x, layer, _open_gates(g, gates, sizes))
    names = [g.fresh("side"), g.fresh("side")]
    both = g.add("Concat", *sizes, axis=0)
    g.nodes.append(helper.make_node("Split", [x, both], names, axis=1))
    q, p = names
    close = g.add("MatMul", g.unit(q), g.add("Transpose", g.unit(p), perm=[0, 2, 1]))
    best = g.add("ReduceMax", close, g.constant([2], np.int64), keepdims=0)
    raw = g.add("MatMul", "query", g.constant(array(ranker.weigh.weight).T))
    weight = g.add("Softmax", g.add("Squeeze", raw, g.constant([2], np.int64)), axis=1)
    match = g.total(g.add("Mul", weight, best), 1)
    whole = g.total(g.add("Mul", g.unit(g.mean(q)), g.unit(g.mean(p))), 1)
    first = g.constant(0, np.int64)
    heads = g.add("Concat", *(g.add("Gather", s, first, axis=1) for s in (q, p)), axis=1)
    hidden = _dense(g, heads, ranker.read_in)
    # The plain form, so that a machine without the fused kernel gives the same digits.
    hidden = g.add("Gelu", hidden, domain="com.microsoft")
    read = g.add("Squeeze", _dense(g, hidden, ranker.read_out), g.constant([1], np.int64))
    scales = [g.constant(x) for x in array(ranker.scales)]
    score = g.add("Add", g.add("Mul", match, scales[0]), g.add("Mul", whole, scales[1]))
    inputs = {"query": STATES, "passage": (TensorProto.FLOAT, [1, "m", 384])}
    return g.save(inputs, {"score": g.add("Add", score, read)})


def _dense(g: Graph, x: str, layer: Any) -> str:
    """A linear layer in float32: too small to gain from int8."""
    product = g.add("MatMul", x, g.constant(array(layer.weight).T))
    return g.add("Add", product, g.constant(array(layer.bias)))


def calibrate(trunk: Trunk, ranker: JointRanker, pairs: Sequence[tuple[str, str]], /) -> Smoothed:
    """Return the smoothing of every layer, as a sample of questions and passages asks for it."""
    blocks = [*trunk.lower, *trunk.upper, *ranker.blocks]
    watch = Watch(layer for block in blocks for layer in block.linears)
    cut = tokenizer(256)
    with torch.inference_mode():
        for texts in pairs:
            ids = [torch.tensor([cut.encode(text).ids]) for text in texts]
            masks = [torch.ones(x.shape) for x in ids]
            query, passage = (trunk.states(x, m)[0] for x, m in zip(ids, masks, strict=True))
            ranker(query, masks[0], passage, masks[1])
    made = watch.finish()
    for block in blocks:
        # One input, so one smoothing for the three layers that read it.
        made[id(block.key)] = made[id(block.value)] = made[id(block.query)]
    return made


def package(
    trunk: Trunk,
    ranker: JointRanker,
    out: Path,
    /,
    *,
    pairs: Sequence[tuple[str, str]],
    **notes: Any,
) -> dict[str, Any]:
    """Write the packaged models to the folder `out` and return their manifest.

    Args:
        trunk: The frozen shared layers, and the bi-encoder's own upper ones.
        ranker: The trained joint layers.
        out: Folder for `trunk.onnx`, `encoder.onnx`, `joint.onnx`, the ranker's own weights,
            tokenizer and manifest.
        pairs: Questions and passages to calibrate on, a hundred or so.
        **notes: Further entries of the manifest, the seed and the data for instance.
    """
    out.mkdir(parents=True, exist_ok=True)
    smoothing = calibrate(trunk, ranker.eval(), pairs)
    files = {
        "trunk.onnx": trunk_graph(trunk, smoothing),
        "encoder.onnx": encoder_graph(trunk, smoothing),
        "joint.onnx": joint_graph(ranker, smoothing),
        "tokenizer.json": (trunk_folder() / "tokenizer.json").read_bytes(),
        "ranker.safetensors": _halved(ranker),
    }
    digest = _write(files, out)
    revision = {
        "encoder": _short(digest["trunk.onnx"] + digest["encoder.onnx"]),
        "scorer": _short(digest["trunk.onnx"] + digest["joint.onnx"]),
    }
    manifest: dict[str, Any] = {
        "format": 1,
        "trunk": "all-MiniLM-L6-v2",
        "dimension": 384,
        "positions": 512,
        "weight_bits": LIMIT.bit_length(),
        "revision": revision,
        "sha256": digest,
        **notes,
    }
    _write_manifest(manifest, out)
    return manifest


def package_ranker(
    trunk: Trunk,
    ranker: JointRanker,
    out: Path,
    /,
    *,
    pairs: Sequence[tuple[str, str]],
    **notes: Any,
) -> dict[str, Any]:
    """Write another ranker over the packaged trunk to the folder `out`; return its manifest."""
    out.mkdir(parents=True, exist_ok=True)
    files = {
        "joint.onnx": joint_graph(ranker, calibrate(trunk, ranker.eval(), pairs)),
        "ranker.safetensors": _halved(ranker),
    }
    digest = _write(files, out)
    below = packaged()["sha256"]["trunk.onnx"]
    manifest: dict[str, Any] = {
        "format": 1,
        "over": below,
        "revision": {"scorer": _short(below + digest["joint.onnx"])},
        "sha256": digest,
        **notes,
    }
    _write_manifest(manifest, out)
    return manifest


def _write(files: dict[str, bytes], out: Path) -> dict[str, str]:
    for name, content in files.items():
        (out / name).write_bytes(content)
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def _write_manifest(manifest: dict[str, Any], out: Path) -> None:
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def _halved(ranker: JointRanker) -> bytes:
    """The weights in half precision, to train on from; what runs is the graph."""
    state = {name: value.half().contiguous() for name, value in ranker.state_dict().items()}
    return bytes(save(state))


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
