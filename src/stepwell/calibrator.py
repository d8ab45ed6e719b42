"""`Calibrator`: what turns one stage's scores into probabilities of relevance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stepwell.errors import ConfigurationError
from stepwell.meaning import Meaning, check_meaning

VERSION = 1

Probabilities: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Platt:
    """The logistic function of a score, ``1 / (1 + exp(-(slope * score + intercept)))``.

    Platt, Probabilistic Outputs for Support Vector Machines (1999).

    Args:
        slope: Above 0, so that a higher score never is less probable.
        intercept: Finite.

    Raises:
        ConfigurationError: They are not.
    """

    method: ClassVar[str] = "platt"

    slope: float
    intercept: float

    def __post_init__(self) -> None:
        _check_numbers((self.slope, self.intercept))
        if self.slope <= 0:
            raise ConfigurationError(f"a calibrator's slope must be above 0, not {self.slope!r}")

    def __call__(self, scores: Probabilities, /) -> Probabilities:
        """(n,) from 0 to 1."""
        made: Probabilities = np.exp(-np.logaddexp(0.0, -(self.slope * scores + self.intercept)))
        return made


@dataclass(frozen=True, slots=True)
class Isotonic:
    """Steps that never fall, straight between them, flat beyond the first and the last.

    Zadrozny and Elkan, Transforming Classifier Scores into Accurate Multiclass Probability
    Estimates (KDD 2002).

    Args:
        scores: (m,) increasing.
        probabilities: (m,) from 0 to 1, never decreasing.

    Raises:
        ConfigurationError: They are not.
    """

    method: ClassVar[str] = "isotonic"

    scores: tuple[float, ...]
    probabilities: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("scores", "probabilities"):
            try:
                object.__setattr__(self, name, tuple(map(float, getattr(self, name))))
            except (TypeError, ValueError) as error:
                raise ConfigurationError(f"a calibrator's {name} must be numbers") from error
        _check_numbers((*self.scores, *self.probabilities))
        if not self.scores or len(self.scores) != len(self.probabilities):
            raise ConfigurationError("a calibrator needs as many scores as probabilities")
        if any(np.diff(self.scores) <= 0) or any(np.diff(self.probabilities) < 0):
            raise ConfigurationError("a calibrator's scores must rise, its probabilities not fall")
        if self.probabilities[0] < 0 or self.probabilities[-1] > 1:
            raise ConfigurationError("a calibrator's probabilities must be from 0 to 1")

    def __call__(self, scores: Probabilities, /) -> Probabilities:
        """(n,) from 0 to 1."""
        # Interpolation rounds: a hair above the next step, it would fall where it must not.
        made = np.interp(scores, self.scores, self.probabilities)
        steps = np.asarray(self.probabilities)
        at = np.clip(np.searchsorted(self.scores, scores, side="right"), 1, len(steps)) - 1
        after = steps[np.minimum(at + 1, len(steps) - 1)]
        clipped: Probabilities = np.clip(made, steps[at], np.maximum(after, steps[at]))
        return clipped


Curve: TypeAlias = Platt | Isotonic
_CURVES: dict[str, type[Platt] | type[Isotonic]] = {"platt": Platt, "isotonic": Isotonic}


@dataclass(frozen=True, slots=True)
class Calibrator:
    """A curve from scores to probabilities, and what it was fitted for.

    Args:
        curve: `Platt` or `Isotonic`.
        stage: Whose scores it reads.
        kind: What those mean.
        model: What made them; empty where a stage has no model.
        depth: The most candidates of a query that it was fitted to: a probability is that of a
            candidate among so many.
        dataset: What it was fitted on.
        queries: How many queries that were.
        candidates: How many candidates.
        relevant: How many of them were relevant.

    Raises:
        ConfigurationError: A value is not of its type.
    """

    curve: Curve
    stage: str
    kind: Meaning | None = None
    model: str = ""
    depth: int = 0
    dataset: str = ""
    queries: int = 0
    candidates: int = 0
    relevant: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.curve, (Platt, Isotonic)):
            raise ConfigurationError(f"a calibrator's curve is Platt or Isotonic: {self.curve!r}")
        for name in ("stage", "model", "dataset"):
            if not isinstance(getattr(self, name), str):
                raise ConfigurationError(f"a calibrator's {name} must be a string")
        for name in ("depth", "queries", "candidates", "relevant"):
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                raise ConfigurationError(f"a calibrator's {name} must be a count, not {value!r}")
        if not self.stage:
            raise ConfigurationError("a calibrator must name the stage whose scores it reads")
        check_meaning(self.kind)

    @property
    def method(self) -> str:
        """ "platt" or "isotonic"."""
        return self.curve.method

    def probabilities(self, scores: ArrayLike) -> Probabilities:
        """(n,) from 0 to 1, never falling as the score rises; NaN where the score is NaN."""
        values = np.asarray(scores, dtype=np.float64)
        made = np.full(values.shape, np.nan)
        scored = ~np.isnan(values)
        made[scored] = self.curve(values[scored])
        return made

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for TOML and JSON; what is not known is left out."""
        curve = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self.curve).items()
        }
        about = {
            name: getattr(self, name)
            for name in _names(type(self))
            if name != "curve" and getattr(self, name) not in (None, "", 0)
        }
        return {"version": VERSION, "method": self.method, **curve, **about}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Calibrator:
        """What `to_dict` made.

        Raises:
            ConfigurationError: It is of another version, or a value is missing or wrong.
        """
        rest = dict(found)
        version, method = rest.pop("version", None), rest.pop("method", None)
        if version != VERSION:
            raise ConfigurationError(
                f"the calibrator is of version {version!r}; this Stepwell reads {VERSION}: "
                "run stepwell calibrate again"
            )
        if method not in _CURVES:
            raise ConfigurationError(f"a calibrator's method is platt or isotonic, not {method!r}")
        kind = _CURVES[method]
        try:
            curve = kind(**{name: rest.pop(name) for name in _names(kind)})
            return cls(curve=curve, **rest)
        except KeyError as error:
            raise ConfigurationError(f"the calibrator lacks {error.args[0]!r}") from error
        except TypeError as error:
            raise ConfigurationError(f"the calibrator has an option of no use: {error}") from error


def _names(kind: Any) -> list[str]:
    return [each.name for each in fields(kind)]


def _check_numbers(values: tuple[Any, ...]) -> None:
    for value in values:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value):
            raise ConfigurationError(f"a calibrator's numbers must be finite, not {value!r}")
