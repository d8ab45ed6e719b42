"""How well a ranker orders held-out candidates, alone and blended with what came before."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from stepwell.train.fit import late_interaction, pad
from stepwell.train.mine import Mined
from stepwell.train.model import JointRanker

Scores = NDArray[np.float32]
Scorer = Callable[[Mined, int, Sequence[int]], Scores]


def by_ranker(ranker: JointRanker, /) -> Scorer:
    """Return a scorer that asks the ranker, in float32."""

    def score(mined: Mined, question: int, chosen: Sequence[int]) -> Scores:
        state = mined.questions.low[mined.questions.tokens(question)]
        passages = [mined.passages.low[mined.passages.tokens(p)] for p in chosen]
        order = np.argsort([len(p) for p in passages])
        out = np.empty(len(chosen), dtype=np.float32)
        with torch.inference_mode():
            for part in np.array_split(order, max(len(order) // 10, 1)):
                states, mask = pad([passages[i] for i in part])
                asked, q_mask = pad([state] * len(part))
                out[part] = ranker(asked, q_mask, states, mask).numpy()
        return out

    return score


def by_late_interaction(mined: Mined, question: int, chosen: Sequence[int]) -> Scores:
    """Score with the untrained trunk."""
    return late_interaction(mined, question, chosen).numpy()


def unit_range(scores: Scores, /) -> Scores:
    """Return scores mapped to 0..1 over the candidates, as a blend sees them."""
    low, high = scores.min(), scores.max()
    mapped: Scores = (scores - low) / max(float(high - low), 1e-9)
    return mapped


def ndcg(relevant: dict[int, int], ranked: Sequence[int], /, k: int = 10) -> float:
    """Return nDCG@k with linear gain (Järvelin & Kekäläinen 2002), as trec_eval has it."""
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    gains = np.array([relevant.get(p, 0) for p in ranked[:k]], dtype=np.float64)
    ideal = np.array(sorted(relevant.values(), reverse=True)[:k], dtype=np.float64)
    best = float((ideal * discount[: len(ideal)]).sum())
    return float((gains * discount[: len(gains)]).sum()) / best if best else 0.0


def blended(
    mined: Mined,
    scorer: Scorer,
    weights: Sequence[float],
    questions: Sequence[int],
    /,
    *,
    depth: int = 50,
) -> NDArray[np.float64]:
    """Return nDCG@10 (questions, weights) for each weight of the ranker's score."""
    found = np.zeros((len(questions), len(weights)))
    for row, question in enumerate(questions):
        chosen = mined.found[question][:depth]
        before = unit_range(mined.fused[question][:depth])
        after = unit_range(scorer(mined, question, chosen.tolist()))
        for at, weight in enumerate(weights):
            order = np.argsort(-((1 - weight) * before + weight * after), kind="stable")
            found[row, at] = ndcg(mined.relevant[question], chosen[order].tolist())
    return found


def held_out(
    mined: Mined, scorer: Scorer, weights: Sequence[float], /, *, depth: int = 50, most: int = 100
) -> list[float]:
    """Return the mean nDCG@10 over held-out questions for each weight of the ranker's score."""
    asked = range(mined.train, min(len(mined.relevant), mined.train + most))
    if not asked:
        return [0.0] * len(weights)
    means = blended(mined, scorer, weights, asked, depth=depth).mean(axis=0)
    return [round(float(x), 4) for x in means]
