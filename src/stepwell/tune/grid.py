"""The settings that are tried when none are given."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from math import ceil
from typing import Literal, TypeAlias

from stepwell.candidates import check_k
from stepwell.errors import ConfigurationError, InputError
from stepwell.stages.bi_encoder import BiEncoder
from stepwell.stages.cross_encoder import CrossEncoder
from stepwell.tune.anatomy import Anatomy
from stepwell.tune.setting import Setting, Step

DEPTH, READ, ANSWER = 1000, 50, 10
"""Where the cascade does not say: how deep arms recall, how many are read, how many answered."""
SHARES = (0.0, 0.2, 0.35, 0.5, 0.65, 0.8, 1.0)
PARTS = (0.2, 0.4, 0.6, 0.8, 1.0)
BLENDS = {
    "bi-encoder": (0.05, 0.1, 0.3, 0.6, 1.0),
    "cross-encoder": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    "late-interaction": (0.2, 0.4, 0.6, 0.8, 1.0),
}

_Fusion: TypeAlias = "tuple[tuple[str, ...], tuple[float, ...], Literal['convex', 'rrf'] | None]"


def grid(anatomy: Anatomy, *, deepest: int | None = None) -> list[Setting]:
    """Every combination of some values of each option, about 5,000 for three stages.

    The weights of a hybrid, each arm alone, the depth of the arms, how many each re-scoring stage
    reads and how much it weighs, and each of them left out. The present setting comes first.

    Args:
        anatomy: Of the cascade.
        deepest: The most that a cross-encoder or late interaction may read; as many as it reads
            now, or 50 where that is all, by default.

    Raises:
        ConfigurationError: `deepest` is below 1.
    """
    check_k(deepest, what="deepest")
    found = {anatomy.present: None}
    for recall in _recalls(anatomy):
        for steps in _chains(anatomy, recall, list(anatomy.rescorers), None, deepest):
            setting = replace(recall, steps=steps)
            if recall.fusion is None and steps and _needs_cut(anatomy, steps[0], recall):
                if not anatomy.variable(recall.arms[0]):
                    continue
                setting = replace(setting, depths=(steps[0].reads,))
            found[setting] = None
    return list(found)


def sampled(settings: Sequence[Setting], n: int, *, seed: int = 0) -> list[Setting]:
    """This many of the settings, drawn at random, the first one always; all if there are fewer.

    Raises:
        InputError: n is below 1.
    """
    if n < 1:
        raise InputError(f"the number of settings must be at least 1, not {n}")
    if n >= len(settings):
        return list(settings)
    drawn = sorted(random.Random(seed).sample(range(1, len(settings)), n - 1))
    return [settings[0], *(settings[at] for at in drawn)]


def _recalls(anatomy: Anatomy) -> Iterator[Setting]:
    present = anatomy.present
    deep = max((each for each in present.depths if each is not None), default=DEPTH)
    for depth, (arms, weights, fusion) in product(_depths(deep, anatomy), _fusions(anatomy)):
        own = dict(zip(present.arms, present.depths))
        depths = tuple(depth if anatomy.variable(arm) else own[arm] for arm in arms)
        yield Setting(arms, depths, weights, fusion, ())


def _depths(deep: int, anatomy: Anatomy) -> list[int]:
    if not any(map(anatomy.variable, anatomy.arms)):
        return [deep]
    return sorted({deep, max(ceil(deep / 5), min(deep, anatomy.answer or ANSWER))}, reverse=True)


def _fusions(anatomy: Anatomy) -> Iterator[_Fusion]:
    """Arms, weights and fusion: what the cascade has, and others."""
    present = anatomy.present
    yield present.arms, present.weights, present.fusion
    if present.fusion is None:
        return
    total = sum(present.weights)
    now = (present.fusion, tuple(round(weight / total, 9) for weight in present.weights))
    for weights in _weights(len(present.arms)):
        chosen = [(arm, w) for arm, w in zip(present.arms, weights) if w > 0]
        arms, shares = tuple(arm for arm, _ in chosen), tuple(w for _, w in chosen)
        if len(arms) == 1:
            yield arms, (1.0,), None
        elif ("convex", weights) != now:
            yield arms, shares, "convex"
    equal = (1.0,) * len(present.arms)
    if len(equal) > 1 and ("rrf", tuple(round(1 / len(equal), 9) for _ in equal)) != now:
        yield present.arms, equal, "rrf"


def _weights(arms: int) -> list[tuple[float, ...]]:
    """Shares that sum to 1."""
    if arms == 2:
        return [(round(1 - share, 9), share) for share in SHARES]
    parts = 4
    found = product(range(parts + 1), repeat=arms)
    return [tuple(n / parts for n in each) for each in found if sum(each) == parts]


def _chains(
    anatomy: Anatomy, recall: Setting, names: list[str], above: int | None, deepest: int | None
) -> Iterator[tuple[Step, ...]]:
    """The ways to run these re-scoring stages; `above` is what the stage before reads."""
    if not names:
        yield ()
        return
    name, *rest = names
    yield from _chains(anatomy, recall, rest, above, deepest)
    for reads in _reads(anatomy, recall, name, above, deepest):
        for blend in _blends(anatomy, name):
            for others in _chains(anatomy, recall, rest, reads, deepest):
                yield (Step(name, reads, blend), *others)


def _reads(
    anatomy: Anatomy, recall: Setting, name: str, above: int | None, deepest: int | None
) -> Sequence[int | None]:
    if isinstance(anatomy.rescorers[name], BiEncoder) and above is None:
        # Vectors are stored: the first to look at them looks at all.
        return [_all_of(recall)]
    now = next(step.reads for step in anatomy.present.steps if step.stage == name)
    most = deepest or now or READ
    limits = [each for each in (above, *recall.depths) if each is not None]
    most = min([most, *limits[:1]])
    least = min(anatomy.answer or ANSWER, most)
    return sorted({max(ceil(most * part), least) for part in PARTS})


def _all_of(recall: Setting) -> int | None:
    depths = [each for each in recall.depths if each is not None]
    return max(depths) if len(depths) == len(recall.depths) else None


def _blends(anatomy: Anatomy, name: str) -> list[float]:
    stage = anatomy.rescorers[name]
    kind = "bi-encoder" if isinstance(stage, BiEncoder) else "late-interaction"
    usual = BLENDS["cross-encoder" if isinstance(stage, CrossEncoder) else kind]
    return sorted({*usual, stage.blend})


def _needs_cut(anatomy: Anatomy, step: Step, recall: Setting) -> bool:
    """Whether a lone recall must recall no more than the step reads: nothing between them cuts."""
    reads_all = step.reads is None or step.reads == recall.depths[0]
    return not reads_all and not isinstance(anatomy.rescorers[step.stage], CrossEncoder)


def check_settings(anatomy: Anatomy, settings: Sequence[Setting]) -> None:
    """Refuse settings of another cascade.

    Raises:
        ConfigurationError: A setting names an arm or a stage that the cascade does not have.
    """
    for setting in settings:
        known = set(setting.arms) <= set(anatomy.arms)
        steps = [step.stage for step in setting.steps]
        if not known or [name for name in anatomy.rescorers if name in steps] != steps:
            raise ConfigurationError(f"the cascade {anatomy.cascade!r} has no setting {setting}")
