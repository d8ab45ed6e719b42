"""What a remote reranker is built with, checked before anything is sent."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args
from urllib.parse import urlsplit

from stepwell.errors import ConfigurationError
from stepwell.models.protocols import ScoreKind
from stepwell.remote.secret import Secret
from stepwell.remote.shapes import SHAPES, Shape


def shape_of(api: str | Shape, model: str | None, kind: Any) -> Shape:
    """The shape of an API by its name, with the kind of score that its model gives.

    Raises:
        ConfigurationError: There is none of that name, or no such kind.
    """
    if not isinstance(api, Shape) and api not in SHAPES:
        known = ", ".join(map(repr, SHAPES))
        raise ConfigurationError(f"api is one of {known} or a Shape, not {api!r}")
    shape = api if isinstance(api, Shape) else SHAPES[api]
    if kind is None:
        return replace(shape, kind="similarity") if model in shape.similarity else shape
    if kind not in get_args(ScoreKind):
        known = ", ".join(map(repr, get_args(ScoreKind)))
        raise ConfigurationError(f"kind must be one of {known}, not {kind!r}")
    return replace(shape, kind=kind)


def above_0(value: Any, what: str) -> float:
    """The number, if it is one above 0.

    Raises:
        ConfigurationError: It is not.
    """
    if type(value) not in (int, float) or not value > 0:
        raise ConfigurationError(f"{what} must be a number above 0, not {value!r}")
    return float(value)


def base_of(url: Any, shape: Shape, api: str) -> str:
    """The base URL, without a slash at its end.

    Raises:
        ConfigurationError: It is missing, or cannot be shown or asked.
    """
    if url is None:
        raise ConfigurationError(f"{api!r} is self-hosted: pass url='http://host:port'")
    parts = urlsplit(url) if isinstance(url, str) else None
    if parts and (parts.username or parts.password or parts.query):
        # Not quoted: it may hold a secret, and the URL is shown in names and errors.
        raise ConfigurationError(
            "url must hold no user, password or query; pass key= or headers= instead"
        )
    if not parts or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"url must look like https://host, not {url!r}")
    base = str(url).rstrip("/")
    if base.endswith(shape.path):
        raise ConfigurationError(f"url ends before {shape.path!r}, which is added to it")
    return base


def key_of(key: str | None, shape: Shape, api: str) -> Secret | None:
    """The key, or the environment's.

    Raises:
        ConfigurationError: The API needs one and there is none.
    """
    if key is None:
        key = next((os.environ[name] for name in shape.key if os.environ.get(name)), None)
    if key is not None:
        return Secret(key)
    if shape.key:
        raise ConfigurationError(
            f"{api!r} needs a key: set {' or '.join(shape.key)}, or pass key= (key='none' for a "
            "server of your own that wants none)"
        )
    return None


def secrets_of(headers: Any) -> dict[str, Secret]:
    """Headers whose values are kept as secret as the key.

    Raises:
        ConfigurationError: They are no mapping to text.
    """
    if not isinstance(headers, Mapping):
        raise ConfigurationError(f"headers must be a mapping, not {type(headers).__name__}")
    return {name: Secret(value, what=f"the header {name}") for name, value in headers.items()}
