"""`RayEncoder`: an encoder whose passages are encoded ahead, on all machines of a cluster."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stepwell.candidates import check_k
from stepwell.corpus.writing import content_hash
from stepwell.documents import Document, well_formed
from stepwell.errors import ConfigurationError, StepwellError
from stepwell.models.loading import EMBEDDED, EncoderSpec, load_encoder
from stepwell.models.protocols import Kind, Vectors
from stepwell.ray.cluster import connect, failed

if TYPE_CHECKING:
    from stepwell.ray.pipeline import Pool

Block = Mapping[bytes, NDArray[np.float32]]

LOOK_AHEAD = 4
"""Blocks without one of the texts that are asked for, after which they are not expected."""
_COMPARED = 1024


class Held(Protocol):
    """A corpus, as far as it is asked here."""

    def __len__(self) -> int: ...

    def get_many(self, ids: Sequence[str], /) -> list[Document | None]:
        """The documents with these ids."""


class RayEncoder:
    """The same vectors as the encoder that it stands for, made by workers on a Ray cluster.

    A corpus that is opened with it records the inner encoder and is opened with that one later.
    `ahead` begins to encode documents on the cluster; whoever writes them then finds their vectors
    done. A text that was not sent ahead, and a query, is encoded here.

    Args:
        model: As in `Corpus.open`; each worker loads it. One's own must be importable there.
        address: "host:port" of a cluster that this machine belongs to, "auto" or "local"; see
            `docs/ray.md`.
        workers: How many hold the encoder at most; None for as many as the cluster has room for.
        cpus: Cores that a worker reserves.
        gpus: GPUs that a worker reserves.
        batch: Texts that a worker encodes at once.

    Raises:
        ConfigurationError: An unknown encoder, or a number that is none.
        RemoteError: No cluster answers.
        MissingExtraError: Ray is not installed.
    """

    def __init__(
        self,
        model: EncoderSpec = EMBEDDED,
        *,
        address: str | None = None,
        workers: int | None = None,
        cpus: float = 1.0,
        gpus: float = 0.0,
        batch: int = 256,
    ) -> None:
        for what, value in (("cpus", cpus), ("gpus", gpus)):
            if type(value) not in (int, float) or value < 0:
                raise ConfigurationError(f"{what} must be a number, 0 or more, not {value!r}")
        self.model = model
        self._own = load_encoder(model)
        self._asked = (check_k(workers, what="workers"), cpus, gpus, check_k(batch, what="batch"))
        self._ray = connect(address)
        self._lock = threading.Lock()
        self._coming: Iterator[Block] = iter(())
        self._recent: deque[Block] = deque(maxlen=2 * LOOK_AHEAD)
        self._passed: set[bytes] = set()

    def __repr__(self) -> str:
        return f"RayEncoder({self.name!r})"

    def __reduce__(self) -> tuple[object, ...]:
        # Elsewhere nothing is on its way: there it is the encoder that it stands for.
        return load_encoder, (self.model,)

    def __copy__(self) -> RayEncoder:
        return self

    def __deepcopy__(self, _: dict[int, Any]) -> RayEncoder:
        return self

    @property
    def name(self) -> str:
        """The inner encoder's."""
        return self._own.name

    @property
    def dimension(self) -> int:
        """The inner encoder's."""
        return self._own.dimension

    @contextmanager
    def ahead(self, documents: Iterable[Document], corpus: Held | None = None) -> Iterator[None]:
        """Have documents encoded on the cluster while they are written, in their order.

        Args:
            documents: A list, or what can be gone through more than once and be pickled.
            corpus: Which holds some of them already; those are left out.

        Raises:
            ConfigurationError: They can be gone through only once.
        """
        if iter(documents) is documents:
            raise ConfigurationError("documents must be a list: they are gone through twice")
        from stepwell.ray.pipeline import vectors

        wanted = None if corpus is None or not len(corpus) else _lacking(documents, corpus)
        if wanted is not None and not wanted.any():
            yield
            return
        self._coming = stream = vectors(
            documents, wanted, encoder=self.model, name=self.name, pool=self._pool()
        )
        try:
            yield
        finally:
            self._coming = iter(())
            self._recent.clear()
            self._passed.clear()
            stream.close()  # type: ignore[attr-defined]  # a generator, which ends its workers

    def encode(self, texts: Sequence[str], /, *, kind: Kind = "passage") -> Vectors:
        """Return the vectors, (n, d) float32, waiting for those that are on their way.

        Raises:
            RemoteError: The cluster or a worker failed for good.
        """
        if kind == "query" or not len(texts):
            return self._own.encode(texts, kind=kind)
        hashes = [content_hash(well_formed(text)) for text in texts]
        with self._lock:
            found = self._arrived(set(hashes))
        here = {hash: text for hash, text in zip(hashes, texts) if hash not in found}
        if here:
            made = np.asarray(self._own.encode(list(here.values()), kind="passage"), np.float32)
            found |= dict(zip(here, made))
        return np.stack([found[hash] for hash in hashes])

    def _arrived(self, asked: set[bytes]) -> dict[bytes, NDArray[np.float32]]:
        found: dict[bytes, NDArray[np.float32]] = {}
        for kept in self._recent:
            found |= {hash: kept[hash] for hash in asked if hash in kept}
        awaited = asked - found.keys() - self._passed  # each comes once
        in_vain = 0
        while awaited and in_vain < LOOK_AHEAD:
            block = self._next()
            if block is None:
                break
            new = {hash: block[hash] for hash in awaited if hash in block}
            in_vain = 0 if new else in_vain + 1
            awaited -= new.keys()
            found |= new
        return found

    def _next(self) -> Block | None:
        try:
            block = next(self._coming, None)
        except StepwellError:
            raise
        except Exception as error:
            raise failed(error, "encoding") from error
        if block is not None:
            self._recent.append(block)
            self._passed.update(block)
        return block

    def _pool(self) -> Pool:
        from stepwell.ray.pipeline import Pool

        workers, cpus, gpus, batch = self._asked
        there = self._ray.cluster_resources()
        room = [there.get("CPU", 0.0) / cpus] if cpus else []
        room += [there.get("GPU", 0.0) / gpus] if gpus else []
        most = workers or max(int(min(room, default=1)), 1)
        return Pool(most=most, cpus=cpus, gpus=gpus, batch=batch or 1)


def _lacking(documents: Iterable[Document], corpus: Held) -> NDArray[np.bool_]:
    """Which documents the corpus does not hold with the text that they have now."""
    parts: list[list[bool]] = []
    rest = iter(documents)
    while some := list(islice(rest, _COMPARED)):
        held = corpus.get_many([each.id for each in some])
        parts.append([old is None or old.text != new.text for new, old in zip(some, held)])
    return np.array([each for part in parts for each in part], dtype=np.bool_)
