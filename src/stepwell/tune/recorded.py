"""What was recorded of one query, and how it lies in a file."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stepwell.candidates import Scores

Positions: TypeAlias = NDArray[np.int32]
Found: TypeAlias = "tuple[Positions, Scores]"

_AND = "\0"


@dataclass(slots=True, eq=False)
class Recorded:
    """One query: what each arm found, what each re-scoring stage made of it, what that took.

    Attributes:
        ids: Of all documents that were found, sorted; everything else speaks of places in it.
        lists: By arm and depth, the places (best first) and their scores.
        values: By re-scoring stage, (n,) its scores; NaN where it gave none.
        read: By re-scoring stage, (n,) whether it was asked.
        recall_ms: By `recall_key`, what recalling took, without encoding the query.
        encode_ms: By encoder, what encoding the query took the first time.
        calls: By re-scoring stage, pairs of how many it was given at once and the milliseconds.
    """

    ids: list[str]
    lists: dict[str, Found]
    values: dict[str, Scores] = field(default_factory=dict)
    read: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    recall_ms: dict[str, float] = field(default_factory=dict)
    encode_ms: dict[str, float] = field(default_factory=dict)
    calls: dict[str, list[list[float]]] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write to a file, whole or not at all."""
        arrays: dict[str, Any] = {}
        for key, (at, scores) in self.lists.items():
            arrays[f"at {key}"], arrays[f"score {key}"] = at, scores
        for name, values in self.values.items():
            arrays[f"value {name}"], arrays[f"read {name}"] = values, self.read[name]
        rest = {
            "ids": self.ids,
            "recall": self.recall_ms,
            "encode": self.encode_ms,
            "calls": self.calls,
        }
        arrays["rest"] = np.frombuffer(json.dumps(rest).encode(), dtype=np.uint8)
        part = path.with_suffix(f".{os.getpid()}.part")
        with part.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> Recorded:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        rest = json.loads(arrays.pop("rest").tobytes())
        kinds: dict[str, dict[str, Any]] = {"at": {}, "score": {}, "value": {}, "read": {}}
        for name, array in arrays.items():
            kind, _, key = name.partition(" ")
            kinds[kind][key] = array
        return cls(
            ids=rest["ids"],
            lists={key: (at, kinds["score"][key]) for key, at in kinds["at"].items()},
            values=kinds["value"],
            read=kinds["read"],
            recall_ms=rest["recall"],
            encode_ms=rest["encode"],
            calls=rest["calls"],
        )


def list_key(arm: str, depth: int | None) -> str:
    """What the list of an arm at a depth is kept under."""
    return f"{arm} {depth}"


def recall_key(arms: tuple[str, ...], depths: tuple[int | None, ...]) -> str:
    """What the time of arms that recall together is kept under."""
    return _AND.join(map(list_key, arms, depths))


def lists_of(key: str) -> list[str]:
    """The lists that a `recall_key` joins."""
    return key.split(_AND)
