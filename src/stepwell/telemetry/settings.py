"""What may leave the process in spans, and what a good hit is."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from stepwell.errors import ConfigurationError

VARIABLE = "STEPWELL_TELEMETRY_TEXT"


@dataclass(frozen=True, slots=True)
class Settings:
    """What `configure` set.

    Attributes:
        texts: Whether spans carry the query and the ids and scores of the hits.
        good: By stage name, the least raw score of a good hit.
    """

    texts: bool = False
    good: Mapping[str, float] = field(default_factory=dict)


def configure(*, texts: bool | None = None, good: Mapping[str, float] | None = None) -> Settings:
    """Say what this process tells; what is not named stays as it is.

    Args:
        texts: Whether spans carry the query, and the ids and scores of the hits. By default they do
            not, unless the environment variable ``STEPWELL_TELEMETRY_TEXT`` is ``1`` or ``true``.
            Texts of documents are never in them.
        good: By name of a scoring stage, the least raw score of a good hit. A query without any is
            counted. There is no default: what a raw score means differs by model.

    Returns:
        What holds from now on.

    Raises:
        ConfigurationError: A least score is no finite number.

    Example:
        >>> configure(good={"cross-encoder": 0.5}).good["cross-encoder"]
        0.5
        >>> configure(good={}).texts
        False
    """
    global _current
    changes: dict[str, object] = {}
    if texts is not None:
        changes["texts"] = bool(texts)
    if good is not None:
        changes["good"] = MappingProxyType({name: _least(good[name], name) for name in good})
    _current = replace(_current, **changes)  # type: ignore[arg-type]
    return _current


def current() -> Settings:
    """What holds at this moment."""
    return _current


def _least(value: Any, stage: str) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value):
        raise ConfigurationError(
            f"the least score of a good hit of stage {stage!r} must be a number, not {value!r}"
        )
    return float(value)


def _texts_by_default() -> bool:
    return os.environ.get(VARIABLE, "").strip().lower() in ("1", "true")


_current = Settings(texts=_texts_by_default())
