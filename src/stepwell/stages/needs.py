"""What a stage needs before it can work, and what it says where that is missing."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from stepwell.candidates import Candidates
from stepwell.errors import ConfigurationError

C = TypeVar("C")


def need_candidates(candidates: Candidates, name: str) -> None:
    """Refuse to re-score or cut before anything was recalled.

    Raises:
        ConfigurationError: The set is fresh.
    """
    if candidates.fresh:
        raise ConfigurationError(
            f"stage {name!r} comes first, but it recalls nothing; "
            "begin with BM25, Dense, Keyword or Hybrid, or bring documents with rank()"
        )


def need_corpus(corpus: Any, name: str, *ability: str) -> None:
    """Refuse what is no corpus.

    Raises:
        ConfigurationError: It lacks one of the methods in `ability`.
    """
    if any(not hasattr(corpus, method) for method in ability):
        raise ConfigurationError(
            f"{name!r} needs a Corpus, not {type(corpus).__name__}; make one with "
            "Corpus.open(path) or Corpus.temporary(), or put as_stage() of a store before the rest"
        )


def need_vectors(stored: Any, name: str) -> None:
    """Refuse what stores no vectors.

    Raises:
        ConfigurationError: It is neither a corpus nor the stage of a vector store.
    """
    if not (hasattr(stored, "vectors_for") or hasattr(stored, "stored_vectors")):
        raise ConfigurationError(
            f"stage {name!r} needs a Corpus, or as_stage() of a vector store, "
            f"not {type(stored).__name__}; without one it embeds what is brought, once"
        )


def no_corpus(name: str) -> ConfigurationError:
    """What to raise when a stage without a corpus is asked to recall."""
    return ConfigurationError(
        f"stage {name!r} has no corpus to recall from; give it one, or bring documents with rank()"
    )


def need_depth(k: int | None, corpus: Any) -> int:
    """How many to ask an index for; all there are for None."""
    return k if k is not None else max(len(corpus), 1)


def timely(corpus: C, candidates: Candidates) -> C:
    """The corpus, each call of which ends by the query's deadline if it asks a server."""
    within = getattr(corpus, "within", None)
    if within is None or candidates.deadline is None:
        return corpus
    return cast(C, within(candidates.deadline))
