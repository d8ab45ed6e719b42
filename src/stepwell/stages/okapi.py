"""BM25 in memory by rank-bm25: for a few thousand texts that change never."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log1p
from typing import Any

import numpy as np

from stepwell.candidates import Scores
from stepwell.documents import Document, InMemory
from stepwell.errors import ConfigurationError, import_extra
from stepwell.filters import Filter

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """What a search found.

    Attributes:
        ids: Best first.
        scores: (n,) float64, never increasing.
    """

    ids: list[str]
    scores: Scores


class Okapi:
    """Texts and their BM25 index; speaks as much of the corpus's language as `BM25` needs.

    Words are lower-cased, unstemmed. rank-bm25 floors the weight of a word that most texts hold at
    a share of the mean weight, which is negative for a handful of texts and then ranks them
    backwards; here a weight is ``log(1 + (N - n + .5) / (n + .5))``, as in Lucene: never negative.
    """

    def __init__(self, documents: Sequence[Document]) -> None:
        self._documents = list(documents)
        self._source = InMemory(self._documents)
        self._position = {document.id: at for at, document in enumerate(self._documents)}
        self._index = _index([words(document.text) for document in self._documents])

    @classmethod
    def over(cls, texts: Iterable[Document | str]) -> Okapi:
        """Documents, or bare texts with the ids "0", "1", ..."""
        if isinstance(texts, str):
            raise ConfigurationError("BM25 in memory takes a list of texts, not one string")
        return cls([_document(at, text) for at, text in enumerate(texts)])

    def __len__(self) -> int:
        return len(self._documents)

    def __contains__(self, id: object) -> bool:
        return id in self._position

    def __repr__(self) -> str:
        return f"<{len(self)} texts in memory>"

    def get_many(self, ids: Sequence[str], /) -> list[Document | None]:
        """The documents with these ids, in this order; None where there is none."""
        return self._source.get_many(ids)

    def search_text(self, text: str, k: int, *, filter: Filter | None = None) -> Matches:
        """The k best documents that hold a word of the text; ties in the order they came."""
        values = self.scores(text)
        found = [
            at
            for at in np.argsort(-values, kind="stable").tolist()
            if values[at] > 0.0 and (filter is None or filter.matches(self._documents[at].metadata))
        ][:k]
        return Matches([self._documents[at].id for at in found], values[found])

    def score_text(self, text: str, ids: Sequence[str]) -> Scores:
        """(n,) BM25 of these documents; 0 where no word matches."""
        return self.scores(text)[[self._position[id] for id in ids]]

    def scores(self, text: str) -> Scores:
        """(n,) BM25 of every document, in order; 0 where no word matches."""
        if self._index is None:
            return np.zeros(len(self))
        values: Scores = np.asarray(self._index.get_scores(words(text)), dtype=np.float64)
        return values


def words(text: str) -> list[str]:
    """The lower-cased words of a text."""
    return _WORD.findall(text.lower())


def _document(at: int, text: Document | str) -> Document:
    if isinstance(text, Document):
        return text
    if isinstance(text, str):
        return Document(str(at), text)
    kind = type(text).__name__
    raise ConfigurationError(f"BM25 in memory takes documents or strings, not {kind}")


def _index(texts: list[list[str]]) -> Any:
    rank_bm25 = import_extra("rank_bm25", extra="rank-bm25")
    if not any(texts):
        return None  # rank-bm25 divides by the mean length
    index = rank_bm25.BM25Okapi(texts, k1=1.2, b=0.75)
    held = Counter(word for text in texts for word in set(text))
    index.idf = {word: log1p((len(texts) - n + 0.5) / (n + 0.5)) for word, n in held.items()}
    return index
