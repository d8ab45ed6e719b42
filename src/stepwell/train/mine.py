"""Candidates for each question from BM25 and the dense vectors, fused as the cascade fuses them."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import tantivy
from numpy.typing import NDArray

from stepwell.train.data import Collection, Question
from stepwell.train.model import Trunk
from stepwell.train.states import Texts, read

Scores: TypeAlias = NDArray[np.float32]

DEPTH = 1000


@dataclass(frozen=True)
class Mined:
    """A collection with everything that one pass of training needs.

    Attributes:
        name: Of the collection.
        passages: Their token states.
        questions: Token states of the questions, training ones first.
        relevant: For each question, passage position -> grade.
        train: How many of the questions are for training.
        found: int64 (questions, k), the fused ranking's first passages.
        fused: float32 (questions, k), their fused scores in 0..1.
    """

    name: str
    passages: Texts
    questions: Texts
    relevant: list[dict[int, int]]
    train: int
    found: NDArray[np.int64]
    fused: NDArray[np.float32]


class Lexical:
    """BM25 over passages in memory, stemmed for English."""

    def __init__(self, passages: Sequence[str], /) -> None:
        build = tantivy.SchemaBuilder()
        build.add_text_field("text", stored=False, tokenizer_name="en_stem")
        build.add_integer_field("at", stored=True, fast=True)
        self._index = tantivy.Index(build.build())
        writer = self._index.writer(num_threads=1)
        for at, text in enumerate(passages):
            writer.add_document(tantivy.Document(text=text, at=at))
        writer.commit()
        self._index.reload()
        self._searcher = self._index.searcher()
        self._size = len(passages)

    def scores(self, query: str, /) -> NDArray[np.float32]:
        """Return (passages,) BM25 scores, 0 where nothing matches or beyond the first thousand."""
        scores = np.zeros(self._size, dtype=np.float32)
        words = re.findall(r"\w+", query.lower())
        parsed = self._index.parse_query(" ".join(f'"{w}"' for w in words) or '""', ["text"])
        for score, address in self._searcher.search(parsed, limit=DEPTH).hits:
            scores[self._searcher.doc(address)["at"][0]] = score
        return scores


def spread(scores: Scores, /) -> Scores:
    """Return scores mapped so that the least of the best thousand is 0 and the best 1."""
    depth = min(DEPTH, len(scores))
    floor = np.partition(scores, len(scores) - depth)[len(scores) - depth]
    top = float(scores.max())
    width = max(top - float(floor), 1e-9)
    spread_out: Scores = np.clip((scores - floor) / width, 0.0, 1.0).astype(np.float32)
    return spread_out


def mine(trunk: Trunk, collection: Collection, /, *, train: int, held: int, **how: int) -> Mined:
    """Read a sample of a collection's questions and all its passages, and rank them.

    Args:
        trunk: Reads the texts.
        collection: What to read.
        train: At most so many training questions.
        held: At most so many held-out questions.
        **how: `k` candidates kept, `length` tokens of a passage, `seed` of the sample.
    """
    k, length, seed = how.get("k", 50), how.get("length", 160), how.get("seed", 7)
    chance = random.Random(seed)

    def sample(pool: list[Question], size: int) -> list[Question]:
        return chance.sample(pool, k=min(size, len(pool)))

    learn = sample(collection.train, train)
    questions = learn + sample(collection.held_out, held)
    passages = read(trunk, collection.passages, length=length)
    asked = read(trunk, [q.text for q in questions], length=48)
    lexical = Lexical(collection.passages)
    k = min(k, len(passages))
    found = np.empty((len(questions), k), dtype=np.int64)
    fused = np.empty((len(questions), k), dtype=np.float32)
    for row, question in enumerate(questions):
        dense = passages.vectors @ asked.vectors[row]
        both = 0.5 * spread(lexical.scores(question.text)) + 0.5 * spread(dense)
        best = np.argpartition(both, len(both) - k)[len(both) - k :]
        found[row] = best[np.argsort(-both[best], kind="stable")]
        fused[row] = both[found[row]]
    relevant = [q.relevant for q in questions]
    return Mined(collection.name, passages, asked, relevant, len(learn), found, fused)
