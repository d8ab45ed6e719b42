"""The interface, described for programs."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from stepwell.server.filter_schema import COMPONENTS
from stepwell.server.guard import OPEN
from stepwell.server.limits import Limits


def described(app: FastAPI, limits: Limits, *, locked: bool) -> dict[str, Any]:
    """The application's OpenAPI document, with its limits.

    Args:
        app: Its routes are described.
        limits: What is refused beyond.
        locked: Whether a key is wanted.
    """
    document = app.openapi()
    schemas = document["components"]["schemas"]
    schemas |= COMPONENTS
    text = {"maxLength": limits.characters}
    asked = schemas["RerankAsked"]["properties"]
    asked["documents"]["maxItems"] = limits.documents
    asked["documents"]["items"]["oneOf"][0] |= text
    schemas["TextDocument"]["properties"]["text"] |= text
    texts = schemas["TextsAsked"]["properties"]["texts"]
    texts["maxItems"] = limits.documents
    texts["items"] |= text
    for name in ("RerankAsked", "TextsAsked", "SearchAsked"):
        schemas[name]["properties"]["query"]["maxLength"] = limits.query
    schemas["SearchAsked"]["properties"]["k"]["maximum"] = limits.k
    if locked:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        for path, methods in document["paths"].items():
            if path not in OPEN:
                for method in methods.values():
                    method["security"] = [{"key": []}]
    return document
