"""What the stages need of a corpus: the embedded one has it, and the one in Milvus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from numpy.typing import ArrayLike

from stepwell.candidates import Scores
from stepwell.corpus.reading import Found
from stepwell.documents import Document
from stepwell.filters import Filter
from stepwell.models.protocols import Encoder, Vectors


class Searchable(Protocol):
    """A corpus, wherever its documents are; `Corpus` says what each method promises.

    One that asks a server also has `within(deadline)`: itself, each call of which ends by then; and
    ``computes = False``: awaiting it takes none of this machine's cores.
    """

    @property
    def analyzer(self) -> str:
        """The name of what makes terms of texts."""

    @property
    def encoder(self) -> Encoder | None:
        """What makes the vectors; None when there is none at hand."""

    def search_text(
        self,
        text: str,
        k: int,
        *,
        filter: Mapping[str, Any] | Filter | None = None,
        phrase: bool = False,
    ) -> Found:
        """The best documents by BM25."""

    def score_text(self, text: str, ids: Sequence[str]) -> Scores:
        """(n,) float64 BM25 of these documents."""

    def search_vector(
        self, vector: ArrayLike, k: int, *, filter: Mapping[str, Any] | Filter | None = None
    ) -> Found:
        """The documents nearest to a vector, by cosine."""

    def vectors_for(self, ids: Sequence[str]) -> Vectors:
        """(n, d) float32 stored vectors; a row of NaN where there is none."""

    def match(self, filter: Mapping[str, Any] | Filter | None, k: int | None = None) -> list[str]:
        """The ids of documents whose metadata matches, in the order they were written."""

    def get_many(self, ids: Sequence[str], /) -> list[Document | None]:
        """The documents with these ids, in this order; None where there is none."""

    def __len__(self) -> int:
        """How many documents it holds."""

    def __contains__(self, id: object) -> bool:
        """Whether it holds a document of this id."""
