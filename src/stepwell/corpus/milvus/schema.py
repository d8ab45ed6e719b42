"""The collection that a corpus is: its fields, its indexes, and what is recorded of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stepwell.corpus.milvus.entities import FACETS, TEXT_BYTES
from stepwell.corpus.milvus.link import Link
from stepwell.errors import CorpusError, import_extra

FORMAT = 1
_LOAD = 600.0  # seconds that loading a large collection into memory may take
_BM25 = {"params": {"bm25_k1": 1.2, "bm25_b": 0.75}}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a collection records of itself, in its properties.

    Attributes:
        analyzer: What makes terms of texts.
        encoder: The name of what made the vectors; empty where there are none.
        dimension: Of the vectors; 0 where there are none.
    """

    analyzer: str
    encoder: str
    dimension: int

    def kept(self) -> dict[str, str]:
        """As properties of a collection."""
        return {
            "stepwell.format": str(FORMAT),
            "stepwell.analyzer": self.analyzer,
            "stepwell.encoder": self.encoder,
            "stepwell.dimension": str(self.dimension),
        }


def recorded(link: Link) -> Facts | None:
    """What the collection records; None where there is no collection.

    Raises:
        CorpusError: It is no corpus, or one of a newer format.
    """
    if not link.call("has_collection"):
        return None
    kept = link.call("describe_collection").get("properties") or {}
    where = f"collection {link.collection!r} of Milvus at {link.address.uri!r}"
    if "stepwell.format" not in kept:
        raise CorpusError(f"{where} was not made by Stepwell; name another with collection=")
    if int(kept["stepwell.format"]) > FORMAT:
        raise CorpusError(
            f"{where} has format {kept['stepwell.format']}, this version of Stepwell reads up to "
            f"{FORMAT}; upgrade it: pip install -U stepwell"
        )
    return Facts(
        kept["stepwell.analyzer"], kept["stepwell.encoder"], int(kept["stepwell.dimension"])
    )


def load(link: Link) -> None:
    """Have the collection in memory, where it can be searched."""
    link.call("load_collection", timeout=_LOAD)


def make(
    link: Link, facts: Facts, *, index: Mapping[str, Any], shards: int, consistency: str, lite: bool
) -> None:
    """Make the collection.

    Args:
        link: Where.
        facts: What to record.
        index: Arguments of pymilvus's `add_index` for the vectors.
        shards: Over how many nodes writes are spread.
        consistency: As Milvus names it.
        lite: Whether it is Milvus Lite, which has fewer tokenizers and indexes.
    """
    given = {
        "schema": _schema(link, facts, lite=lite),
        "index_params": _indexes(link, facts, index, lite=lite),
        "properties": facts.kept(),
        "num_shards": shards,
        "consistency_level": consistency,
    }
    try:
        link.call("create_collection", timeout=max(_LOAD, link.timeout), **given)
    except CorpusError:
        # Another process may have made it meanwhile; what it recorded is checked as ever.
        if not link.call("has_collection"):
            raise


def _schema(link: Link, facts: Facts, *, lite: bool) -> Any:
    milvus = import_extra("pymilvus", extra="milvus")
    kind = milvus.DataType
    schema = link.client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("pk", kind.VARCHAR, is_primary=True, max_length=32)
    schema.add_field("seq", kind.INT64)
    for name in ("id", "text", "metadata"):
        schema.add_field(name, kind.VARCHAR, max_length=TEXT_BYTES)
    schema.add_field(
        "terms",
        kind.VARCHAR,
        max_length=TEXT_BYTES,
        enable_analyzer=True,
        enable_match=True,
        # Terms are made before they are stored; Milvus has only to tell them apart.
        analyzer_params={"tokenizer": "standard" if lite else "whitespace"},
    )
    schema.add_field(
        "facets",
        kind.ARRAY,
        element_type=kind.VARCHAR,
        max_capacity=FACETS,
        max_length=32,
    )
    schema.add_field("bounds", kind.JSON)
    schema.add_field("sparse", kind.SPARSE_FLOAT_VECTOR)
    schema.add_function(
        milvus.Function(
            name="bm25",
            function_type=milvus.FunctionType.BM25,
            input_field_names=["terms"],
            output_field_names=["sparse"],
        )
    )
    if facts.dimension:
        schema.add_field("vector", kind.FLOAT_VECTOR, dim=facts.dimension)
    return schema


def _indexes(link: Link, facts: Facts, index: Mapping[str, Any], *, lite: bool) -> Any:
    indexes = link.client.prepare_index_params()
    wanted: dict[str, dict[str, Any]] = {
        "sparse": {"index_type": "SPARSE_INVERTED_INDEX", "metric_type": "BM25", **_BM25}
    }
    if facts.dimension:
        wanted["vector"] = {"metric_type": "COSINE", **index}
    if not lite:
        wanted |= {"facets": {"index_type": "INVERTED"}, "seq": {"index_type": "STL_SORT"}}
    for name, each in wanted.items():
        params = each.pop("params", {})
        # pymilvus sends parameters one by one, and Milvus Lite reads them only together.
        indexes.add_index(name, params={"params": params} if lite else params, **each)
    return indexes
