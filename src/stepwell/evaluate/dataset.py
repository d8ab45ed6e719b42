"""A data set: questions, and the documents that were judged to answer them."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path

from stepwell.errors import InputError
from stepwell.evaluate.judged import Qrels, read_qrels
from stepwell.ingest.beir import queries_file, read_queries


@dataclass(frozen=True, slots=True)
class Dataset:
    """Judged questions.

    Attributes:
        name: Name of the folder.
        queries: Text by id, in the file's order; each has a judged document.
        qrels: Grades by query and document, of these queries.
        left_out: Queries in the folder that have no judged document in this split.
    """

    name: str
    queries: dict[str, str]
    qrels: Qrels
    left_out: int = 0

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
        queries, qrels = read_queries(file), read_qrels(judgements)
        judged = {id: text for id, text in queries.items() if id in qrels}
        if not judged:
            raise InputError(f"{judgements} judges none of the queries in {file}")
        return cls(
            name=folder.resolve().name,
            queries=judged,
            qrels={id: qrels[id] for id in judged},
            left_out=len(queries) - len(judged),
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
        kept = {id: text for id, text in self.queries.items() if id in drawn}
        return replace(self, queries=kept, qrels={id: self.qrels[id] for id in kept})


def splits(path: Path | str) -> list[str]:
    """The names of a folder's splits."""
    return sorted(file.stem for file in (Path(path) / "qrels").glob("*.tsv"))
