"""The filter language of `stepwell.filters` as JSON Schema."""

from __future__ import annotations

from typing import Any

_ANY = {"type": ["string", "number", "boolean", "null"]}
_ORDERED = {"type": ["string", "number", "boolean"]}
_LIST = {"type": "array", "items": _ANY}
_FIELD = {"anyOf": [_ANY, {"$ref": "#/components/schemas/FilterCondition"}]}
_SEVERAL = {"type": "array", "items": {"$ref": "#/components/schemas/Filter"}}

FILTER: dict[str, Any] = {"$ref": "#/components/schemas/Filter"}

COMPONENTS: dict[str, Any] = {
    "Filter": {
        "type": "object",
        "description": "By field, a value or a condition; fields side by side must all match.",
        "properties": {"$and": _SEVERAL, "$or": _SEVERAL, "$not": FILTER},
        "patternProperties": {"^([^$]|$)": _FIELD},
        "additionalProperties": False,
        "example": {"team": "sre", "year": {"$gte": 2024}},
    },
    "FilterCondition": {
        "type": "object",
        "properties": {
            **dict.fromkeys(("$eq", "$ne"), _ANY),
            **dict.fromkeys(("$gt", "$gte", "$lt", "$lte"), _ORDERED),
            **dict.fromkeys(("$in", "$nin"), _LIST),
            "$exists": {"type": "boolean"},
            "$not": _FIELD,
        },
        "additionalProperties": False,
        "minProperties": 1,
    },
}
"""What the application's OpenAPI holds under these names."""
