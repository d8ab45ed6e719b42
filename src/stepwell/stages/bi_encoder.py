"""`BiEncoder`: score a recalled set by the vectors that are already stored."""

from __future__ import annotations

from collections.abc import Sequence

from stepwell.candidates import Candidates, check_blend, check_k
from stepwell.meaning import Meaning
from stepwell.models.loading import EncoderSpec
from stepwell.models.protocols import Vectors
from stepwell.stages import blends
from stepwell.stages.needs import need_candidates, need_vectors
from stepwell.stages.vectors import PassageVectors, Stored


class BiEncoder:
    """Scores candidates by the cosine of their vector with the query's.

    A candidate of the corpus or the vector store costs a look-up; one that has no vector yet is
    embedded once and kept, in the corpus or, where it was brought, in memory by its content.

    Args:
        corpus: Whose stored vectors to use: a corpus, or the stage that `as_stage` made of a vector
            store; None embeds what is brought.
        k: How many to keep; None for all.
        encoder: Another encoder than the corpus's, or than the embedded one.
        blend: Weight of the cosine against the score so far, 0 to 1.
        name: The column its scores (cosines, -1 to 1) are kept under.

    Raises:
        ConfigurationError: k is below 1, the blend no weight, or the corpus has no encoder.
    """

    kind: Meaning = "similarity"

    def __init__(
        self,
        corpus: Stored | None = None,
        k: int | None = 50,
        *,
        encoder: EncoderSpec = None,
        blend: float = blends.BI_ENCODER,
        name: str = "bi-encoder",
    ) -> None:
        if corpus is not None:
            need_vectors(corpus, name)
        self.name = name
        self.k = check_k(k)
        self.given = encoder
        self.blend = check_blend(blend)
        self.corpus = corpus
        self._passages = PassageVectors(corpus, encoder=encoder)
        self.encoder = self._passages.encoder

    @property
    def computes(self) -> bool:
        """Whether its time is this machine's: an encoder of one's own may ask another."""
        return bool(getattr(self.encoder, "local", False))

    def __repr__(self) -> str:
        return f"BiEncoder({self.encoder.name!r}, k={self.k}, blend={self.blend:g})"

    def run(self, candidates: Candidates, /) -> Candidates:
        """Score the set; a blank query leaves its order."""
        return self.run_many([candidates])[0]

    def run_many(self, many: Sequence[Candidates], /) -> list[Candidates]:
        """`run` for each, the queries encoded together."""
        for each in many:
            need_candidates(each, self.name)
        queries = self._passages.of_queries(many)
        return [self._scored(each, query) for each, query in zip(many, queries)]

    def _scored(self, candidates: Candidates, query: Vectors | None) -> Candidates:
        if query is None:
            return candidates.top(self.k)
        after = self._passages.rescored(candidates, query, self.name, blend=self.blend)
        return after.top(self.k)
