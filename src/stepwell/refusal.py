"""What is wrong with a request, in plain words; for the server and the agents' tools."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

LONGEST = 40
"""Characters of a name that is repeated to who sent it."""
_WORDS = {
    "missing": "is missing",
    "string_type": "must be a string",
    "string_too_short": "must not be empty",
    "string_too_long": "must have {max_length} characters at most",
    **dict.fromkeys(("int_type", "int_from_float", "int_parsing"), "must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing", "finite_number"), "must be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    "list_type": "must be a list",
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "must be an object"),
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
}


def faults(errors: Sequence[Mapping[str, Any]], /) -> str:
    """The first thing that is wrong, and where, without what was sent.

    Args:
        errors: As pydantic's `ValidationError.errors()` gives them. In the place of an error,
            names in angle brackets are those of alternatives, and left out.
    """
    first = errors[0]
    words = _WORDS.get(first["type"])
    said = first["msg"] if words is None else words.format(**first.get("ctx", {}))
    place = place_of(first["loc"])
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{place}: {said}{more}" if place else f"{said}{more}"


def place_of(loc: Iterable[str | int], /) -> str:
    """A place such as `documents[1].text`."""
    place = ""
    for part in loc:
        if isinstance(part, int):
            place += f"[{part}]"
        elif not part.startswith("<"):
            place += f".{part[:LONGEST]}" if place else part[:LONGEST]
    return place


def unknown(names: Iterable[str], known: Iterable[str], /, *, what: str = "field") -> str:
    """Says of the first name that is not known what was meant and what there is; empty if none."""
    there = list(known)
    for name in names:
        if name not in there:
            near = nearest(name, there)
            meant = f"did you mean {near!r}? There" if near else "there"
            return f"there is no {what} {name[:LONGEST]!r}; {meant} are: {', '.join(there)}"
    return ""


def nearest(name: str, known: Iterable[str], /) -> str:
    """The known name that was probably meant, or an empty string."""
    return next(iter(get_close_matches(name, list(known), n=1)), "")
