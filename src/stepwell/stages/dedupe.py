"""`Dedupe`: keep one of several candidates that say the same."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict

import numpy as np
from numpy.typing import NDArray

from stepwell.candidates import Candidates
from stepwell.errors import ConfigurationError
from stepwell.stages.needs import need_candidates
from stepwell.stages.okapi import words

SHINGLE = 5


class Dedupe:
    """Keeps the best-ranked of the candidates with the same text.

    Texts are the same when only case, white space or the form of a character (NFKC) tells them
    apart. Punctuation counts: "C++ guide" is not "C# guide".

    Args:
        near: Also drop a candidate that shares this much (0 to 1, Jaccard) of its runs of five
            words, without punctuation, with a better one; None drops only the same text.
        name: Shown in the trace.

    Raises:
        ConfigurationError: `near` is not above 0 and at most 1.
    """

    decides = True
    computes = True
    guards = True

    def __init__(self, *, near: float | None = None, name: str = "dedupe") -> None:
        if near is not None and not 0.0 < near <= 1.0:
            raise ConfigurationError(f"near must be above 0 and at most 1, not {near!r}")
        self.name = name
        self.near = near

    def __repr__(self) -> str:
        return f"Dedupe({'' if self.near is None else f'near={self.near:g}'})"

    def run(self, candidates: Candidates, /) -> Candidates:
        """Cut; a document that is gone is no duplicate."""
        need_candidates(candidates, self.name)
        texts = ["" if document is None else document.text for document in candidates.documents()]
        first = _first(texts)
        kept = candidates.keep(first, reason="same text as a better one")
        if self.near is None:
            return kept
        left = [words(text) for text, stays in zip(texts, first) if stays]
        return kept.keep(_apart(left, self.near), reason="nearly the same text as a better one")


def _first(texts: list[str]) -> NDArray[np.bool_]:
    seen: set[str] = set()
    first = np.ones(len(texts), dtype=bool)
    for at, text in enumerate(texts):
        # Empty texts, and documents that are gone, are not the same for that.
        if key := " ".join(unicodedata.normalize("NFKC", text).casefold().split()):
            first[at] = key not in seen
            seen.add(key)
    return first


def _apart(texts: list[list[str]], near: float) -> NDArray[np.bool_]:
    sizes: dict[int, int] = {}
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    apart = np.ones(len(texts), dtype=bool)
    for at, text in enumerate(texts):
        runs = _runs(text)
        shared = Counter(other for run in runs for other in holders[run])
        apart[at] = not any(
            n / (len(runs) + sizes[other] - n) >= near for other, n in shared.items()
        )
        if apart[at]:
            sizes[at] = len(runs)
            for run in runs:
                holders[run].append(at)
    return apart


def _runs(text: list[str]) -> set[tuple[str, ...]]:
    starts = range(max(len(text) - SHINGLE + 1, 1)) if text else ()
    return {tuple(text[at : at + SHINGLE]) for at in starts}
