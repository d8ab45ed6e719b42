"""A setting: every option of a cascade that tuning may change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Step:
    """A re-scoring stage as a setting has it.

    Attributes:
        stage: Its name.
        reads: How many candidates it is given, best first; None for all.
        blend: Weight of its score against the score so far.
    """

    stage: str
    reads: int | None
    blend: float

    def options(self) -> str:
        """In words, such as `50 at .4`: how many it reads and how much it weighs."""
        return f"{_count(self.reads)} at {_share(self.blend)}"


@dataclass(frozen=True, slots=True)
class Setting:
    """What a cascade is built with.

    Attributes:
        arms: Names of the recall stages that search.
        depths: How many each of them recalls; None for all there are.
        weights: One an arm; only their proportion counts.
        fusion: How the arms are fused; None where one recalls alone.
        steps: The re-scoring stages that are kept, in order.
    """

    arms: tuple[str, ...]
    depths: tuple[int | None, ...]
    weights: tuple[float, ...]
    fusion: Literal["convex", "rrf"] | None
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return " > ".join(
            [self.recalls(), *(f"{step.stage} {step.options()}" for step in self.steps)]
        )

    def recalls(self) -> str:
        """The recall in words, such as `bm25 .6 + dense .4, 1000`."""
        depth = "/".join(dict.fromkeys(_count(each) for each in self.depths))
        if self.fusion is None:
            return f"{self.arms[0]} {depth}"
        total = sum(self.weights)
        parts = [f"{name} {_share(w / total)}" for name, w in zip(self.arms, self.weights)]
        return f"{' + '.join(parts)}{' rrf' if self.fusion == 'rrf' else ''}, {depth}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "arms": list(self.arms),
            "depths": list(self.depths),
            "weights": list(self.weights),
            "fusion": self.fusion,
            "steps": [
                {"stage": step.stage, "reads": step.reads, "blend": step.blend}
                for step in self.steps
            ],
        }


def _count(value: int | None) -> str:
    return "all" if value is None else str(value)


def _share(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".").lstrip("0") or "0"
