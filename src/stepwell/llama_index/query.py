"""What is asked through LlamaIndex: a query bundle, which may carry its own filter and depth."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypedDict

from llama_index.core.schema import QueryBundle, QueryType

from stepwell.documents import Query
from stepwell.errors import InputError
from stepwell.llama_index.filters import FilterSpec, parse_filter


@dataclass
class CascadeQuery(QueryBundle):
    """A query bundle with options for this one call; any query engine passes it on as it is.

    Attributes:
        filters: Only nodes whose metadata matches, on top of the retriever's own filters.
        k: How many nodes to answer, in place of the retriever's k or the postprocessor's top_n.
        deadline: Seconds for the whole cascade.

    Example:
        >>> CascadeQuery("how do I rotate the logs?", filters={"team": "sre"}, k=3).k
        3
    """

    filters: FilterSpec = field(default=None, kw_only=True)
    k: int | None = field(default=None, kw_only=True)
    deadline: float | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class BundleQuery(Query):
    """A query that remembers the bundle it was read from, for stages that hand it on."""

    bundle: QueryBundle | None = field(default=None, compare=False, repr=False)


class Limits(TypedDict):
    """Keyword arguments of `Cascade.search` and `Cascade.rank`."""

    k: int | None
    deadline: float | None


def checked(query: QueryType) -> QueryType:
    """The query, if it is one.

    Raises:
        InputError: It is neither a string nor a bundle, or its text is no string.
    """
    text = query.query_str if isinstance(query, QueryBundle) else query
    if not isinstance(text, str):
        what = "a query must be a string or a QueryBundle"
        if text is not query:
            what = "the text of a query must be a string"
        raise InputError(f"{what}, not {type(text).__name__}")
    return query


def read_query(
    bundle: QueryBundle, *, k: int | None, filters: FilterSpec = None, deadline: float | None = None
) -> tuple[BundleQuery, Limits]:
    """What a bundle asks of the cascade: its text under both filters, its own limits first.

    Args:
        bundle: As LlamaIndex hands it over.
        k: Where the bundle has none of its own.
        filters: Hold in addition to the bundle's own.
        deadline: Seconds, where the bundle has none of its own.

    Raises:
        InputError: The bundle is none, its text is not a string, or a filter cannot be honoured.
    """
    if not isinstance(bundle, QueryBundle):
        raise InputError(f"expected a QueryBundle, not {type(bundle).__name__}")
    wanted = parse_filter(filters)
    checked(bundle)
    if isinstance(bundle, CascadeQuery):
        own = parse_filter(bundle.filters)
        wanted = wanted & own if wanted and own else wanted or own
        k = k if bundle.k is None else bundle.k
        deadline = deadline if bundle.deadline is None else bundle.deadline
    return BundleQuery(bundle.query_str, wanted, bundle), {"k": k, "deadline": deadline}
