"""Converts and quantises one cross-encoder: ``python -m stepwell.models.convert``, a job on stdin.

A process of its own, so that torch and a gigabyte of activations are gone when it ends, and what
its libraries print goes nowhere. Reports are lines of JSON on stdout; the last holds the facts.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from stepwell.errors import ConfigurationError, MissingExtraError, ModelError
from stepwell.models.batches import Engine, logits
from stepwell.models.calibrate import Pair, check, stock_pairs
from stepwell.models.engines import INPUTS, open_engine
from stepwell.models.pairs import Joiner, Row
from stepwell.models.source import NotConvertibleError, Source, joinable, load_source
from stepwell.models.torch_engine import TorchEngine

Report = Callable[[str, int, int], None]

PAIRS = 120
ENOUGH = 60
READ = 256
BACKENDS = ("openvino-int8", "openvino-fp32")
TIMED = 8
# The smaller file is kept unless the larger is clearly faster.
MARGIN = 1.1


def convert(
    name: str,
    folder: Path,
    /,
    *,
    revision: str | None = None,
    offline: bool = True,
    pairs: Sequence[Pair] | None = None,
    backends: Sequence[str] = BACKENDS,
    count: int = PAIRS,
    report: Report = lambda step, done, of: None,
) -> dict[str, Any]:
    """Put the fastest faithful form of a cross-encoder into `folder` and return the facts.

    Args:
        name: Path, or full name on the hub.
        folder: Empty.
        revision: Commit or tag.
        offline: Whether to load only what is there already.
        pairs: To quantise on and to check with; fewer than 60 are joined by pairs of Python's
            documentation.
        backends: In the order of promise; the first that passes the check is taken.
        count: Pairs of Python's documentation; a third of all pairs only serves to check.
        report: Told of each step, with how much of it is done.

    Raises:
        ConfigurationError: The model is no cross-encoder, or damaged.
    """
    report("loading", 0, 1)
    try:
        source = load_source(name, revision=revision, offline=offline)
        joiner = joinable(source)
    except NotConvertibleError as reason:
        return {"backend": "torch", "commit": "", "notes": [f"{reason}, which is not converted"]}
    used = list(pairs or ())
    if len(used) < ENOUGH:
        used += stock_pairs(count)
    held, sample = used[::3], [pair for at, pair in enumerate(used) if at % 3]
    held_rows, sample_rows = _rows(joiner, source, held), _rows(joiner, source, sample)
    report("reading the original", 0, 1)
    original = TorchEngine(source.model, device="cpu", pad=source.pad, limit=source.length)
    reference = logits(original, held_rows)
    source.tokenizer.save(str(folder / "tokenizer.json"))
    facts: dict[str, Any] = {
        "backend": "torch",
        "length": source.length,
        "pad": source.pad,
        "commit": source.commit,
        "notes": [],
        "versions": _versions(),
    }
    for backend in backends:
        try:
            _make(backend, source, folder, sample_rows, report)
            engine = open_engine(folder, {**facts, "backend": backend})
        except MissingExtraError as error:
            facts["notes"].append(f"{backend}: {error}")
            continue
        report("checking", 0, 1)
        verdict = check(reference, logits(engine, held_rows))
        if not verdict.passed:
            facts["notes"].append(f"{backend} does not rank as the original does: {verdict}")
            continue
        if backend == "openvino-int8" and _slower(engine, facts, folder, held_rows):
            # A CPU without the instructions; what is next is both faster and nearer.
            continue
        del engine
        facts |= {"backend": backend, "check": verdict.facts}
        _clear(folder, keep=backend)
        return facts
    facts["notes"].append("the original itself is used")
    return facts


def _slower(engine: Engine, facts: dict[str, Any], folder: Path, rows: Sequence[Row]) -> bool:
    """Return whether int8 is slower on this CPU than fp32, which was saved on the way to it."""
    whole = open_engine(folder, {**facts, "backend": "openvino-fp32"})
    facts["milliseconds"] = times = _race([engine, whole], rows)
    return times["openvino-fp32"] * MARGIN < times["openvino-int8"]


def _clear(folder: Path, *, keep: str) -> None:
    for path in folder.iterdir():
        if path.stem != keep and path.name != "tokenizer.json":
            path.unlink()


def _race(engines: Sequence[Engine], rows: Sequence[Row]) -> dict[str, float]:
    """Return the milliseconds a row, the best of several turns, for a sample of rows."""
    rows = sorted(rows, key=lambda row: len(row.ids))[:: max(len(rows) // TIMED, 1)]
    best = {engine.backend: float("inf") for engine in engines}
    for turn in range(4):
        for engine in engines:
            start = time.perf_counter()
            logits(engine, rows)
            taken = (time.perf_counter() - start) * 1000 / len(rows)
            if turn:
                best[engine.backend] = min(best[engine.backend], round(taken, 3))
    return best


def _rows(joiner: Joiner, source: Source, pairs: Sequence[Pair]) -> list[Row]:
    length = min(source.length, READ)
    return [
        row
        for query, passage in pairs
        for row in joiner.rows(joiner.query(query, length=length), [passage], length=length).rows
    ]


def _make(backend: str, source: Source, folder: Path, rows: Sequence[Row], report: Report) -> None:
    if backend == "openvino-int8":
        _quantise(source, folder / f"{backend}.xml", rows, report)
    elif backend == "openvino-fp32":
        _openvino(source, folder / f"{backend}.xml")
    else:
        report("exporting", 0, 1)
        _onnx(source, folder / f"{backend}.onnx", quantise=backend == "onnx-int8")


def _wrapped(source: Source) -> tuple[Any, dict[str, Any]]:
    """Return the model as a module of plain tensors, and an example of its inputs."""
    import torch

    names = INPUTS if source.takes_kinds else INPUTS[:2]

    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = source.model

        def forward(self, *tensors: Any) -> Any:
            return self.model(**dict(zip(names, tensors, strict=True))).logits

    # Two rows of unlike length: a trace of one row may take the mask for needless.
    mask = torch.ones(2, 24, dtype=torch.long)
    mask[1, 16:] = 0
    ids = torch.where(mask == 1, source.fast.cls_token_id or 1, source.pad)
    inputs = dict(zip(INPUTS, (ids, mask, torch.zeros_like(mask)), strict=True))
    return Plain().eval(), {name: inputs[name] for name in names}


def _openvino(source: Source, path: Path) -> Any:
    from stepwell.errors import import_extra

    openvino = import_extra("openvino", extra="openvino")
    plain, inputs = _wrapped(source)
    made = openvino.convert_model(plain, example_input=tuple(inputs.values()))
    for port, name in zip(made.inputs, inputs, strict=True):
        port.get_tensor().set_names({name})
        port.get_node().set_partial_shape(openvino.PartialShape([-1, -1]))
    made.validate_nodes_and_infer_types()
    openvino.save_model(made, path, compress_to_fp16=False)
    return made


def _quantise(source: Source, path: Path, rows: Sequence[Row], report: Report) -> None:
    from stepwell.errors import import_extra

    # Its statistics of use are for its own project; a library must not send any unasked.
    os.environ.setdefault("NNCF_CI", "1")
    openvino = import_extra("openvino", extra="openvino")
    nncf = import_extra("nncf", extra="openvino")
    whole = path.with_name("openvino-fp32.xml")
    model = _openvino(source, whole)
    names = [next(iter(port.names)) for port in model.inputs]
    # Smoothing is worked out in a first reading of the sample, ranges in a second.
    seen = iter(range(2 * len(rows)))

    def inputs(row: Row) -> dict[str, Any]:
        report("quantising", next(seen, 2 * len(rows)), 2 * len(rows))
        parts = (row.ids[None], row.ids[None] * 0 + 1, row.kinds[None])
        return {k: v for k, v in zip(INPUTS, parts, strict=True) if k in names}

    made = nncf.quantize(
        model,
        nncf.Dataset(list(rows), inputs),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(rows),
    )
    openvino.save_model(made, path, compress_to_fp16=False)


def _onnx(source: Source, path: Path, *, quantise: bool) -> None:
    import torch

    from stepwell.errors import import_extra

    import_extra("onnx", extra="openvino")
    plain, inputs = _wrapped(source)
    target = path.with_name("whole.onnx") if quantise else path
    torch.onnx.export(
        plain,
        tuple(inputs.values()),
        str(target),
        input_names=list(inputs),
        output_names=["logits"],
        dynamic_axes={name: {0: "rows", 1: "tokens"} for name in inputs},
        opset_version=17,
        # The new exporter needs one more package, for graphs that are no faster.
        dynamo=False,
    )
    if quantise:
        from onnxruntime.quantization import quantize_dynamic

        quantize_dynamic(str(target), str(path))
        target.unlink()


def _versions() -> dict[str, str]:
    found = {}
    for package in ("openvino", "nncf", "onnxruntime", "transformers", "torch"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _say(channel: Any, message: dict[str, Any]) -> None:
    channel.write(json.dumps(message) + "\n")
    channel.flush()


def main() -> None:
    """Read a job from stdin, do it, and report on what stdout was."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    job = json.loads(sys.stdin.read())
    folder = Path(job.pop("folder"))

    def report(step: str, done: int, of: int) -> None:
        _say(channel, {"step": step, "done": done, "of": of})

    try:
        make = partial(convert, job.pop("name"), folder, report=report)
        _say(channel, {"facts": make(**job)})
    except (ConfigurationError, ModelError) as error:
        _say(channel, {"error": str(error)})


if __name__ == "__main__":
    main()
