"""Adapts the embedded cross-encoder, and its blend, to a user's own judged questions.

The corpus's own hybrid finds the hard negatives. A fifth of the questions is held out, and weights
that do not rank better there than the packaged ones are not recommended, nor written.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stepwell.candidates import Candidates
from stepwell.errors import InputError
from stepwell.evaluate.measures import interval95
from stepwell.stages import Hybrid, blends
from stepwell.train.export import package_ranker
from stepwell.train.fit import Recipe, fit
from stepwell.train.judge import Scorer, blended, by_ranker
from stepwell.train.mine import Mined
from stepwell.train.model import Trunk, packaged_ranker
from stepwell.train.states import read

if TYPE_CHECKING:
    from stepwell.corpus import Corpus

Values: TypeAlias = NDArray[np.float64]

FEWEST = 30
"""Judged questions below which neither training nor its check means anything."""
DEPTH = 50
LENGTH = 160
WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True, slots=True)
class Tuned:
    """What came of it.

    Attributes:
        questions: How many were learnt from, chosen on, and held out.
        before: nDCG@10 on the held-out questions with the packaged weights at their default blend.
        reblended: The same weights at the blend that suits these questions best.
        after: The new weights at theirs.
        gain95: Where the mean gain of the recommendation over `before` lies with 95% confidence.
        blend: The recommended weight of the cross-encoder after a hybrid.
        recommended: "weights" (new weights and blend), "blend" (the packaged weights at another
            blend) or "nothing": what ranks better than before beyond chance.
        out: Where the new weights are; None if they are not recommended.
    """

    questions: tuple[int, int, int]
    before: float
    reblended: float
    after: float
    gain95: tuple[float, float]
    blend: float
    recommended: str
    out: Path | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        found = asdict(self)
        return {**found, "out": None if self.out is None else str(self.out)}


def finetune(
    corpus: Corpus,
    queries: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    out: Path,
    /,
    *,
    steps: int = 200,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> Tuned:
    """Adapt the embedded cross-encoder to judged questions over a corpus.

    Args:
        corpus: Has an encoder; its hybrid of words and vectors finds the candidates.
        queries: Text by id.
        qrels: Grades by query and document; above 0 is relevant.
        out: A folder for the new weights, for ``CrossEncoder(str(out), blend=...)``.
        steps: Of training, each on 40 pairs.
        seed: Of the split and of the training.
        progress: Called with what is done, how far, and of how much.

    Raises:
        InputError: Fewer than 30 questions have a relevant document in the corpus.
        MissingExtraError: The extra `train` is not installed.
    """
    tell = progress or (lambda what, done, total: None)
    asked = _asked(corpus, queries, qrels, seed)
    trunk = Trunk()
    cut = [round(len(asked) * part) for part in (0.6, 0.8)]
    mined, pairs = _mine(trunk, corpus, asked, cut[0], tell)
    old = packaged_ranker(trunk)
    recipe = Recipe(steps=steps, seed=seed, tokens=LENGTH, lists=min(Recipe().lists, cut[0]))
    made = fit(
        copy.deepcopy(old), [mined], recipe, checkpoint=lambda step, _: tell("trained", step, steps)
    ).eval()
    chosen, held = range(cut[0], cut[1]), range(cut[1], len(asked))
    blend_old, blend_new = (_best_blend(mined, by_ranker(each), chosen) for each in (old, made))
    usual = blends.CROSS_ENCODER_AFTER_HYBRID
    before, reblended = blended(mined, by_ranker(old), (usual, blend_old), held, depth=DEPTH).T
    after = blended(mined, by_ranker(made), (blend_new,), held, depth=DEPTH)[:, 0]
    offers = [("weights", after, blend_new), ("blend", reblended, blend_old)]
    what, best, blend = max(offers, key=lambda offer: offer[1].mean())
    low, high = interval95(best - before, seed=seed)
    if low <= 0:
        what, blend = "nothing", usual
    if what == "weights":
        package_ranker(trunk, made, out, pairs=pairs, blend=blend, recipe=asdict(recipe))
    return Tuned(
        questions=(cut[0], len(chosen), len(held)),
        before=float(before.mean()),
        reblended=float(reblended.mean()),
        after=float(after.mean()),
        gain95=(low, high),
        blend=blend,
        recommended=what,
        out=out if what == "weights" else None,
    )


def _asked(
    corpus: Corpus,
    queries: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    seed: int,
) -> list[tuple[str, dict[str, int]]]:
    """Return the questions that have an answer here, with those answers, in a random order."""
    asked = []
    for id in sorted(queries):
        grades = {doc: grade for doc, grade in qrels.get(id, {}).items() if grade > 0}
        here = {doc: grade for doc, grade in grades.items() if doc in corpus}
        if here and queries[id].strip():
            asked.append((queries[id], here))
    if len(asked) < FEWEST:
        raise InputError(
            f"{len(asked)} questions have a relevant document in {corpus.path}; "
            f"it takes {FEWEST} to learn from them and to check what was learnt"
        )
    random.Random(seed).shuffle(asked)
    return asked


def _mine(
    trunk: Trunk,
    corpus: Corpus,
    asked: Sequence[tuple[str, dict[str, int]]],
    train: int,
    tell: Callable[[str, int, int], None],
) -> tuple[Mined, list[tuple[str, str]]]:
    """Return what the corpus's hybrid finds for each question, read, and pairs to calibrate on."""
    hybrid = Hybrid(corpus, k=DEPTH)
    found: list[Candidates] = []
    for done, (text, _) in enumerate(asked, start=1):
        found.append(hybrid.run(Candidates.start(text)))
        tell("mined", done, len(asked))
    ids = sorted({id for each in found for id in each.ids} | {id for _, r in asked for id in r})
    place = {id: at for at, id in enumerate(ids)}
    texts = ["" if doc is None else doc.text for doc in corpus.get_many(ids)]
    size = min(len(each) for each in found)
    mined = Mined(
        name=corpus.path.name,
        passages=read(trunk, texts, length=LENGTH),
        questions=read(trunk, [text for text, _ in asked], length=64),
        relevant=[{place[id]: grade for id, grade in grades.items()} for _, grades in asked],
        train=train,
        found=np.array([[place[id] for id in each.ids[:size]] for each in found], dtype=np.int64),
        fused=np.array([each.score[:size] for each in found], dtype=np.float32),
    )
    pairs = [(text, texts[place[next(iter(grades))]]) for text, grades in asked[: min(train, 100)]]
    return mined, pairs


def _best_blend(mined: Mined, scorer: Scorer, questions: Sequence[int]) -> float:
    return WEIGHTS[
        int(blended(mined, scorer, WEIGHTS, questions, depth=DEPTH).mean(axis=0).argmax())
    ]
