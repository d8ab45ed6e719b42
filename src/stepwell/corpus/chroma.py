"""Vectors searched by Chroma, in this process or on its server: nearly the same, for many more.

Chroma holds a copy of the vectors under their row numbers and names those near a query; their
scores come from the vector file, so that they are the same as without Chroma. A process that reads
while another one writes does not see in an embedded Chroma what was added since it opened it:
those rows are searched exactly beside it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from stepwell.corpus.record import Rows
from stepwell.errors import CorpusError, StepwellError, import_extra

_GRAPH = {"space": "cosine", "ef_construction": 200, "ef_search": 200, "max_neighbors": 32}
# Chroma looks as wide as it is asked for: more than is wanted makes what is wanted surer.
_WIDER, _LEAST = 3, 200
_PART = 1000

T = TypeVar("T")


class ChromaIndex:
    """One collection of Chroma, which holds the vectors of one space.

    Args:
        kind: "chroma" or the URL of a server.
        folder: Where an embedded one keeps its files.
        token: What tells its collection from others on the same server.

    Raises:
        CorpusError: It cannot be reached, or its files are damaged.
        MissingExtraError: chromadb is not installed.
    """

    def __init__(self, kind: str, *, folder: Path, token: str) -> None:
        self.embedded = kind == "chroma"
        self.folder = folder
        self.token = token
        self._what, self._remedy = _described(kind)
        self._client = self._asked(lambda: _client(kind, folder))
        self._collection = self._asked(
            lambda: self._client.get_or_create_collection(
                f"stepwell-{token}", configuration={"hnsw": _GRAPH}, embedding_function=None
            )
        )
        self.seen = self._last()

    def __len__(self) -> int:
        return int(self._asked(self._collection.count))

    def rows(self) -> Rows:
        """(n,) int64 ascending: what the collection holds."""
        ids = self._asked(lambda: self._collection.get(include=[])["ids"])
        return np.sort(np.array([int(id) for id in ids], np.int64))

    def add(self, rows: Iterable[int], vectors: NDArray[np.float16]) -> None:
        """Keep vectors (n, d) under these rows."""
        ids = [str(row) for row in rows]
        for start in range(0, len(ids), _PART):
            part = slice(start, start + _PART)
            keep = partial(self._collection.upsert, ids[part], vectors[part].astype(np.float32))
            self._asked(keep)
        if ids and self.embedded:
            self.seen = max(self.seen, int(ids[-1]))

    def remove(self, rows: Iterable[int]) -> None:
        """Forget rows; one that the collection does not hold is no error."""
        ids = [str(row) for row in rows]
        for start in range(0, len(ids), _PART):
            self._asked(partial(self._collection.delete, ids[start : start + _PART]))

    def near(self, vector: NDArray[np.float32], k: int) -> Rows:
        """Rows near a vector, in no order: at least k where there are so many."""
        wide = min(max(k * _WIDER, _LEAST), len(self))
        if not wide:
            return np.empty(0, np.int64)
        found = self._asked(
            lambda: self._collection.query(query_embeddings=[vector], n_results=wide, include=[])
        )
        return np.array([int(id) for id in found["ids"][0]], np.int64)

    def drop(self) -> None:
        """Delete the collection and, of an embedded one, its files; it cannot be used again."""
        self._asked(lambda: self._client.delete_collection(f"stepwell-{self.token}"))
        self.close()
        if self.embedded:
            shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """Let go of files and connections."""
        self._client.close()

    def _last(self) -> int:
        """The last row that this process' Chroma is sure to find."""
        if not self.embedded:
            return 2**62
        rows = self.rows()
        return int(rows[-1]) if len(rows) else 0

    def _asked(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except StepwellError:
            raise
        except Exception as error:  # Chroma raises many kinds, its client's transport others
            raise CorpusError(
                f"{self._what} does not answer ({type(error).__name__}: {error}); {self._remedy}"
            ) from error


def _described(kind: str) -> tuple[str, str]:
    """What an error calls it, and the remedy."""
    if kind == "chroma":
        return "the embedded Chroma", "open the corpus once more to have it rebuilt"
    return f"the Chroma server at {kind}", "start it, or see to the network, and try again"


def _client(kind: str, folder: Path) -> Any:
    chromadb = import_extra("chromadb", extra="chroma")
    config = import_extra("chromadb.config", extra="chroma")
    settings = config.Settings(anonymized_telemetry=False)
    if kind == "chroma":
        return chromadb.PersistentClient(str(folder), settings=settings)
    url = urlsplit(kind)
    secure = url.scheme == "https"
    return chromadb.HttpClient(
        url.hostname, port=url.port or (443 if secure else 8000), ssl=secure, settings=settings
    )
