"""How a corpus searches its vectors, as a word: exactly, approximately above a size, by Chroma."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec

from stepwell.errors import ConfigurationError, MissingExtraError

AUTO = "auto"
# Vectors up to which a search that looks at all of them is fast enough; docs/decisions/0006.
CROSSOVER = 50_000
# As many are looked at whatever is asked: below, an index of neighbours would save nothing.
LEAST = 1_000


@dataclass(frozen=True, slots=True)
class Searches:
    """How the vectors of a corpus are searched now.

    Attributes:
        how: "exact", "approximate" or "chroma".
        vectors: How many the vector file holds, with those of deleted documents that compaction
            has not dropped yet.
        indexed: How many of them an index of neighbours names; the others are searched exactly.
        recall: Of the exact first 10, 100 and 1,000 of stored vectors, the least share found when
            that index was made or extended; None where there is none.
        lacking: What to install for search to be approximate, as it should be; empty where nothing.
    """

    how: str
    vectors: int
    indexed: int = 0
    recall: float | None = None
    lacking: str = ""

    def __str__(self) -> str:
        if self.how != "approximate":
            needs = f" (approximate search needs: {self.lacking})" if self.lacking else ""
            return "by Chroma" if self.how == "chroma" else f"exactly{needs}"
        return (
            f"approximately, {self.indexed} of {self.vectors} by an index of neighbours (recall "
            f"{self.recall:.3f} of the exact first 10, 100 and 1,000 when it was made), the rest "
            f"exactly"
        )


def check_kind(vectors: str) -> str:
    """The way to search vectors, if it is one.

    Raises:
        ConfigurationError: It is neither "auto", "exact", "chroma" nor a URL, or the N of "auto:N"
            is too small.
        MissingExtraError: It is Chroma, and chromadb is not installed.
    """
    if by_chroma(vectors) and find_spec("chromadb") is None:
        raise MissingExtraError(module="chromadb", extra="chroma")
    above = crossover(vectors)
    if above is not None and above < LEAST:
        raise ConfigurationError(
            f"vectors={vectors!r} is too small: below {LEAST} vectors an approximate search saves "
            f"nothing; use 'auto:{LEAST}' or more"
        )
    if vectors == "exact" or by_chroma(vectors) or above is not None:
        return vectors
    raise ConfigurationError(
        f"vectors must be 'auto' ('auto:N' to search approximately above N vectors), 'exact', "
        f"'chroma' or the URL of a Chroma server, not {vectors!r}"
    )


def by_chroma(vectors: str) -> bool:
    """Whether Chroma holds a copy."""
    return vectors == "chroma" or vectors.startswith(("http://", "https://"))


def lacking(vectors: str, count: int) -> str:
    """What to install for so many vectors to be searched approximately; empty where nothing."""
    above = crossover(vectors)
    wanted = above is not None and count > above
    return "pip install 'stepwell[faiss]'" if wanted and find_spec("faiss") is None else ""


def crossover(vectors: str) -> int | None:
    """Above how many vectors they are searched approximately; None for never."""
    if vectors == AUTO:
        return CROSSOVER
    found = re.fullmatch(AUTO + r":(\d{1,15})", vectors)
    return int(found[1]) if found else None
