"""A data set: questions, and the documents that were judged to answer them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import file_digest, sha256
from pathlib import Path

from stepwell.errors import InputError
from stepwell.evaluate.judged import Qrels, read_qrels
from stepwell.ingest.beir import corpus_file, queries_file, read_beir, read_queries
from stepwell.ingest.reading import Reading


@dataclass(frozen=True, slots=True)
class Documents:
    """The documents of a data set, which may be more than fit in memory.

    Attributes:
        read: Reads them, as a stream that can be gone through again.
        key: Calls for reading them through once; the same for the same documents.
    """

    read: Callable[[], Reading]
    key: Callable[[], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Judged questions.

    Attributes:
        name: Name of the folder, or of the set in `ir_datasets`.
        queries: Text by id, in the file's order; each has a judged document.
        qrels: Grades by query and document, of these queries.
        left_out: Queries that have no judged document in this split.
        no_relevant: Queries left out because no judged document of theirs is relevant.
        unasked: Judged queries that are in the judgements only, without a text.
        documents: What is searched; None where only the questions are known.
    """

    name: str
    queries: dict[str, str]
    qrels: Qrels
    left_out: int = 0
    no_relevant: int = 0
    unasked: int = 0
    documents: Documents | None = None

    @classmethod
    def load(cls, path: Path | str, *, split: str = "test") -> Dataset:
        """Read the queries and one split's judgements of a folder in the BEIR layout.

        Raises:
            InputError: A file is missing or faulty, or there is no such split.
        """
        folder = Path(path)
        file = queries_file(folder)
        if not folder.is_dir() or file is None:
            raise InputError(
                f"{folder} is no data set: it needs corpus.jsonl, queries.jsonl (or .gz) and qrels/"
            )
        judgements = folder / "qrels" / f"{split}.tsv"
        if not judgements.is_file():
            raise InputError(
                f"{folder} has no split {split!r}; there are {', '.join(splits(folder)) or 'none'}"
            )
        return cls.of(
            folder.resolve().name,
            read_queries(file),
            read_qrels(judgements),
            where=f"{judgements} judges none of the queries in {file}",
            documents=Documents(lambda: read_beir(folder), lambda: _content(folder)),
        )

    @classmethod
    def of(
        cls,
        name: str,
        queries: dict[str, str],
        qrels: Qrels,
        *,
        where: str = "",
        documents: Documents | None = None,
    ) -> Dataset:
        """Make a data set of queries and judgements that need not fit.

        Args:
            name: What reports call it.
            queries: Text by id.
            qrels: Grades by query and document.
            where: What the error says when nothing fits.
            documents: What is searched.

        Raises:
            InputError: No query is judged.
        """
        judged = {id: text for id, text in queries.items() if id in qrels}
        if not judged:
            raise InputError(where or f"the judgements of {name} are of none of its queries")
        return cls(
            name=name,
            queries=judged,
            qrels={id: qrels[id] for id in judged},
            left_out=len(queries) - len(judged),
            unasked=len(qrels.keys() - queries.keys()),
            documents=documents,
        )

    def sample(self, n: int, *, seed: int = 0) -> Dataset:
        """This many of the queries, drawn at random, in the file's order; all if there are fewer.

        Raises:
            InputError: n is below 1.
        """
        if n < 1:
            raise InputError(f"the number of queries must be at least 1, not {n}")
        if n >= len(self.queries):
            return self
        drawn = set(random.Random(seed).sample(list(self.queries), n))
        return self._only(drawn)

    def answerable(self) -> Dataset:
        """The queries that have a relevant document: for any other, no answer is right.

        Raises:
            InputError: None has one.
        """
        kept = {id for id, grades in self.qrels.items() if any(g > 0 for g in grades.values())}
        if not kept:
            raise InputError(
                f"no query of {self.name} has a relevant document (a grade above 0): there is "
                "nothing to measure"
            )
        left = replace(self._only(kept), no_relevant=len(self.qrels) - len(kept))
        return self if len(kept) == len(self.qrels) else left

    def digest(self) -> str:
        """A hash of the questions and judgements."""
        content = json.dumps([self.queries, self.qrels], sort_keys=True)
        return sha256(content.encode("utf-8", "replace")).hexdigest()

    def _only(self, ids: set[str]) -> Dataset:
        queries = {id: text for id, text in self.queries.items() if id in ids}
        return replace(self, queries=queries, qrels={id: self.qrels[id] for id in queries})


def splits(path: Path | str) -> list[str]:
    """The names of a folder's splits."""
    return sorted(file.stem for file in (Path(path) / "qrels").glob("*.tsv"))


def _content(folder: Path) -> tuple[str, ...]:
    """The path and the hash of a folder's documents, read as a stream."""
    file = corpus_file(folder)
    if file is None:
        raise InputError(f"{folder} has no corpus.jsonl or corpus.jsonl.gz")
    try:
        with file.open("rb") as stream:
            return str(file.resolve()), file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}") from error
