"""LlamaIndex's metadata filters and Stepwell's, each said in the other's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

from stepwell.errors import InputError
from stepwell.filters import And, Compare, Filter, Node, Or

FilterSpec: TypeAlias = "MetadataFilters | Mapping[str, Any] | Filter | None"

_PLAIN = {
    FilterOperator.EQ: "$eq",
    FilterOperator.NE: "$ne",
    FilterOperator.GT: "$gt",
    FilterOperator.GTE: "$gte",
    FilterOperator.LT: "$lt",
    FilterOperator.LTE: "$lte",
    FilterOperator.IN: "$in",
    FilterOperator.NIN: "$nin",
    # A list in the metadata matches when one of its elements does: these two are the same question.
    FilterOperator.ANY: "$in",
    FilterOperator.CONTAINS: "$eq",
}
_STORE = {
    "$eq": FilterOperator.EQ,
    "$gt": FilterOperator.GT,
    "$gte": FilterOperator.GTE,
    "$lt": FilterOperator.LT,
    "$lte": FilterOperator.LTE,
}


def parse_filter(spec: FilterSpec) -> Filter | None:
    """Read a filter in either language; None and an empty one mean no filter.

    Args:
        spec: `MetadataFilters` (EQ, NE, GT, GTE, LT, LTE, IN, NIN, ANY, ALL, CONTAINS, IS_EMPTY,
            joined by AND, OR, NOT, nested), or what `stepwell.Filter.parse` reads.

    Raises:
        InputError: An operator that has no meaning here (text match), a value that does not fit
            its operator, or something that is no filter.
    """
    if isinstance(spec, MetadataFilters):
        return Filter.parse(_joined(spec)) if spec.filters else None
    if spec is None or isinstance(spec, (Filter, Mapping)):
        return Filter.parse(spec)
    raise InputError(f"a filter is MetadataFilters or a mapping, not {type(spec).__name__}")


def _joined(filters: MetadataFilters) -> dict[str, Any]:
    parts = [
        _joined(each) if isinstance(each, MetadataFilters) else _single(each)
        for each in filters.filters
    ]
    match filters.condition or FilterCondition.AND:
        case FilterCondition.AND:
            return {"$and": parts}
        case FilterCondition.OR:
            return {"$or": parts} if parts else {"$and": []}
        case FilterCondition.NOT:
            return {"$not": {"$or": parts}}


def _single(each: MetadataFilter) -> dict[str, Any]:
    if each.operator in _PLAIN:
        return {each.key: {_PLAIN[each.operator]: each.value}}
    if each.operator is FilterOperator.IS_EMPTY:
        return {"$or": [{each.key: {"$exists": False}}, {each.key: None}, {each.key: ""}]}
    if each.operator is FilterOperator.ALL:
        if not isinstance(each.value, list):
            raise InputError(f"filter field {each.key!r}: ALL takes a list, not {each.value!r}")
        return {"$and": [{each.key: value} for value in each.value]}
    raise InputError(
        f"filter field {each.key!r}: the operator {each.operator.name} is not supported; "
        "filter by value, or match text with a Keyword stage"
    )


def store_filters(filter: Filter | None) -> MetadataFilters | None:
    """The part of a filter that every vector store understands, so that it finds less in vain.

    It excludes nothing that the whole filter allows, as long as the store's metadata values are
    plain; what it leaves out (negation, nesting, booleans, None) is for the check afterwards.

    Returns:
        One flat list of comparisons joined by AND or by OR; None when there is none to make.
    """
    if filter is None:
        return None
    root = filter.root
    if isinstance(root, Or) and _leaf(root) is None:
        leaves = [_leaf(part) for part in root.parts]
        known = [leaf for leaf in leaves if leaf is not None]
        if not known or len(known) < len(leaves):
            return None
        return MetadataFilters(filters=[*known], condition=FilterCondition.OR)
    known = [leaf for part in _conjuncts(root) if (leaf := _leaf(part)) is not None]
    return MetadataFilters(filters=[*known], condition=FilterCondition.AND) if known else None


def _conjuncts(node: Node) -> list[Node]:
    if isinstance(node, And):
        return [leaf for part in node.parts for leaf in _conjuncts(part)]
    return [node]


def _leaf(node: Node) -> MetadataFilter | None:
    match node:
        # A dotted path may lead into nested metadata, and few stores order strings.
        case Compare(path, op, "number", value) if "." not in path:
            return MetadataFilter(key=path, value=value, operator=_STORE[op])
        case Compare(path, "$eq", "string", value) if "." not in path:
            return MetadataFilter(key=path, value=value, operator=FilterOperator.EQ)
        case Or(parts):
            return _membership([_leaf(part) for part in parts])
    return None


def _membership(parts: list[MetadataFilter | None]) -> MetadataFilter | None:
    """`a == 1 or a == 2` is one `a in [1, 2]`, where the values are of one type."""
    equals = [part for part in parts if part and part.operator is FilterOperator.EQ]
    same = {(part.key, type(part.value)) for part in equals}
    if len(equals) < len(parts) or len(same) != 1:
        return None
    values: Any = [part.value for part in equals]
    return MetadataFilter(key=equals[0].key, value=values, operator=FilterOperator.IN)
