"""`MMR`: prefer candidates that say something new."""

from __future__ import annotations

import numpy as np

from stepwell.candidates import Candidates, Scores, check_blend, check_k, min_max
from stepwell.meaning import Meaning
from stepwell.models.loading import EncoderSpec
from stepwell.models.protocols import Vectors
from stepwell.stages.needs import need_candidates, need_vectors
from stepwell.stages.vectors import PassageVectors, Stored
from stepwell.stopping import late, stop_at


class MMR:
    """Picks, one after another, the candidate that is relevant and unlike those picked before.

    Maximal marginal relevance, Carbonell and Goldstein (SIGIR 1998):
    ``weight * relevance - (1 - weight) * closest``, where relevance is the score so far from 0 to 1
    and closest the highest cosine with a candidate already picked, not below 0.

    Args:
        corpus: Whose stored vectors to use: a corpus, or the stage that `as_stage` made of a vector
            store; None embeds what is brought.
        k: How many to pick; None for all.
        weight: Of relevance against novelty (the paper's lambda), from 0 to 1.
        encoder: Another encoder than the corpus's, or than the embedded one.
        name: The column its scores (-1 to 1) are kept under.

    Raises:
        ConfigurationError: k is below 1, the weight no weight, or the corpus has no encoder.
    """

    kind: Meaning = "relative"

    def __init__(
        self,
        corpus: Stored | None = None,
        k: int | None = 10,
        *,
        weight: float = 0.7,
        encoder: EncoderSpec = None,
        name: str = "mmr",
    ) -> None:
        if corpus is not None:
            need_vectors(corpus, name)
        self.name = name
        self.k = check_k(k)
        self.given = encoder
        self.weight = check_blend(weight)
        self.corpus = corpus
        self._passages = PassageVectors(corpus, encoder=encoder)
        self.encoder = self._passages.encoder

    @property
    def computes(self) -> bool:
        """Whether its time is this machine's: an encoder of one's own may ask another."""
        return bool(getattr(self.encoder, "local", False))

    def __repr__(self) -> str:
        return f"MMR({self.encoder.name!r}, k={self.k}, weight={self.weight:g})"

    def run(self, candidates: Candidates, /) -> Candidates:
        """Pick; what is not picked follows in its order, as the next in line."""
        need_candidates(candidates, self.name)
        stop = stop_at(candidates.deadline)
        vectors = self._passages.of(candidates, stop=stop)
        notes = late(vectors[:, 0], candidates, stop)
        # What has no vector (deleted, or late) looks new to everything: it must not be picked.
        known = np.flatnonzero(~np.isnan(vectors[:, 0]))
        k = len(known) if self.k is None else min(self.k, len(known))
        relevance = min_max(candidates.score)[known]
        values = np.full(len(candidates), np.nan)
        values[known] = marginal_relevance(relevance, vectors[known], k, self.weight)
        return candidates.scored(self.name, values, kind=self.kind).noted(**notes).top(self.k)


def marginal_relevance(relevance: Scores, vectors: Vectors, k: int, weight: float) -> Scores:
    """(n,) the value at which each of the k picks was picked, never increasing; NaN for the rest.

    Args:
        relevance: (n,) from 0 to 1.
        vectors: (n, d) unit rows.
        k: How many to pick, at most n.
        weight: Of relevance against novelty.
    """
    values = np.full(len(relevance), np.nan)
    closest = np.zeros(len(relevance))
    for _ in range(k):
        left = weight * relevance - (1.0 - weight) * closest
        left[~np.isnan(values)] = -np.inf
        pick = int(left.argmax())
        values[pick] = left[pick]
        np.maximum(closest, vectors @ vectors[pick], out=closest)
    return values
