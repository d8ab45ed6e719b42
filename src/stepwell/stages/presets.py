"""Cascades that have a name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from stepwell.candidates import check_k
from stepwell.errors import ConfigurationError
from stepwell.stage import Stage
from stepwell.stages import blends
from stepwell.stages.bi_encoder import BiEncoder
from stepwell.stages.bm25 import BM25
from stepwell.stages.cross_encoder import CrossEncoder
from stepwell.stages.dense import Dense
from stepwell.stages.hybrid import Hybrid
from stepwell.stages.needs import need_corpus

if TYPE_CHECKING:
    from stepwell.corpus.searchable import Searchable

RECALL = 1000
RESCORE = 50
READ = 100
"""Depths: recalled, re-scored and kept by the bi-encoder, read by a cross-encoder after recall."""

_Make: TypeAlias = "Callable[[Searchable | None, int], list[Stage]]"


def _bm25(corpus: Searchable | None, k: int) -> list[Stage]:
    return [BM25(corpus, max(k, RECALL))]


def _dense(corpus: Searchable | None, k: int) -> list[Stage]:
    return [Dense(corpus, max(k, RECALL))]


def _hybrid(corpus: Searchable | None, k: int) -> list[Stage]:
    return [Hybrid(corpus, max(k, RECALL))]


def _two_stage(corpus: Searchable | None, k: int) -> list[Stage]:
    read = CrossEncoder(k=k, blend=blends.CROSS_ENCODER_AFTER_HYBRID)
    return [Hybrid(corpus, max(k, READ)), read]


def _classic(corpus: Searchable | None, k: int) -> list[Stage]:
    return [
        BM25(corpus, max(k, RECALL)),
        BiEncoder(corpus, max(k, RESCORE), blend=1.0),
        CrossEncoder(k=k, blend=1.0),
    ]


def _three_stage(corpus: Searchable | None, k: int) -> list[Stage]:
    return [
        Hybrid(corpus, max(k, RECALL)),
        BiEncoder(corpus, max(k, RESCORE), blend=blends.BI_ENCODER_AFTER_HYBRID),
        CrossEncoder(k=k, blend=blends.CROSS_ENCODER_AFTER_HYBRID),
    ]


_PRESETS: dict[str, _Make] = {
    "bm25": _bm25,
    "dense": _dense,
    "hybrid": _hybrid,
    "two-stage": _two_stage,
    "classic": _classic,
    "three-stage": _three_stage,
}
PRESETS = tuple(_PRESETS)
DEFAULT = "three-stage"


def preset(name: str, corpus: Searchable | None = None, k: int = 10) -> list[Stage]:
    """The stages of a named cascade.

    Args:
        name: "bm25", "dense" and "hybrid" recall 1000; "two-stage" is hybrid 100, then the
            cross-encoder; "classic" is the textbook's BM25 1000, bi-encoder 50, cross-encoder,
            each replacing the order before it; "three-stage" is hybrid 1000, bi-encoder 50,
            cross-encoder, each blended with the order before it.
        corpus: Where to recall from; None ranks only documents that are brought.
        k: How many documents the cross-encoder keeps.

    Raises:
        ConfigurationError: No cascade has this name, k is below 1, or the corpus has no encoder
            and the cascade needs one.
    """
    if name not in _PRESETS:
        raise ConfigurationError(f"no preset is named {name!r}; there are {', '.join(PRESETS)}")
    check_k(k)
    if corpus is not None:
        need_corpus(corpus, name, "search_text", "search_vector")
    return _PRESETS[name](corpus, k)


def default_stages(corpus: Searchable | None = None, *, k: int = 10) -> list[Stage]:
    """The stages of the recommended cascade, "three-stage"; see `preset`."""
    return preset(DEFAULT, corpus, k)
