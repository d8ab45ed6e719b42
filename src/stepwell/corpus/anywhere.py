"""A corpus by what a person types: a folder, a file of Milvus Lite, the URL of a Milvus."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from stepwell.corpus.corpus import Corpus
from stepwell.corpus.milvus import MilvusCorpus, names_milvus
from stepwell.corpus.opening import is_corpus
from stepwell.models.loading import EncoderSpec

AnyCorpus: TypeAlias = Corpus | MilvusCorpus


def existing(place: str | Path, *, encoder: EncoderSpec) -> AnyCorpus:
    """Open a corpus that is there.

    Args:
        place: A folder; or what ``MilvusCorpus`` takes, with its usual collection.
        encoder: As in `Corpus.open`.

    Raises:
        CorpusError: There is none, or it cannot be opened.
        MissingExtraError: It is in Milvus, and pymilvus is not installed.
    """
    if names_milvus(place) and not is_corpus(Path(place)):
        return MilvusCorpus(place, encoder=encoder, create=False)
    return Corpus.open(place, encoder=encoder, create=False)
