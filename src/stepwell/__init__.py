"""Stepwell: staged recall and rerank for RAG.

A wide, cheap stage recalls; a bi-encoder re-scores from stored vectors; a cross-encoder reads the
last few. `docs/concepts.md` explains the five nouns: `Document`, `Candidates`, `Stage`, `Cascade`,
`Corpus`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from stepwell.candidates import Candidates
from stepwell.cascade import Cascade
from stepwell.documents import Document, Query, Source
from stepwell.errors import (
    ConfigurationError,
    ContractError,
    CorpusError,
    InputError,
    MissingExtraError,
    ModelError,
    OverloadedError,
    RemoteError,
    StageError,
    StepwellError,
)
from stepwell.filters import Filter
from stepwell.result import Hit, Result
from stepwell.stage import Stage, stage
from stepwell.trace import StageRecord, Trace

if TYPE_CHECKING:
    from stepwell.corpus import Corpus
    from stepwell.corpus.milvus import MilvusCorpus
    from stepwell.models.sharing import SharedScorer
    from stepwell.remote import RemoteReranker
    from stepwell.shadow import Shadow
    from stepwell.stages import (
        BM25,
        MMR,
        BiEncoder,
        CrossEncoder,
        Dedupe,
        Dense,
        Guarded,
        Hybrid,
        Keyword,
        LateInteraction,
        MinScore,
        Parents,
        Probability,
        TopK,
    )

__version__ = "0.1.0"

# Imported on first use: the core alone needs nothing but numpy.
_LATER = {
    "Corpus": "stepwell.corpus",
    "MilvusCorpus": "stepwell.corpus.milvus",
    "RemoteReranker": "stepwell.remote",
    "Shadow": "stepwell.shadow",
    "SharedScorer": "stepwell.models.sharing",
    **dict.fromkeys(
        (
            "BM25",
            "BiEncoder",
            "CrossEncoder",
            "Dedupe",
            "Dense",
            "Guarded",
            "Hybrid",
            "Keyword",
            "LateInteraction",
            "MMR",
            "MinScore",
            "Parents",
            "Probability",
            "TopK",
        ),
        "stepwell.stages",
    ),
}

__all__ = [
    "BM25",
    "MMR",
    "BiEncoder",
    "Candidates",
    "Cascade",
    "ConfigurationError",
    "ContractError",
    "Corpus",
    "CorpusError",
    "CrossEncoder",
    "Dedupe",
    "Dense",
    "Document",
    "Filter",
    "Guarded",
    "Hit",
    "Hybrid",
    "InputError",
    "Keyword",
    "LateInteraction",
    "MilvusCorpus",
    "MinScore",
    "MissingExtraError",
    "ModelError",
    "OverloadedError",
    "Parents",
    "Probability",
    "Query",
    "RemoteError",
    "RemoteReranker",
    "Result",
    "Shadow",
    "SharedScorer",
    "Source",
    "Stage",
    "StageError",
    "StageRecord",
    "StepwellError",
    "TopK",
    "Trace",
    "stage",
]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
