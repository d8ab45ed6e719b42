"""The packaged models in memory: one shared trunk, two heads, run by ONNX Runtime.

Activations are quantised over one whole input of a graph. Every run therefore holds one text and
no padding: in a batch, a score would depend on its neighbours. Texts run side by side in threads.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from stepwell.errors import ConfigurationError
from stepwell.models.protocols import Vectors
from stepwell.models.registry import Handle, ModelKey
from stepwell.models.texts import load_tokenizer
from stepwell.recent import Recent
from stepwell.threads import cores

T = TypeVar("T")
R = TypeVar("R")

STATE_BYTES = 64 * 2**20
VECTOR_BYTES = 2 * 2**20


def weights_folder() -> Path:
    """Return the folder of the packaged weights."""
    return Path(str(resources.files("stepwell.models"))) / "weights"


@cache
def manifest() -> dict[str, Any]:
    """Return what is packaged: revisions, sizes, checksums.

    Raises:
        ConfigurationError: The weights are not there, as in a checkout without them.
    """
    return _read_manifest(weights_folder() / "manifest.json")


def tuned_revision(folder: Path, /) -> str:
    """Return the revision of a ranker that was tuned over the packaged trunk.

    Raises:
        ConfigurationError: There is none, or the trunk is another one by now.
    """
    found = _read_manifest(folder / "manifest.json")
    if found.get("over") != manifest()["sha256"]["trunk.onnx"]:
        raise ConfigurationError(
            f"the ranker in {folder} was tuned over another version of the embedded models; "
            "run `stepwell finetune` again"
        )
    return str(found["revision"]["scorer"])


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        message = f"the embedded weights are missing at {path.parent}; reinstall stepwell"
        raise ConfigurationError(message) from error
    return loaded


def side_by_side(work: Callable[[T], R], items: list[T], /) -> Iterator[R]:
    """Yield ``work(item)`` for each item, in order, on as many threads as there are cores."""
    threads = min(cores(), len(items))
    if threads < 2:
        yield from map(work, items)
        return
    # A pool a call: threads kept between calls would be missing after a fork.
    with ThreadPoolExecutor(threads, thread_name_prefix="stepwell-model") as pool:
        yield from pool.map(work, items)


class Embedded:
    """Tokenizer and graphs; made by the registry, shared by the encoder and the scorer."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = load_tokenizer(folder / "tokenizer.json")
        self._folder = folder
        self._sessions: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._states: Recent[NDArray[np.float16]] = Recent(STATE_BYTES, lambda kept: kept.nbytes)
        self.vectors: Recent[Vectors] = Recent(VECTOR_BYTES, lambda kept: kept.nbytes)

    def run(self, graph: str, /, **inputs: Any) -> list[Any]:
        """Return the outputs of one graph."""
        outputs: list[Any] = self._session(graph).run(None, inputs)
        return outputs

    def states(self, ids: Iterable[int], /, *, keep: bool = False) -> NDArray[np.float16]:
        """Return the trunk's float16 states (1, n, d); those to `keep` are made once."""
        key = np.fromiter(ids, dtype=np.int64)

        def make() -> NDArray[np.float16]:
            # Rounded always, so that a kept state scores as a fresh one does.
            made: NDArray[np.float16] = self.run("trunk", ids=key[None])[0].astype(np.float16)
            return made

        return self._states.get(key.astype(np.int32).tobytes(), make) if keep else make()

    def _session(self, graph: str) -> Any:
        with self._lock:
            if graph not in self._sessions:
                self._sessions[graph] = _open(self._folder / f"{graph}.onnx")
            return self._sessions[graph]


def _open(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # The arena would keep the largest text's memory for ever, once a thread.
    options.enable_cpu_mem_arena = False
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _load() -> Embedded:
    return Embedded(weights_folder())


def embedded() -> Handle[Embedded]:
    """Return the handle of the packaged models."""
    return Handle(ModelKey("stepwell-embedded", precision="int8", task="all"), _load)
