"""A corpus by what a person types: a folder, a file of Milvus Lite, the URL of a Milvus."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from stepwell.corpus.corpus import Corpus
from stepwell.corpus.milvus import MilvusCorpus, names_milvus
from stepwell.corpus.opening import is_corpus
from stepwell.models.loading import EncoderSpec

AnyCorpus: TypeAlias = Corpus | MilvusCorpus


def in_milvus(place: str | Path) -> bool:
    """Whether Milvus holds it; a URL is never a folder, a folder named x.db may be a `Corpus`."""
    return names_milvus(place) and ("://" in str(place) or not is_corpus(Path(place)))


def opened(
    place: str | Path, *, encoder: EncoderSpec, analyzer: str | None = None, create: bool = True
) -> AnyCorpus:
    """Open a corpus, or make it.

    Args:
        place: A folder; or what ``MilvusCorpus`` takes, with its usual collection.
        encoder: As in `Corpus.open`.
        analyzer: As in `Corpus.open`.
        create: Whether to make a corpus where there is none.

    Raises:
        CorpusError: It cannot be opened.
        MissingExtraError: It is in Milvus, and pymilvus is not installed.
    """
    kind = MilvusCorpus if in_milvus(place) else Corpus.open
    return kind(place, encoder=encoder, analyzer=analyzer, create=create)


def existing(place: str | Path, *, encoder: EncoderSpec) -> AnyCorpus:
    """Open a corpus that is there.

    Args:
        place: As in `opened`.
        encoder: As in `Corpus.open`.

    Raises:
        CorpusError: There is none, or it cannot be opened.
        MissingExtraError: It is in Milvus, and pymilvus is not installed.
    """
    return opened(place, encoder=encoder, create=False)
