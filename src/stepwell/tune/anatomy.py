"""What of a cascade can be tuned: its recall, the arms of it, and the stages that re-score."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass
from typing import Any, TypeAlias

from stepwell.cascade import Cascade
from stepwell.errors import ConfigurationError
from stepwell.models.pair_cache import CachedScorer
from stepwell.stage import Recalls, Stage
from stepwell.stages.bi_encoder import BiEncoder
from stepwell.stages.bm25 import BM25
from stepwell.stages.cross_encoder import CrossEncoder
from stepwell.stages.dense import Dense
from stepwell.stages.hybrid import Hybrid
from stepwell.stages.keyword import Keyword
from stepwell.stages.late_interaction import LateInteraction
from stepwell.tune.setting import Setting, Step

Rescorer: TypeAlias = "BiEncoder | LateInteraction | CrossEncoder"

_RESCORERS = (BiEncoder, LateInteraction, CrossEncoder)
_VARIABLE = (BM25, Dense, Keyword)


@dataclass(frozen=True, slots=True)
class Anatomy:
    """A cascade taken apart.

    Attributes:
        cascade: The whole, as it was given.
        recall: Its first stage.
        arms: What a hybrid fuses, or the recall alone.
        rescorers: The stages after it, by name, in order.
        present: The options that the cascade has now.
    """

    cascade: Cascade
    recall: Stage
    arms: dict[str, Stage]
    rescorers: dict[str, Rescorer]
    present: Setting

    @property
    def hybrid(self) -> Hybrid | None:
        """The recall, if it fuses."""
        return self.recall if isinstance(self.recall, Hybrid) else None

    @property
    def answer(self) -> int | None:
        """How many documents the last stage returns."""
        return next(reversed(self.rescorers.values())).k if self.rescorers else None

    def variable(self, arm: str) -> bool:
        """Whether the depth of an arm can be set; that of a foreign retriever is its own."""
        return type(self.arms[arm]) in _VARIABLE

    def describe(self) -> list[str]:
        """What a recording depends on: the stages and their models."""
        parts = [f"{type(arm).__name__} {name} {_model(arm)}" for name, arm in self.arms.items()]
        if self.hybrid is not None:
            parts.append(f"Hybrid k_rrf={self.hybrid.k_rrf}")
        return parts + [
            f"{type(stage).__name__} {name} {_model(stage)}"
            for name, stage in self.rescorers.items()
        ]


def take_apart(cascade: Cascade) -> Anatomy:
    """The parts of a cascade that a recording can replay.

    Raises:
        ConfigurationError: It has a stage that cannot be replayed; the message says which.
    """
    first, *rest = cascade.stages
    if not isinstance(first, Recalls) or isinstance(first, Cascade):
        raise _cannot(first, "the first stage must recall: BM25, Dense, Keyword, Hybrid, as_stage")
    for stage in rest:
        if type(stage) not in _RESCORERS:
            raise _cannot(
                stage,
                "after recall only BiEncoder, LateInteraction and CrossEncoder can be replayed; "
                "tune the cascade without it, and add it to the result",
            )
        depth = getattr(stage, "depth", None)
        if not (depth is None or isinstance(depth, int)):
            raise _cannot(stage, f"depth={depth!r} differs by query; give it a number")
    arms: dict[str, Stage] = {first.name: first}
    if isinstance(first, Hybrid):
        arms = {arm.name: arm for arm in first.arms}
    for arm in arms.values():
        if isinstance(arm, (Hybrid, Cascade)):
            raise _cannot(arm, "a recall inside a hybrid must be one stage")
    rescorers: dict[str, Any] = {stage.name: stage for stage in rest}
    return Anatomy(cascade, first, arms, rescorers, _present(first, arms, rescorers))


def build(anatomy: Anatomy, setting: Setting) -> Cascade:
    """The cascade with these options; its stages share the models of the one taken apart.

    The present setting gives the very cascade that was taken apart.
    """
    if setting == anatomy.present:
        return anatomy.cascade
    reads: list[int | None] = [step.reads for step in setting.steps]
    keeps = [*reads[1:], anatomy.answer] if reads else []
    stages = [_recall(anatomy, setting, reads[0] if reads else anatomy.answer)]
    for step, keep in zip(setting.steps, keeps):
        stage = anatomy.rescorers[step.stage]
        options: dict[str, Any] = {"k": keep, "blend": step.blend}
        if isinstance(stage, CrossEncoder):
            # After a lone recall nothing has cut to what it reads.
            alone = setting.fusion is None and len(stages) == 1
            options["depth"] = step.reads if alone else None
        stages.append(_with(stage, **options))
    names = {stage.name for stage in stages}
    policy = {name: each for name, each in anatomy.cascade.on_failure.items() if name in names}
    return Cascade(stages, name=anatomy.cascade.name, on_failure=policy)


def uncached(cascade: Cascade) -> Cascade:
    """The cascade without memory of pairs, so that what it takes is what a new question takes."""
    return Cascade(
        [forgetful(stage) for stage in cascade.stages],
        name=cascade.name,
        on_failure=cascade.on_failure,
    )


def forgetful(stage: Stage) -> Stage:
    """The stage without memory of pairs."""
    if isinstance(stage, CrossEncoder) and isinstance(stage.scorer, CachedScorer):
        return _with(stage, scorer=stage.scorer.scorer)
    return stage


def whole(stage: Stage) -> Stage:
    """The stage, keeping and reading all that it is given, and forgetting pairs."""
    options: dict[str, Any] = {"k": None}
    if isinstance(stage, CrossEncoder):
        options["depth"] = None
    return forgetful(_with(stage, **options))


def at_depth(stage: Stage, depth: int | None) -> Stage:
    """The arm at another depth; one whose depth cannot be set, as it is."""
    return _with(stage, k=depth) if type(stage) in _VARIABLE else stage


def fused(anatomy: Anatomy, setting: Setting) -> Stage:
    """The recall of a setting, before any cut."""
    return _recall(anatomy, setting, None)


def _recall(anatomy: Anatomy, setting: Setting, keep: int | None) -> Stage:
    arms = [
        at_depth(anatomy.arms[name], depth) for name, depth in zip(setting.arms, setting.depths)
    ]
    if setting.fusion is None:
        return arms[0]
    return _with(
        anatomy.recall, arms=tuple(arms), weights=setting.weights, fusion=setting.fusion, k=keep
    )


def _with(stage: Stage, **options: Any) -> Stage:
    """A copy of a stage that shares its models and what they remember."""
    made = copy(stage)
    for name, value in options.items():
        setattr(made, name, value)
    return made


def _present(first: Stage, arms: dict[str, Stage], rescorers: dict[str, Rescorer]) -> Setting:
    kept = getattr(first, "k", None)
    steps: list[Step] = []
    for name, stage in rescorers.items():
        reads = _least(kept, getattr(stage, "depth", None))
        steps.append(Step(name, reads, stage.blend))
        kept = _least(kept, stage.k)
    return Setting(
        arms=tuple(arms),
        depths=tuple(getattr(arm, "k", None) for arm in arms.values()),
        weights=first.weights if isinstance(first, Hybrid) else (1.0,),
        fusion=first.fusion if isinstance(first, Hybrid) else None,
        steps=tuple(steps),
    )


def _least(*values: int | None) -> int | None:
    given = [value for value in values if value is not None]
    return min(given) if given else None


def _model(stage: Any) -> str:
    model = getattr(stage, "scorer", None) or getattr(stage, "encoder", None)
    return str(getattr(model, "name", ""))


def _cannot(stage: Stage, why: str) -> ConfigurationError:
    return ConfigurationError(f"stage {stage.name!r} cannot be tuned: {why}")


def corpora(stages: Iterable[Stage]) -> list[Any]:
    """The corpora that stages search, each once."""
    found = {id(each): each for stage in stages if (each := getattr(stage, "corpus", None))}
    return list(found.values())
