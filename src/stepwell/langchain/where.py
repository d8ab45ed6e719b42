"""A filter in the operator language that Chroma and its relatives take."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

from stepwell.filters import And, Compare, Exists, Filter, Node, Not, Or

Where: TypeAlias = dict[str, Any]

# No document satisfies it: the languages have no constant for "false".
_NEVER: Where = {"$and": [{"_": {"$eq": 1}}, {"_": {"$ne": 1}}]}


def where_of(filter: Filter, own: Where | None = None) -> Where | None:
    """What of a filter Chroma can check itself, joined with a `where` that is set already.

    It lets through all that the filter does, and perhaps more: what Chroma cannot express
    (`$exists`, ordered strings, the negation of an order, None) is left for the check after. A
    field that holds a list is seen by none of Chroma's comparisons.

    Returns:
        A `where`, or None when nothing can be pushed down.
    """
    parts = [part for part in (own, _where(filter.root)) if part]
    return {"$and": parts} if len(parts) > 1 else (parts[0] if parts else None)


def _where(node: Node, *, negated: bool = False) -> Where | None:
    """The node or its negation, negations moved inwards; None means "everything"."""
    match node:
        case Not(part):
            return _where(part, negated=not negated)
        case Exists():
            return None
        case Compare():
            return _compare(node, negated=negated)
        case And(parts) | Or(parts):
            all_hold = isinstance(node, And) is not negated
            return _joined([_where(part, negated=negated) for part in parts], all_hold=all_hold)


def _joined(parts: list[Where | None], *, all_hold: bool) -> Where | None:
    known = [part for part in parts if part is not None]
    if not parts:
        return None if all_hold else _NEVER
    if not all_hold and len(known) < len(parts):
        return None
    if len(known) < 2:
        return known[0] if known else None
    return {"$and" if all_hold else "$or": known}


def _compare(node: Compare, *, negated: bool) -> Where | None:
    value = node.value
    if node.kind == "number":
        if abs(value) > 2**53:
            return None  # a 64-bit column rounds it
        value, whole = _whole(node.op, value)
    if node.op == "$eq" and node.kind != "null":
        # Chroma takes the integer 2020 for 2020.5, so only the check after can tell them apart.
        exact = node.kind != "number" or whole
        return {node.path: {"$ne" if negated else "$eq": value}} if exact else None
    # A document without the field satisfies a negated order, which Chroma would leave out.
    if negated or node.kind != "number":
        return None
    return {node.path: {node.op: value}}


def _whole(op: str, value: float) -> tuple[int, bool]:
    """The integer that lets through all that the number does, and whether it is the number.

    Chroma cuts the fraction off when it compares with an integer field.
    """
    rounded = math.floor(value) if op in ("$gt", "$gte") else math.ceil(value)
    return rounded, rounded == value
