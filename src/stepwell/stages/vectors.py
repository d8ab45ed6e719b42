"""The vectors of candidates: stored ones where a corpus holds them, made and kept otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stepwell.candidates import Candidates
from stepwell.documents import Document, Overlay
from stepwell.errors import ConfigurationError
from stepwell.models.checks import checked_vectors
from stepwell.models.loading import EncoderSpec, load_encoder
from stepwell.models.protocols import Encoder, Kind, Vectors
from stepwell.stages.cache import ContentCache
from stepwell.stages.needs import timely
from stepwell.stopping import Stop, late, stop_at

if TYPE_CHECKING:
    from stepwell.corpus.searchable import Searchable

CACHE_BYTES = 128 * 2**20


class VectorStore(Protocol):
    """A vector store of a framework, as the stage that `as_stage` makes of it."""

    @property
    def encoder(self) -> Encoder:
        """What made its vectors, and makes a query's."""

    def stored_vectors(self, documents: Sequence[Document], /, *, dimension: int) -> Vectors:
        """(n, d) float32 unit rows; NaN where the store has no vector, or cannot give it."""


Stored: TypeAlias = "Searchable | VectorStore"


def matched(
    held: Mapping[str, tuple[str, Any]],
    asked: Sequence[tuple[str, str]],
    *,
    dimension: int,
    name: str,
) -> Vectors:
    """What a store holds of some documents, (n, d) float32 unit rows; NaN where it has none.

    A document of the same id and another text has none: it came from somewhere else, or is newer.

    Args:
        held: By id, the text that was embedded and its vector.
        asked: Id and text of each document.
        dimension: Of the vectors.
        name: The store's, for errors.

    Raises:
        ConfigurationError: The store's vectors have another dimension.
    """
    rows = np.full((len(asked), dimension), np.nan, dtype=np.float32)
    there = [at for at, (id, text) in enumerate(asked) if id in held and held[id][0] == text]
    if there:
        values = [held[asked[at][0]][1] for at in there]
        rows[there] = checked_vectors(values, rows=len(there), dimension=dimension, name=name)
    return rows


class PassageVectors:
    """Vectors and cosines of candidates.

    Args:
        stored: The corpus or vector store whose vectors serve the candidates that it holds.
        encoder: Another than made those; stored vectors of another encoder do not serve.

    Raises:
        ConfigurationError: The corpus has no encoder and none is given.
    """

    def __init__(self, stored: Stored | None = None, *, encoder: EncoderSpec = None) -> None:
        self.encoder = _encoder(stored, encoder)
        own = None if stored is None else stored.encoder
        same = own is not None and own.name == self.encoder.name
        self.stored = stored if same else None
        self._cache = ContentCache(CACHE_BYTES)

    def of_queries(self, many: Sequence[Candidates]) -> list[Vectors | None]:
        """Each query's vector, (d,) float32, made in one call; None for a blank query."""
        asked = [None if each.query.is_blank else each.query.text for each in many]
        texts = list(dict.fromkeys(text for text in asked if text is not None))
        rows = encode(self.encoder, texts, kind="query") if texts else ()
        made: dict[str | None, Vectors] = dict(zip(texts, rows))
        return [made.get(text) for text in asked]

    def of(self, candidates: Candidates, *, stop: Stop | None = None) -> Vectors:
        """(n, d) float32 unit rows; NaN for a document that is gone, or left at the deadline."""
        rows = np.full((len(candidates), self.encoder.dimension), np.nan, dtype=np.float32)
        if self.stored is not None:
            _read(self.stored, candidates, rows)
        # A corpus that may not be written keeps no new vector, so it may lack some.
        lacking = np.flatnonzero(np.isnan(rows[:, 0]))
        if lacking.size:
            self._fill(rows, lacking, candidates, stop)
        return rows

    def _fill(
        self, rows: Vectors, lacking: NDArray[np.intp], candidates: Candidates, stop: Stop | None
    ) -> None:
        documents = candidates.source.get_many(candidates.ids[lacking].tolist())
        there = [(at, doc.text) for at, doc in zip(lacking.tolist(), documents) if doc]
        made = self._cache.fetch(
            [text for _, text in there],
            lambda texts: list(encode(self.encoder, texts, kind="passage")),
            stop=stop,
        )
        for (at, _), row in zip(there, made):
            if row is not None:
                rows[at] = row

    def rescored(
        self, candidates: Candidates, query: Vectors, name: str, *, blend: float = 1.0
    ) -> Candidates:
        """The candidates by the cosine of their vector with the query's."""
        stop = stop_at(candidates.deadline)
        # Not `@`: its last bit depends on the row's place, so on which others are in the set.
        cosines = np.einsum("nd,d->n", self.of(candidates, stop=stop), query)
        values = cosines.astype(np.float64)
        after = candidates.scored(name, values, blend=blend, kind="similarity")
        return after.noted(**late(values, candidates, stop))


def _read(stored: Stored, candidates: Candidates, rows: Vectors) -> None:
    """Fill in the vectors that are stored."""
    if hasattr(stored, "stored_vectors"):
        documents = candidates.source.get_many(candidates.ids.tolist())
        there = [at for at, document in enumerate(documents) if document is not None]
        found = [each for each in documents if each is not None]
        rows[there] = stored.stored_vectors(found, dimension=rows.shape[1])
        return
    held = held_by(stored, candidates)
    held |= _same(stored, candidates, np.flatnonzero(~held))
    if held.any():
        rows[held] = timely(stored, candidates).vectors_for(candidates.ids[held].tolist())


def _same(
    corpus: Searchable, candidates: Candidates, others: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """(n,) which of the candidates from elsewhere the corpus holds too, with the same text."""
    same = np.zeros(len(candidates), dtype=bool)
    ids = candidates.ids[others].tolist()
    here, there = corpus.get_many(ids), candidates.source.get_many(ids)
    same[others] = [
        a is not None and b is not None and a.text == b.text for a, b in zip(here, there)
    ]
    return same


def held_by(corpus: Any, candidates: Candidates) -> NDArray[np.bool_]:
    """(n,) which candidates' documents come from the corpus, as the first source that has them."""
    source = candidates.source
    if corpus is None:
        return np.zeros(len(candidates), dtype=bool)
    if not isinstance(source, Overlay):
        return np.full(len(candidates), source is corpus)
    held = np.ones(len(candidates), dtype=bool)
    holds, ids = corpus.__contains__, candidates.ids.tolist()
    for part in source.sources:
        if part is corpus:
            held &= np.array([holds(id) for id in ids])
            return held
        held &= np.array([document is None for document in part.get_many(ids)])
    return np.zeros(len(candidates), dtype=bool)


def encode(encoder: Encoder, texts: Sequence[str], *, kind: Kind) -> Vectors:
    """The encoder's vectors, (n, d) float32 unit rows.

    Raises:
        ModelError: They have another shape than promised, or a value is not finite.
    """
    rows = encoder.encode(texts, kind=kind)
    return checked_vectors(rows, rows=len(texts), dimension=encoder.dimension, name=encoder.name)


def _encoder(stored: Stored | None, spec: EncoderSpec) -> Encoder:
    if spec is not None or stored is None:
        return load_encoder(spec)
    if stored.encoder is None:
        raise ConfigurationError(
            f"{stored!r} has no encoder at hand, so queries cannot be encoded; open it with its "
            "encoder, make its vectors with reencode(), or use BM25 alone (preset 'bm25')"
        )
    return stored.encoder
