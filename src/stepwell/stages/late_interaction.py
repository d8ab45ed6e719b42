"""`LateInteraction`: MaxSim, each token of the query finds its best token of the passage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stepwell.candidates import Candidates, check_blend, check_k
from stepwell.errors import ConfigurationError
from stepwell.meaning import Meaning
from stepwell.models.checks import checked_tokens
from stepwell.models.loading import EncoderSpec, load_encoder
from stepwell.models.protocols import Kind, TokenEncoder, Vectors
from stepwell.stages import blends
from stepwell.stages.cache import ContentCache
from stepwell.stages.needs import need_candidates
from stepwell.stopping import late, stop_at

CACHE_BYTES = 256 * 2**20


class LateInteraction:
    """Scores candidates by the mean, over the query's tokens, of the best cosine with a token.

    Khattab and Zaharia, ColBERT (SIGIR 2020), with a mean for the sum, so that scores of long and
    short queries are alike. Passages' token vectors are kept in memory by content.

    Args:
        encoder: None for the embedded one, or any encoder with `encode_tokens`.
        k: How many to keep; None for all.
        blend: Weight of the new score against the score so far, 0 to 1.
        cache_bytes: Memory for the token vectors that are kept; the embedded encoder's take 1.5 kB
            a token.
        name: The column its scores (-1 to 1) are kept under.

    Raises:
        ConfigurationError: k is below 1, the blend no weight, or the encoder gives no tokens.
    """

    kind: Meaning = "similarity"

    def __init__(
        self,
        encoder: EncoderSpec | TokenEncoder = None,
        k: int | None = 50,
        *,
        blend: float = blends.LATE_INTERACTION,
        cache_bytes: int = CACHE_BYTES,
        name: str = "late-interaction",
    ) -> None:
        self.name = name
        self.k = check_k(k)
        self.given = encoder
        self.blend = check_blend(blend)
        self.encoder = _token_encoder(encoder)
        self.cache_bytes = cache_bytes
        self._cache = ContentCache(cache_bytes)

    @property
    def computes(self) -> bool:
        """Whether its time is this machine's: an encoder of one's own may ask another."""
        return bool(getattr(self.encoder, "local", False))

    def __repr__(self) -> str:
        return f"LateInteraction({self.encoder.name!r}, k={self.k}, blend={self.blend:g})"

    def run(self, candidates: Candidates, /) -> Candidates:
        """Score the set; a blank query leaves its order."""
        return self.run_many([candidates])[0]

    def run_many(self, many: Sequence[Candidates], /) -> list[Candidates]:
        """`run` for each, the queries encoded together."""
        for each in many:
            need_candidates(each, self.name)
        asked = [each.query.text for each in many if not each.query.is_blank]
        texts = list(dict.fromkeys(asked))
        made = dict(zip(texts, self._tokens(texts, "query"), strict=True))
        return [
            each.top(self.k) if each.query.is_blank else self._scored(each, made[each.query.text])
            for each in many
        ]

    def _scored(self, candidates: Candidates, query: Vectors) -> Candidates:
        documents = candidates.documents()
        there = [at for at, document in enumerate(documents) if document is not None]
        stop = stop_at(candidates.deadline)
        passages = self._cache.fetch(
            [document.text for document in documents if document is not None],
            lambda texts: self._tokens(texts, "passage"),
            stop=stop,
        )
        values = np.full(len(candidates), np.nan)
        for at, passage in zip(there, passages):
            if passage is not None:
                values[at] = max_sim(query, passage)
        notes = late(values, candidates, stop, there=there)
        after = candidates.scored(self.name, values, blend=self.blend, kind=self.kind)
        return after.noted(**notes).top(self.k)

    def _tokens(self, texts: Sequence[str], kind: Kind) -> list[Vectors]:
        made = self.encoder.encode_tokens(texts, kind=kind) if texts else []
        return checked_tokens(made, rows=len(texts), name=self.encoder.name)


def max_sim(query: Vectors, passage: Vectors) -> float:
    """Mean over the query's tokens of the best cosine; -1 where there is no token to compare.

    Args:
        query: (q, d) unit rows.
        passage: (p, d) unit rows.
    """
    if not len(query) or not len(passage):
        return -1.0
    return float((query @ passage.T).max(axis=1).mean())


def _token_encoder(spec: EncoderSpec | TokenEncoder) -> TokenEncoder:
    encoder = spec if isinstance(spec, TokenEncoder) else load_encoder(spec)
    if not isinstance(encoder, TokenEncoder):
        raise ConfigurationError(
            f"encoder {encoder.name!r} gives one vector a text; late interaction needs one with "
            "encode_tokens, such as the embedded encoder"
        )
    return encoder
