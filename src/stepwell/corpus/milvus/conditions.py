"""Filters as expressions of Milvus that mean what `Filter.matches` says.

Milvus's own comparisons depend on the version and the kind of a field: what a missing field, a
list, a null or a number beside a string means. So a document is stored with what a filter can see
of it, in a form where each question has one answer:

- `facets`: an array of digests, one of each (path), (path, kind) and (path, kind, value). Equality
  and existence ask whether one is among them.
- `bounds`: for each (path, kind) the least and the greatest value, as strings whose order is that
  of the values. A list matches where one element does, so where its least or greatest does.

No text of a filter or a document becomes part of an expression: there is nothing to escape.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from stepwell.errors import InputError
from stepwell.filters import And, Compare, Exists, Filter, Node, Not, Or, facets

_LONGEST = 128  # bytes of a string that are kept to be ordered by
_REST = 0xFFF
_SIGN = 1 << 63
_OPS = {"$gt": ("z", ">"), "$gte": ("z", ">="), "$lt": ("a", "<"), "$lte": ("a", "<=")}


def seen_by_filters(metadata: Mapping[str, Any]) -> tuple[list[str], dict[str, str]]:
    """What is stored of a document's metadata for filters: `facets` and `bounds`."""
    digests: dict[str, None] = {}
    bounds: dict[str, str] = {}
    for path, kind, value in facets(metadata):
        key = _key(kind, value)
        field = _digest(path, kind)
        digests.update(dict.fromkeys((_digest(path), field, _digest(path, kind, key))))
        if kind == "null":
            continue
        cut = key[: 2 * _LONGEST]
        bounds[f"{field}a"] = min(bounds.get(f"{field}a", cut), cut)
        bounds[f"{field}z"] = max(bounds.get(f"{field}z", cut), cut)
    return list(digests), bounds


def expression(filter: Filter | None) -> str:
    """The filter in Milvus's language; empty, so all, where there is none.

    Raises:
        InputError: It orders by a longer string than is kept to order by.
    """
    return "" if filter is None else _expressed(filter.root)


def both(one: str, other: str) -> str:
    """What two expressions allow, either of which may be empty."""
    return f"{one} and {other}" if one and other else one or other


_EVERY = "seq >= 0"
_NONE = "seq < 0"


def _expressed(node: Node) -> str:
    match node:
        case Exists(path):
            return _holds(_digest(path))
        case Compare(path, "$eq", kind, value):
            return _holds(_digest(path, kind, _key(kind, value)))
        case Compare():
            return _ordered(node)
        case And(parts):
            return f"({' and '.join(map(_expressed, parts))})" if parts else f"({_EVERY})"
        case Or(parts):
            return _any_of(parts)
        case Not(Not(part)):
            return _expressed(part)
        case Not(part):
            return f"(not {_expressed(part)})"


def _any_of(parts: tuple[Node, ...]) -> str:
    """One part holds; equalities, as of `$in`, are one question however many they are."""
    equal = [p for p in parts if isinstance(p, Compare) and p.op == "$eq"]
    rest = [_expressed(part) for part in parts if part not in equal]
    if equal:
        tokens = ", ".join(f'"{_digest(p.path, p.kind, _key(p.kind, p.value))}"' for p in equal)
        rest.append(f"array_contains_any(facets, [{tokens}])")
    return f"({' or '.join(rest)})" if rest else f"({_NONE})"


def _ordered(node: Compare) -> str:
    key = _key(node.kind, node.value)
    if len(key) >= 2 * _LONGEST:
        raise InputError(
            f"filter field {node.path!r}: Milvus orders by the first {_LONGEST} bytes of a string, "
            f"so {node.op} takes a shorter one; $eq takes any"
        )
    field = _digest(node.path, node.kind)
    end, op = _OPS[node.op]
    # Asked first: what a comparison with nothing gives differs between versions.
    return f'({_holds(field)} and bounds["{field}{end}"] {op} "{key}")'


def _holds(digest: str) -> str:
    return f'array_contains(facets, "{digest}")'


def _digest(*parts: str) -> str:
    # Each part with its length: no two lists of parts are the same bytes.
    data = b"".join(
        len(raw).to_bytes(8, "big") + raw
        for raw in (part.encode("utf-8", "surrogatepass") for part in parts)
    )
    return blake2b(data, digest_size=16).hexdigest()


def _key(kind: str, value: Any) -> str:
    """A value as a string: equal for equal values of a kind, in the order of the values."""
    if kind == "number":
        return _number(value)
    if kind == "string":
        return str(value).encode("utf-8", "surrogatepass").hex()
    return str(int(value)) if kind == "bool" else ""


def _number(value: float) -> str:
    """The float at or below a number, and how far the number is above it: integers are exact."""
    near, rest = _floor(value) if isinstance(value, int) else (value, 0)
    (bits,) = struct.unpack(">Q", struct.pack(">d", near + 0.0))  # makes 0.0 of -0.0
    return f"{bits ^ (_SIGN if bits < _SIGN else 2 * _SIGN - 1):016x}{rest:03x}"


def _floor(value: int) -> tuple[float, int]:
    try:
        near = float(value)
    except OverflowError:
        near = math.nextafter(math.inf, 0) if value > 0 else -math.inf
        return near, _REST
    if near > value:
        near = math.nextafter(near, -math.inf)
    # Integers of a corpus have 64 bits and so are less than this above; a filter's need not.
    return near, min(value - int(near), _REST)
