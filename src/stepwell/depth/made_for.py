"""What a calibrated depth depends on: the model, and the stages before it, as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

# What changes how fast scores come, and not which.
_NO_MATTER = ("cache", "shared", "depth", "given", "recall_only", "expands", "guards", "decides")
_PLAIN = (str, int, float, bool)


def described(stage: Any, before: Sequence[Any]) -> dict[str, Any]:
    """A cross-encoder and the stages before it, as names and plain values."""
    found = dict(_options(stage))
    for each in before:
        found |= _options(each)
    return found


def _options(stage: Any) -> Iterable[tuple[str, Any]]:
    yield stage.name, type(stage).__name__
    for name, value in vars(stage).items():
        if name.startswith("_") or name in (*_NO_MATTER, "name"):
            continue
        if isinstance(value, _PLAIN):
            yield f"{stage.name}.{name}", value
        elif name in ("encoder", "scorer"):
            yield f"{stage.name}.{name}", str(getattr(value, "name", type(value).__name__))
        elif name == "weights" and isinstance(value, (list, tuple)):
            yield f"{stage.name}.{name}", " ".join(f"{each:g}" for each in value)
        elif name in ("arms", "stages") and isinstance(value, (list, tuple)):
            for inner in value:
                yield from _options(inner)
        elif name in ("stage", "fallback") and hasattr(value, "run"):
            yield from _options(value)
