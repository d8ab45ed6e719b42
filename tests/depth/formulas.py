"""Questions and documents whose reranker is a formula, so that hundreds are read in no time."""

from __future__ import annotations

import hashlib

import numpy as np

import stepwell as sw
from stepwell.tune.depth import Curve

K, MOST = 5, 60


def curve(rng: np.random.Generator, n: int = MOST) -> Curve:
    """A query: scores that fall along the ranks, and a reranker that partly agrees."""
    prior = np.sort(rng.random(n) ** 3)[::-1]
    return Curve(prior, 4 * prior + rng.normal(size=n))


def curves(count: int, *, seed: int = 0, n: int = MOST) -> list[Curve]:
    """Queries drawn independently."""
    rng = np.random.default_rng(seed)
    return [curve(rng, n) for _ in range(count)]


def reads(query: str, passages: list[str]) -> list[float]:
    """A reranker that a passage's number and a draw by query and passage make up."""
    found = []
    for passage in passages:
        digest = hashlib.blake2b(f"{query}|{passage}".encode(), digest_size=4).digest()
        found.append(-int(passage.split()[-1]) / 8 + 3 * int.from_bytes(digest, "big") / 2**32)
    return found


@sw.stage(expands=False, decides=False)
def found(candidates: sw.Candidates) -> sw.Candidates:
    """A recall: sixty documents, best first."""
    documents = [sw.Document(f"d{at}", f"passage number {at}") for at in range(MOST)]
    scores = np.exp(-np.arange(MOST) / 12)
    given = sw.Candidates.of(candidates.query, documents)
    return candidates.recalled("found", given.ids, scores, source=given.source)


def cascade(depth: object = "auto", **options: object) -> sw.Cascade:
    """Recall and reranker; its depth is still to be calibrated, unless one is given."""
    reader = sw.CrossEncoder(reads, K, depth=depth, blend=0.5, **options)  # type: ignore[arg-type]
    return sw.Cascade([found, reader])


QUESTIONS = [f"question {at}" for at in range(150)]
