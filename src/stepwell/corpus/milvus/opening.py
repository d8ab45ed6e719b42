"""What stands behind `MilvusCorpus(...)`: is it a corpus, and is it the one that was meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from stepwell.corpus.analyzers import analyzer
from stepwell.corpus.milvus.link import Address, Link
from stepwell.corpus.milvus.schema import Facts, load, make, recorded
from stepwell.errors import ConfigurationError, CorpusError, import_extra
from stepwell.models.loading import EMBEDDED, EncoderSpec, load_encoder
from stepwell.models.protocols import Encoder

LEVELS = ("strong", "session", "bounded", "eventually")
_GRAPH = {"index_type": "HNSW", "params": {"M": 32, "efConstruction": 200}}
_EXACT = {"index_type": "FLAT"}
# What Milvus Lite has for vectors; by its name others are for a later version.
_EXACTLY = ("FLAT", "BRUTE_FORCE", "AUTOINDEX")
_BY_FAISS = ("HNSW", "HNSW_SQ", "IVF_FLAT", "IVF_SQ8")
# How wide a graph looks, over how many are wanted: as wide finds .82 of the nearest 1,000.
_WIDER, _LEAST, _WIDEST = 2, 200, 32_768


@dataclass(frozen=True, slots=True)
class Asked:
    """The arguments of `MilvusCorpus`, but for where it is."""

    collection: str
    encoder: EncoderSpec
    analyzer: str | None
    create: bool
    timeout: float
    consistency: str
    index: Mapping[str, Any] | None
    search: Mapping[str, Any] | None
    shards: int

    def check(self) -> None:
        """Refuse what would be wrong for every call.

        Raises:
            ConfigurationError: The consistency or analyzer is unknown, or a number too small.
        """
        if self.consistency not in LEVELS:
            known = ", ".join(map(repr, LEVELS))
            raise ConfigurationError(
                f"consistency must be one of {known}, not {self.consistency!r}"
            )
        if not self.timeout > 0:
            raise ConfigurationError(f"timeout must be above 0 seconds, not {self.timeout!r}")
        if self.shards < 1:
            raise ConfigurationError(f"shards must be at least 1, not {self.shards!r}")
        if self.analyzer is not None:
            analyzer(self.analyzer)

    @property
    def level(self) -> str:
        """The consistency, as Milvus names it."""
        return self.consistency.capitalize()

    def searched(self, n: int) -> dict[str, Any]:
        """Parameters of the vector index for n hits; one that does not know them ignores them."""
        if self.search is not None:
            return dict(self.search)
        return {"ef": min(max(_WIDER * n, _LEAST), _WIDEST)}

    def again(self) -> dict[str, Any]:
        """The arguments to open the same collection once more."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def opened(address: Address, asked: Asked) -> tuple[Link, Facts, Encoder | None, bool]:
    """Connect, and make the collection if there is none.

    Returns:
        The link, what the collection records, the encoder, and whether Milvus Lite answers.
    """
    asked.check()
    if address.is_file and not asked.create and not Path(address.uri).exists():
        raise CorpusError(f"there is no corpus at {address.uri!r}; index documents into it first")
    link = Link.open(address, asked.collection, timeout=asked.timeout)
    try:
        lite = link.lite
        facts = recorded(link)
        if facts is None:
            _made(link, asked, lite=lite)
            facts = recorded(link)
        if facts is None:
            raise CorpusError(f"collection {asked.collection!r} was dropped while it was opened")
        model = _agreed(link, facts, asked)
        load(link)
        return link, facts, model, lite
    except BaseException:
        link.close()
        raise


def _made(link: Link, asked: Asked, *, lite: bool) -> None:
    if not asked.create:
        raise CorpusError(
            f"there is no collection {asked.collection!r} in Milvus at {link.address.uri!r}; index "
            "documents into it first"
        )
    encoder = None if asked.encoder is None else load_encoder(asked.encoder)
    facts = Facts(
        asked.analyzer or "english",
        encoder.name if encoder is not None else "",
        encoder.dimension if encoder is not None else 0,
    )
    index = asked.index or (_EXACT if lite else _GRAPH)
    if lite:
        _check_index(index, here=link.address.is_file)
    make(link, facts, index=index, shards=asked.shards, consistency=asked.level, lite=lite)


def _check_index(index: Mapping[str, Any], *, here: bool) -> None:
    """Refuse what Milvus Lite takes now and only logs as unknown later."""
    known, given = (*_EXACTLY, *_BY_FAISS), str(index.get("index_type", "")).upper()
    if given not in known:
        raise ConfigurationError(
            f"the index_type of index= must be one of {', '.join(known)} in Milvus Lite, not "
            f"{given!r}"
        )
    if here and given in _BY_FAISS:
        import_extra("faiss", extra="faiss")


def _agreed(link: Link, facts: Facts, asked: Asked) -> Encoder | None:
    """The encoder; an error where what is recorded contradicts what is asked for."""
    where = f"collection {asked.collection!r} of Milvus at {link.address.uri!r}"
    if asked.analyzer is not None and asked.analyzer != facts.analyzer:
        raise CorpusError(
            f"{where} was made with analyzer={facts.analyzer!r}, not {asked.analyzer!r}; open it "
            "without analyzer=, or index the documents into a new collection"
        )
    if asked.encoder is None or (not facts.dimension and asked.encoder == EMBEDDED):
        return None
    encoder = load_encoder(asked.encoder)
    if not facts.dimension:
        raise CorpusError(
            f"{where} has no vectors; open it with encoder=None, or index the documents into a new "
            "collection"
        )
    if (encoder.name, encoder.dimension) != (facts.encoder, facts.dimension):
        raise CorpusError(
            f"the vectors of {where} are of encoder {facts.encoder!r} ({facts.dimension} "
            f"dimensions), not of {encoder.name!r} ({encoder.dimension}); open it with that "
            "encoder, or index the documents into a new collection"
        )
    return encoder
