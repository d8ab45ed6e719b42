"""A corpus made from an exported file: whole, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepwell.corpus.corpus import Corpus
from stepwell.corpus.exporting import Exported, Progress
from stepwell.corpus.opening import check_outside
from stepwell.corpus.placing import Fresh, Placer, Text
from stepwell.corpus.record import keep
from stepwell.corpus.refusals import disk
from stepwell.corpus.store import Store
from stepwell.corpus.writing import content_hash, locked
from stepwell.documents import Document
from stepwell.errors import CorpusError
from stepwell.models.loading import EncoderSpec
from stepwell.models.protocols import Kind, Vectors


def import_corpus(
    file: str | Path,
    to: str | Path,
    *,
    encoder: EncoderSpec = None,
    without_vectors: bool = False,
    vectors: str | None = None,
    progress: Progress | None = None,
) -> int:
    """Make a corpus from a file that `export` wrote.

    It is made beside its place and moved there when it is whole and agrees with itself; what a kill
    left behind is removed by the next call.

    Args:
        file: The file.
        to: Where the corpus shall be; there must be nothing. Folders above it are made.
        encoder: Makes vectors anew; None takes those of the file, where it has any.
        without_vectors: Whether those of the file are left out.
        vectors: How they are searched, as in `Corpus.open`.
        progress: Called with the number of documents imported so far.

    Returns:
        How many documents were imported.

    Raises:
        InputError: The file is no whole export of this version, or the place lies in a corpus.
        CorpusError: There is something in that place, or the disk is full.
    """
    exported, to = Exported(Path(file)), Path(to)
    if without_vectors:
        exported.encoder = None
    check_outside(to)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise CorpusError(f"there is something at {str(to)!r} already; name a new folder")
    beside = to.with_name(to.name + ".part")
    with disk(beside.parent):
        beside.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(beside, ignore_errors=True)
    try:
        done = _filled(exported, beside, encoder, vectors, progress)
        with disk(to.parent):
            if to.exists():
                to.rmdir()
            beside.rename(to)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return done


def _filled(
    exported: Exported,
    folder: Path,
    encoder: EncoderSpec,
    vectors: str | None,
    progress: Progress | None,
) -> int:
    kept = _Kept(*exported.encoder) if exported.encoder and encoder is None else None
    with Corpus.open(
        folder, encoder=encoder or kept, analyzer=exported.analyzer, vectors=vectors
    ) as corpus:
        given = None if kept is None else _Given(corpus._store, kept, space=1)

        def documents() -> Iterator[Document]:
            for document, vector in exported:
                if given is not None:
                    given.give(document, vector)
                yield document

        done = corpus._put(documents(), progress, replace=False, placer=given)
        if given is not None and given.lacking:
            with locked(folder, timeout=1), corpus._store.record.writing() as connection:
                keep(connection, unplaced=1)
        return done


class _Kept:
    """An encoder of which nothing is known but the name; its vectors are given."""

    def __init__(self, name: str, dimension: int) -> None:
        self.name = name
        self.dimension = dimension

    def encode(self, texts: Sequence[str], /, *, kind: Kind = "passage") -> Vectors:
        """Not asked: see `_Given`."""
        raise NotImplementedError(f"{self.name!r} is not at hand to encode {len(texts)} texts")


class _Given(Placer):
    """Takes vectors as they are, unrounded, instead of making them."""

    def __init__(self, store: Store, encoder: _Kept, *, space: int) -> None:
        super().__init__(store, encoder, space=space)
        self.lacking = False
        self._vectors: dict[bytes, NDArray[np.float16]] = {}

    def give(self, document: Document, vector: NDArray[Any] | None) -> None:
        """Keep the vector of a document that is written next."""
        if vector is None:
            self.lacking = True
        else:
            self._vectors[content_hash(document.text)] = vector

    def encoded(self, texts: Mapping[bytes, Text]) -> Fresh:
        """Those that were given."""
        with self._store.record.reading() as connection:
            new = [hash for hash in texts if self._slot(connection, hash) < 0]
        fresh = {hash: self._vectors[hash] for hash in new if hash in self._vectors}
        self._vectors.clear()
        return fresh
