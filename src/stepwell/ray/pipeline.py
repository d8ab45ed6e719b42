"""Ray Data: texts read on this machine, encoded on any, and back in the order of the source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray
from ray.data import ActorPoolStrategy, DataContext, Dataset, Datasource, ReadTask
from ray.data import read_datasource as read
from ray.data.block import BlockMetadata

from stepwell.corpus.writing import text_hash
from stepwell.documents import Document
from stepwell.errors import ConfigurationError, RemoteError, StepwellError
from stepwell.models.loading import EncoderSpec, load_encoder

BLOCK_BYTES = 2**18
"""Of texts, some hundred passages: what a worker takes at once, and loses when it dies."""
ROWS = 256


@dataclass(frozen=True, slots=True)
class Pool:
    """The workers that hold the encoder.

    Attributes:
        most: How many at most; one is enough to begin.
        cpus: That each one reserves.
        gpus: That each one reserves.
        batch: Texts that it encodes at once.
    """

    most: int
    cpus: float
    gpus: float
    batch: int


def vectors(
    documents: Iterable[Document],
    wanted: NDArray[np.bool_] | None,
    *,
    encoder: EncoderSpec,
    name: str,
    pool: Pool,
) -> Iterator[Mapping[bytes, NDArray[np.float32]]]:
    """Encode texts on the cluster, each once; by content hash, in the order of the documents.

    Nothing is read far ahead of what is taken: Ray Data holds its workers back. A worker that dies
    is replaced, and what it had is read and encoded again.

    Args:
        documents: Gone through again by a process of this machine.
        wanted: Which of them; None for all.
        encoder: Loaded by each worker.
        name: The name that it must have there.
        pool: The workers.
    """
    context = DataContext.get_current().copy()
    context.target_max_block_size = BLOCK_BYTES
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    with DataContext.current(context):
        made = _dataset(documents, wanted, encoder=encoder, name=name, pool=pool)
    block: Any
    for block in made.iter_batches(batch_size=None, batch_format="pyarrow"):
        if block.num_rows:
            _check(block, name)
            yield dict(zip(block["hash"].to_pylist(), _matrix(block["vector"])))


def _dataset(
    documents: Iterable[Document],
    wanted: NDArray[np.bool_] | None,
    *,
    encoder: EncoderSpec,
    name: str,
    pool: Pool,
) -> Dataset:
    # Where the source is: it may be files of this machine.
    here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
    source = _Source(partial(_blocks, ray.put(documents), wanted))
    texts: Dataset = read(source, override_num_blocks=1, num_cpus=0, label_selector=here)
    made: Dataset = texts.map_batches(
        _Encode,
        fn_constructor_args=(encoder, name),
        # A short line before each: whoever dies or is slow holds little.
        compute=ActorPoolStrategy(
            min_size=1, max_size=pool.most, initial_size=pool.most, max_tasks_in_flight_per_actor=2
        ),
        batch_size=pool.batch,
        batch_format="pyarrow",
        num_cpus=pool.cpus,
        num_gpus=pool.gpus or None,
    )
    return made


class _Source(Datasource):
    """One task that yields blocks: they leave it in order, as they are asked for."""

    def __init__(self, blocks: Callable[[], Iterator[pa.Table]]) -> None:
        self._blocks = blocks

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(self, *_: Any, **__: Any) -> list[ReadTask]:
        unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(self._blocks, unknown)]


def _blocks(documents: Any, wanted: NDArray[np.bool_] | None) -> Iterator[pa.Table]:
    hashes: list[bytes] = []
    texts: list[bytes] = []
    sent: set[bytes] = set()
    for at, document in enumerate(ray.get(documents)):
        if wanted is not None and not (at < len(wanted) and wanted[at]):
            continue
        text = document.text.encode("utf-8", "replace")
        if (hash := text_hash(text)) in sent:
            continue
        sent.add(hash)
        hashes.append(hash)
        texts.append(text)
        if len(texts) == ROWS:
            yield _texts(hashes, texts)
            hashes, texts = [], []
    yield _texts(hashes, texts)


def _texts(hashes: list[bytes], texts: list[bytes]) -> pa.Table:
    return pa.table({"hash": pa.array(hashes, pa.binary(16)), "text": pa.array(texts, pa.binary())})


class _Encode:
    """A worker: it loads the encoder once, when the first texts come."""

    def __init__(self, encoder: EncoderSpec, name: str) -> None:
        self._encoder = load_encoder(encoder)
        self._name = name

    def __call__(self, batch: pa.Table) -> pa.Table:
        texts = [str(text, "utf-8") for text in batch["text"].to_pylist()]
        size, fault = self._encoder.dimension, ""
        made = np.zeros((len(texts), size), np.float32)
        try:
            if texts and self._encoder.name == self._name:
                made[:] = self._encoder.encode(texts, kind="passage")
        except StepwellError as error:
            fault = str(error)
        except Exception as error:
            # Not raised: Ray would write it into its logs, whatever it quotes.
            fault = type(error).__name__
        rows = pa.FixedSizeListArray.from_arrays(pa.array(made.ravel()), size)
        said = {"encoder": [self._encoder.name] * len(texts), "fault": [fault] * len(texts)}
        columns = {name: pa.array(each, pa.string()) for name, each in said.items()}
        return pa.table({"hash": batch["hash"], "vector": rows, **columns})


def _check(block: Any, name: str) -> None:
    for fault in set(block["fault"].to_pylist()) - {""}:
        raise RemoteError(f"the encoder of a worker failed ({fault})", api="ray")
    for other in set(block["encoder"].to_pylist()) - {name}:
        raise ConfigurationError(
            f"a worker's encoder is {other!r} and not {name!r}; install the same version of "
            "stepwell and the same model on every machine of the cluster"
        )


def _matrix(column: pa.ChunkedArray) -> NDArray[np.float32]:
    whole = column.combine_chunks()
    flat: NDArray[np.float32] = whole.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(column), -1)
