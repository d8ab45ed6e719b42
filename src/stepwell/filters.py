"""The filter language over metadata, and the one definition of what it means.

`{"lang": "en", "year": {"$gte": 2020}, "tag": {"$in": ["a", "b"]}}`; fields side by side are
joined by AND; `$and`, `$or` take lists, `$not` takes one filter. A field is a key, or a dotted
path into nested mappings. A list matches when one of its elements does. `$ne`, `$nin` are the
negations of `$eq`, `$in`, so they match documents that lack the field. Numbers compare with
numbers, strings with strings (by code point), booleans with booleans; `None` only equals `None`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, TypeAlias

import numpy as np

from stepwell.errors import InputError

Kind = Literal["number", "string", "bool", "null"]
Facet: TypeAlias = tuple[str, Kind, Any]
"""A path, the kind of its value, and the value: what a filter can see of a document."""

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": operator.eq,
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}
OPERATORS = (*_COMPARE, "$ne", "$in", "$nin", "$exists", "$not")


@dataclass(frozen=True, slots=True)
class Compare:
    """One field against one value; `op` is a key of the comparison table."""

    path: str
    op: str
    kind: Kind
    value: Any


@dataclass(frozen=True, slots=True)
class Exists:
    """The field has a value that a filter can see; an empty list or mapping has none."""

    path: str


@dataclass(frozen=True, slots=True)
class And:
    """All parts hold; true when there are none."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One part holds; false when there are none."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Node


Node: TypeAlias = Compare | Exists | And | Or | Not


@dataclass(frozen=True, slots=True)
class Filter:
    """A parsed filter.

    Example:
        >>> Filter.parse({"year": {"$gte": 2020}}).matches({"year": 2024})
        True
    """

    root: Node

    @classmethod
    def parse(cls, spec: Mapping[str, Any] | Filter | None) -> Filter | None:
        """Read a filter; None and the empty mapping mean no filter.

        Raises:
            InputError: An operator is unknown, or a value has a type that no field can have.
        """
        if spec is None or isinstance(spec, Filter):
            return spec
        if not isinstance(spec, Mapping):
            raise InputError(f"a filter must be a mapping, not {type(spec).__name__}")
        try:
            return cls(_parse(spec)) if spec else None
        except RecursionError:
            raise InputError("the filter is nested too deeply") from None

    def matches(self, metadata: Mapping[str, Any]) -> bool:
        """Whether a document with this metadata may be returned."""
        return _holds(self.root, list(facets(metadata)))

    def __and__(self, other: Filter) -> Filter:
        return Filter(And((self.root, other.root)))


def facets(metadata: Mapping[str, Any], prefix: str = "") -> Iterator[Facet]:
    """What a filter can see of the metadata: one facet a value, lists and mappings opened.

    Values of other types (and NaN) have no facet: no comparison finds them.
    """
    for key, value in metadata.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from facets(value, f"{path}.")
            continue
        for element in value if isinstance(value, (list, tuple, set, frozenset)) else (value,):
            kind = _kind(element)
            if kind is not None:
                yield path, kind, element.isoformat() if isinstance(element, date) else element


def _kind(value: Any) -> Kind | None:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return None if isinstance(value, float) and math.isnan(value) else "number"
    return "string" if isinstance(value, (str, date)) else None


def _holds(node: Node, seen: list[Facet]) -> bool:
    match node:
        case Compare(path, op, kind, value):
            return any(p == path and k == kind and _COMPARE[op](v, value) for p, k, v in seen)
        case Exists(path):
            return any(p == path for p, _, _ in seen)
        case And(parts):
            return all(_holds(part, seen) for part in parts)
        case Or(parts):
            return any(_holds(part, seen) for part in parts)
        case Not(part):
            return not _holds(part, seen)


def _parse(spec: Any) -> Node:
    if not isinstance(spec, Mapping):
        raise InputError(f"a filter must be a mapping, not {type(spec).__name__}")
    parts: list[Node] = []
    for key, value in spec.items():
        if not isinstance(key, str):
            raise InputError(f"a filter's field must be a string, not {key!r}")
        if key in ("$and", "$or"):
            children = tuple(_parse(child) for child in _listed(key, value))
            parts.append(And(children) if key == "$and" else Or(children))
        elif key == "$not":
            parts.append(Not(_parse(value)))
        elif key.startswith("$"):
            if key in OPERATORS:
                raise InputError(
                    f"{key} stands under a field, such as {{'team': {{{key!r}: ...}}}}"
                )
            raise _unknown(key)
        else:
            parts.append(_field(key, value))
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _field(path: str, value: Any) -> Node:
    if not isinstance(value, Mapping):
        return _compare(path, "$eq", value)
    if not value:
        raise InputError(
            f"filter field {path!r} has an empty condition; write a value or {{'$exists': True}}"
        )
    parts = tuple(_condition(path, op, operand) for op, operand in value.items())
    return parts[0] if len(parts) == 1 else And(parts)


def _condition(path: str, op: str, operand: Any) -> Node:
    match op:
        case "$ne":
            return Not(_compare(path, "$eq", operand))
        case "$in":
            return Or(tuple(_compare(path, "$eq", v) for v in _listed(op, operand)))
        case "$nin":
            return Not(_condition(path, "$in", operand))
        case "$exists":
            if not isinstance(operand, bool):
                raise InputError(f"$exists takes True or False, not {operand!r}")
            return Exists(path) if operand else Not(Exists(path))
        case "$not":
            return Not(_field(path, operand))
        case _ if op in _COMPARE:
            return _compare(path, op, operand)
    raise _unknown(op, path)


def _compare(path: str, op: str, value: Any) -> Compare:
    value = value.item() if isinstance(value, np.generic) else value
    kind = _kind(value)
    if kind is None:
        raise InputError(
            f"filter field {path!r}: {op} takes a string, number, boolean or date, not {value!r}"
        )
    if kind == "null" and op != "$eq":
        raise InputError(f"filter field {path!r}: {op} cannot order None; use $eq, $ne or $exists")
    return Compare(path, op, kind, value.isoformat() if isinstance(value, date) else value)


def _listed(op: str, value: Any) -> list[Any]:
    if isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__iter__"):
        raise InputError(f"{op} takes a list, not {value!r}")
    return list(value)


def _unknown(op: object, path: str = "") -> InputError:
    where = f" in field {path!r}" if path else ""
    hint = f"known are {', '.join((*OPERATORS, '$and', '$or'))}"
    if f"${op}" in OPERATORS:
        hint = f"did you mean '${op}'?"
    elif path and isinstance(op, str) and not op.startswith("$"):
        hint = f"for the value of {op!r} inside {path!r} write {f'{path}.{op}'!r}"
    return InputError(f"unknown filter operator {op!r}{where}; {hint}")
