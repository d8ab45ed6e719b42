"""Trains the joint ranker on mined candidates, listwise, beside the score it will be blended with.

The gold passage should come first both by the ranker's own score and by its sum with the fused
score of the recall, so that the ranker learns what recall lacks without leaning on it. A part of
the target is what fused score and untrained late interaction say: unjudged passages are often
right, and the trunk knows far more text than the questions here do.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stepwell.train.mine import Mined
from stepwell.train.model import JointRanker

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train.

    Attributes:
        steps: Optimiser steps.
        lists: Questions a step, all of one collection.
        length: Candidates a question, the first of them relevant.
        tokens: Tokens read of a passage.
        soft: Share of the target that comes from the teacher.
        own: Share of the loss on the ranker's score alone, without the fused score.
        rate: Learning rate of the transformer layers.
        decay: Of the moving average of weights, which is what is kept.
        seed: Of everything random.
    """

    steps: int = 400
    lists: int = 8
    length: int = 5
    tokens: int = 112
    soft: float = 0.3
    own: float = 0.4
    rate: float = 5e-5
    decay: float = 0.99
    seed: int = 7


@dataclass(frozen=True)
class Batch:
    """Padded states of `lists` questions and their candidates, and what to aim at."""

    query: Tensor
    q_mask: Tensor
    passage: Tensor
    p_mask: Tensor
    fused: Tensor
    target: Tensor


def pad(states: Sequence[NDArray[np.float16]], /) -> tuple[Tensor, Tensor]:
    """Return float32 states (b, n, d) and their mask (b, n)."""
    width = max(len(s) for s in states)
    out = torch.zeros((len(states), width, states[0].shape[1]))
    mask = torch.zeros((len(states), width))
    for row, s in enumerate(states):
        out[row, : len(s)] = torch.from_numpy(s.astype(np.float32))
        mask[row, : len(s)] = 1.0
    return out, mask


def late_interaction(mined: Mined, question: int, chosen: Sequence[int], /) -> Tensor:
    """Return (n,) scores of the untrained trunk: what the ranker says before its first step."""
    asked = mined.questions.high[mined.questions.tokens(question)].astype(np.float32)
    scores = []
    for at in chosen:
        tokens = mined.passages.high[mined.passages.tokens(at)].astype(np.float32)
        best = (asked @ tokens.T).max(axis=1).mean()
        whole = mined.questions.vectors[question] @ mined.passages.vectors[at]
        scores.append(16.0 * best + 8.0 * whole)
    return torch.tensor(np.array(scores, dtype=np.float32))


def choose(
    mined: Mined, question: int, length: int, chance: np.random.Generator, /
) -> tuple[list[int], list[float]]:
    """Return one relevant and `length - 1` other candidates, with their fused scores."""
    relevant = mined.relevant[question]
    found, fused = mined.found[question].tolist(), mined.fused[question].tolist()
    score = dict(zip(found, fused, strict=True))
    # What recall did not find is never re-scored, so it teaches little.
    known = [p for p in relevant if p in score] or list(relevant)
    grades = np.array([relevant[p] for p in known], dtype=np.float64)
    gold = int(chance.choice(known, p=grades / grades.sum()))
    others = [p for p in found if p not in relevant]
    weight = 1.0 / (3.0 + np.arange(len(others)))
    size = min(length - 1, len(others))
    picked = chance.choice(others, size=size, replace=False, p=weight / weight.sum()).tolist()
    while len(picked) < length - 1:
        picked.append(int(chance.integers(len(mined.passages))))
    chosen = [gold, *picked]
    return chosen, [score.get(p, fused[-1]) for p in chosen]


def batch(mined: Mined, recipe: Recipe, chance: np.random.Generator, /) -> Batch:
    """Return one step's worth of a collection's training questions."""
    queries, passages, fused, targets = [], [], [], []
    asked = chance.choice(mined.train, size=recipe.lists, replace=False).tolist()
    for question in asked:
        chosen, score = choose(mined, question, recipe.length, chance)
        state = mined.questions.low[mined.questions.tokens(question)]
        queries += [state] * len(chosen)
        passages += [mined.passages.low[mined.passages.tokens(p)][: recipe.tokens] for p in chosen]
        offset = torch.tensor(score)
        teacher = (late_interaction(mined, question, chosen) + 10.0 * offset).softmax(dim=0)
        gold = torch.zeros(len(chosen))
        gold[0] = 1.0
        fused.append(offset)
        targets.append((1 - recipe.soft) * gold + recipe.soft * teacher)
    return Batch(*pad(queries), *pad(passages), torch.stack(fused), torch.stack(targets))


def parameters(
    ranker: JointRanker, offset: nn.Parameter, rate: float, /
) -> list[dict[str, object]]:
    """Return the groups of parameters: what starts from nothing learns faster than the layers."""
    heads = [p for x in (ranker.weigh, ranker.read_in, ranker.read_out) for p in x.parameters()]
    return [
        {"params": list(ranker.layers.parameters()), "lr": rate, "weight_decay": 0.01},
        {"params": heads, "lr": 20 * rate, "weight_decay": 0.01},
        {"params": [ranker.gates], "lr": 0.02, "weight_decay": 0.0},
        {"params": [ranker.scales, offset], "lr": 0.02, "weight_decay": 0.0},
    ]


def loss_of(ranker: JointRanker, offset: Tensor, made: Batch, own: float, /) -> Tensor:
    """Return the listwise cross entropy of one batch."""
    scores = ranker(made.query, made.q_mask, made.passage, made.p_mask).view_as(made.fused)
    alone = -(made.target * scores.log_softmax(dim=1)).sum(dim=1).mean()
    summed = scores + offset * made.fused
    beside = -(made.target * summed.log_softmax(dim=1)).sum(dim=1).mean()
    loss: Tensor = own * alone + (1 - own) * beside
    return loss


def fit(
    ranker: JointRanker,
    mined: Sequence[Mined],
    recipe: Recipe,
    /,
    *,
    shares: Sequence[float] | None = None,
    checkpoint: Callable[[int, JointRanker], None] | None = None,
) -> JointRanker:
    """Train `ranker` and return the moving average of its weights.

    Args:
        ranker: Changed in place.
        mined: Collections; each step draws one.
        recipe: How to train.
        shares: How often each collection is drawn; None is by the root of its questions.
        checkpoint: Called every twenty steps with the step and the average so far.
    """
    chance = np.random.default_rng(recipe.seed)
    weight = np.array(shares or [m.train**0.5 for m in mined], dtype=np.float64)
    weight /= weight.sum()
    offset = nn.Parameter(torch.tensor(10.0))
    optimiser = torch.optim.AdamW(parameters(ranker, offset, recipe.rate))
    warm = max(recipe.steps // 20, 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda s: min((s + 1) / warm, max(1 - s / recipe.steps, 0.02))
    )
    average = copy.deepcopy(ranker).requires_grad_(False)
    began, running = time.monotonic(), 0.0
    for step in range(1, recipe.steps + 1):
        made = batch(mined[int(chance.choice(len(mined), p=weight))], recipe, chance)
        loss = loss_of(ranker, offset, made, recipe.own)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(ranker.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        follow(average, ranker, min(recipe.decay, (1 + step) / (10 + step)))
        running += (loss.item() - running) / min(step, 50)
        if step % 20 == 0:
            spent = time.monotonic() - began
            note = "step %d/%d loss %.4f offset %.2f scales %s, %.0f s"
            scales = [round(x, 2) for x in ranker.scales.tolist()]
            log.info(note, step, recipe.steps, running, offset.item(), scales, spent)
        if checkpoint is not None and step % 20 == 0:
            checkpoint(step, average)
    return average


def averaged(rankers: Sequence[JointRanker], /) -> JointRanker:
    """Return the mean of rankers that began alike and were trained with differing seeds."""
    mean = copy.deepcopy(rankers[0])
    with torch.no_grad():
        for kept, *others in zip(*(r.parameters() for r in (mean, *rankers[1:])), strict=True):
            kept.copy_(torch.stack([kept, *others]).mean(dim=0))
    return mean


def follow(average: nn.Module, current: nn.Module, decay: float, /) -> None:
    """Move the average of weights towards the current ones."""
    with torch.no_grad():
        for kept, new in zip(average.parameters(), current.parameters(), strict=True):
            kept.lerp_(new, 1 - decay)
