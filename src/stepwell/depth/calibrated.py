"""`Depth`: when a cross-encoder may stop reading, as it was calibrated."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from stepwell.depth.completions import Completions
from stepwell.errors import ConfigurationError

OnDrift: TypeAlias = Literal["warn", "full"]
Plain: TypeAlias = "str | int | float | bool"

VERSION = 1


@dataclass(frozen=True, eq=False)
class Depth:
    """A depth that differs by query, made by `stepwell.tune.calibrate_depth`.

    The reading goes best first and stops when at most `bar` of the ways in which the rest could
    read would change the top k. An *error* is a query whose top k then lacks more than `tolerance`
    of the documents that reading all `most` candidates gives, whatever their order. The promise: of
    distinct questions like those it was calibrated on, at most `error_rate` are errors, and the
    calibration keeps that promise with `confidence`. A question that comes often counts once: the
    share of all searches that are errors may be higher.

    Attributes:
        k: The top that is meant, as the stage keeps it.
        most: How many candidates are read where it does not stop.
        step: How many are read between two looks.
        tolerance: Documents of the top k that may be others without being an error.
        error_rate: The promise.
        confidence: Of the promise.
        bar: The most doubt with which it stops; below 0 it never does.
        queries: How many it was tested on.
        errors: Among them.
        read: Mean number of candidates read, of those queries.
        deep: How many are read by half of those queries; `deep_share` of them read more, between
            `deep_low` and `deep_high` of all such queries.
        curves: (queries, most) the reranker's scores of others, that say how the rest could read.
        made_for: The stages it was calibrated with, as plain values.
        audit: Share of the questions that are read to the end, to see whether the promise holds.
        on_drift: What follows an alarm: "warn" (a line in the log), or "full" (and from then on
            everything is read).
        patience: Audited questions before a false alarm of any kind, on average at least.
    """

    k: int
    most: int
    step: int
    tolerance: int
    error_rate: float
    confidence: float
    bar: float
    queries: int
    errors: int
    read: float
    deep: int
    deep_low: float
    deep_high: float
    curves: NDArray[np.float16] = field(repr=False)
    made_for: Mapping[str, Plain] = field(default_factory=dict, repr=False)
    audit: float = 0.02
    on_drift: OnDrift = "warn"
    patience: float = 1000.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.audit <= 1.0:
            raise ConfigurationError(f"audit must be a share from 0 to 1, not {self.audit!r}")
        if self.on_drift not in get_args(OnDrift):
            raise ConfigurationError(f"on_drift must be 'warn' or 'full', not {self.on_drift!r}")
        if self.curves.ndim != 2 or self.step < 1 or not 1 <= self.k <= self.most:
            raise ConfigurationError("the depth is damaged; calibrate it again")

    def __str__(self) -> str:
        return (
            f"{self.read:.0f} of {self.most} read on average; at most {self.error_rate:g} of "
            f"distinct queries differ by more than {self.tolerance} in the top {self.k} "
            f"(confidence {self.confidence:g}, seen {self.errors} of {self.queries})"
        )

    @cached_property
    def completions(self) -> Completions:
        """How the rest could read."""
        return Completions(self.curves)

    @property
    def looks(self) -> range:
        """After how many candidates it asks whether to stop."""
        return range(self.k, self.most, self.step)

    def changed(self, made: Mapping[str, Plain]) -> list[str]:
        """What of some stages is not as it was calibrated with; empty if nothing."""
        names = sorted(self.made_for.keys() | made.keys())
        return [
            f"{name} is {made.get(name, 'absent')!r} and was {self.made_for.get(name, 'absent')!r}"
            for name in names
            if made.get(name) != self.made_for.get(name)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for TOML or JSON."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        plain["made_for"] = dict(self.made_for)
        plain["curves"] = base64.b64encode(self.curves.astype("<f2").tobytes()).decode("ascii")
        return {"version": VERSION, **plain}

    @classmethod
    def of(cls, plain: Any) -> Depth:
        """Read what `to_dict` made.

        Raises:
            ConfigurationError: It is of another version, or damaged.
        """
        values = dict(plain) if isinstance(plain, Mapping) else {}
        version = values.pop("version", None)
        if version != VERSION:
            raise ConfigurationError(
                f"the depth is of version {version!r}; this Stepwell reads {VERSION}: calibrate it "
                "again, by `stepwell depth`"
            )
        try:
            flat = np.frombuffer(base64.b64decode(values["curves"], validate=True), dtype="<f2")
            values["curves"] = flat.reshape(-1, values["most"])
            return cls(**values)
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise ConfigurationError(
                "the depth is damaged; calibrate it again, by `stepwell depth`"
            ) from error

    def save(self, path: str | Path) -> None:
        """Write it as JSON; a cascade file holds it too."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Depth:
        """Read what `save` wrote.

        Raises:
            ConfigurationError: The file is missing, of another version, or damaged.
        """
        try:
            return cls.of(json.loads(Path(path).read_text(encoding="utf-8")))
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
        except ValueError as error:  # a ConfigurationError too
            raise ConfigurationError(f"{path}: {error}") from error
