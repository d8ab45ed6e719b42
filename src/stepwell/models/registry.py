"""Loaded models, shared by everything in the process that asks for the same one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ModelKey:
    """What makes two loaded models the same one."""

    name: str
    revision: str = ""
    device: str = "cpu"
    precision: str = "fp32"
    length: int = 0
    task: str = "encode"

    def __str__(self) -> str:
        """Return the key as one readable string, empty parts left out."""
        parts = (self.revision, self.precision, str(self.length or ""))
        return "@".join([self.name, *(part for part in parts if part)])


@dataclass
class _Slot:
    lock: threading.Lock = field(default_factory=threading.Lock)
    model: Any = None


class Registry:
    """A thread-safe map from `ModelKey` to a loaded model, filled on first use."""

    def __init__(self) -> None:
        self._slots: dict[ModelKey, _Slot] = {}
        self._lock = threading.Lock()

    def get(self, key: ModelKey, load: Callable[[], T], /) -> T:
        """Return the model under `key`, calling `load` once if nobody has; others wait for it."""
        with self._lock:
            slot = self._slots.setdefault(key, _Slot())
        # One lock a model: loading a large one does not hold up a small one.
        with slot.lock:
            if slot.model is None:
                slot.model = load()
            return cast(T, slot.model)

    def loaded(self) -> list[ModelKey]:
        """Return the keys of the models in memory."""
        with self._lock:
            return [key for key, slot in self._slots.items() if slot.model is not None]

    def close(self, key: ModelKey | None = None, /) -> None:
        """Forget the model under `key`, or all; a holder that is used again loads it again."""
        with self._lock:
            if key is None:
                self._slots.clear()
            else:
                self._slots.pop(key, None)


shared = Registry()


class Handle(Generic[T]):
    """A small stand-in for a shared model: copying or pickling it copies no weights."""

    def __init__(self, key: ModelKey, load: Callable[[], T], /) -> None:
        self.key = key
        self._load = load

    def __call__(self) -> T:
        """Return the model, loading it on first use."""
        return shared.get(self.key, self._load)

    def close(self) -> None:
        """Free the model for everyone; whoever asks next loads it again."""
        shared.close(self.key)
