"""What can be kept: documents whose text encodes and whose metadata comes back as it went in."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from stepwell.documents import Document
from stepwell.errors import InputError, kind_of

_INT64 = 2**63
_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def checked(document: Document) -> str:
    """The document's metadata as JSON, after everything about the document was checked.

    Raises:
        InputError: It is no document, its id or text is not encodable, or a metadata value would
            not come back as it went in.
    """
    if not isinstance(document, Document):
        raise InputError(f"a corpus takes stepwell.Document objects, not {kind_of(document)}")
    where = f"document {document.id!r}"
    _check_string(document.id, where, "the id")
    _check_string(document.text, where, "the text")
    if not document.metadata:
        return "{}"
    plain = dict(document.metadata)
    try:
        _check(plain, where, "")
        return _JSON.encode(plain)
    except RecursionError:
        raise InputError(f"{where}: its metadata is nested too deeply; flatten it") from None


def _check_string(text: str, where: str, what: str) -> None:
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{where}: {what} has a lone surrogate at position {error.start}, which is no "
            "character; clean it with stepwell.documents.well_formed()"
        ) from None


def _check(value: Any, where: str, key: str) -> None:
    kind = type(value)
    if value is None or kind is bool:
        return
    if isinstance(value, str):
        _check_string(value, where, f"metadata {key!r}")
    elif isinstance(value, int):
        if not -_INT64 <= value < _INT64:
            raise _refused(where, key, "an integer beyond 64 bits", "keep it as a string")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _refused(where, key, repr(value), "leave it out, or use None")
    elif kind is list:
        for element in value:
            _check(element, where, key)
    elif kind is dict:
        for name, element in value.items():
            if not isinstance(name, str):
                raise _refused(where, key, f"a mapping with key {name!r}", "use string keys")
            _check_string(name, where, "a metadata key")
            _check(element, where, f"{key}.{name}" if key else name)
    else:
        raise _refused(where, key, _described(value), _remedy(value))


def _described(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _remedy(value: Any) -> str:
    if isinstance(value, (tuple, set, frozenset)):
        return "use a list"
    if isinstance(value, Mapping):
        return "use a plain dict"
    if hasattr(value, "isoformat"):
        return "use its .isoformat() string"
    if hasattr(value, "item"):
        return "use its .item()"
    return "use strings, numbers, booleans, None, lists and dicts"


def _refused(where: str, key: str, what: str, remedy: str) -> InputError:
    return InputError(f"{where}: metadata {key!r} is {what}, which cannot be kept; {remedy}")
