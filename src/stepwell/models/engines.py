"""What runs a converted cross-encoder with no torch: OpenVINO, or ONNX Runtime."""

from __future__ import annotations

import queue
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stepwell.errors import import_extra
from stepwell.models.batches import Engine
from stepwell.models.pairs import Ids
from stepwell.models.protocols import Vectors
from stepwell.threads import cores

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class OpenVinoEngine:
    """One stream a core, each with one thread, so that a score is the same on any machine load.

    Activations were quantised once, from a sample, so rows may share a batch.
    """

    parallel = True
    step = 16
    # Twice as much a batch is 2 % less work, but the cores finish further apart.
    budget = 512

    def __init__(self, path: Path, /, *, backend: str, pad: int, limit: int) -> None:
        """Compile the model at `path` for this CPU."""
        openvino = import_extra("openvino", extra="openvino")
        self.backend, self.pad, self.limit = backend, pad, limit
        count = cores()
        settings = {
            "NUM_STREAMS": str(count),
            "INFERENCE_NUM_THREADS": count,
            # What was checked against the original is what runs, also where bfloat16 would be
            # faster.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        compiled = openvino.Core().compile_model(path, "CPU", settings)
        self._names = {name for port in compiled.inputs for name in port.names}
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(count):
            self._free.put(compiled.create_infer_request())

    def run(self, ids: Ids, mask: Ids, kinds: Ids, /) -> Vectors:
        """Return one logit a row."""
        inputs = dict(zip(INPUTS, (ids, mask, kinds), strict=True))
        request = self._free.get()
        try:
            made = request.infer({k: v for k, v in inputs.items() if k in self._names})
            return np.array(made[0], dtype=np.float32).reshape(-1)
        finally:
            self._free.put(request)


class OnnxEngine:
    """One row a run and no padding: int8 ranges are taken from all that is run together."""

    parallel = True
    step = 1
    budget = 1

    def __init__(self, path: Path, /, *, backend: str, pad: int, limit: int) -> None:
        """Open the graph at `path`."""
        import onnxruntime

        self.backend, self.pad, self.limit = backend, pad, limit
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self._names = {port.name for port in self._session.get_inputs()}

    def run(self, ids: Ids, mask: Ids, kinds: Ids, /) -> Vectors:
        """Return one logit a row."""
        inputs = dict(zip(INPUTS, (ids, mask, kinds), strict=True))
        made = self._session.run(None, {k: v for k, v in inputs.items() if k in self._names})
        return np.array(made[0], dtype=np.float32).reshape(-1)


def open_engine(folder: Path, facts: Mapping[str, Any], /) -> Engine:
    """Return the engine of a converted model.

    Raises:
        MissingExtraError: The runtime it was converted for is not installed.
    """
    backend: str = facts["backend"]
    options = {"backend": backend, "pad": facts["pad"], "limit": facts["length"]}
    if backend.startswith("openvino"):
        return OpenVinoEngine(folder / f"{backend}.xml", **options)
    return OnnxEngine(folder / f"{backend}.onnx", **options)
