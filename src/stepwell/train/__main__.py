"""One seeded command from data to packaged weights: ``python -m stepwell.train``."""

from __future__ import annotations

import argparse
import copy
import logging
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch

from stepwell.train.data import Collection, collections
from stepwell.train.export import package
from stepwell.train.fit import Recipe, averaged, fit
from stepwell.train.judge import by_ranker, held_out
from stepwell.train.mine import Mined, mine
from stepwell.train.model import JointRanker, Trunk

log = logging.getLogger("stepwell.train")

QUESTIONS = {
    "nfcorpus": 2590,
    "vespa-docs": 5000,
    "squad": 4500,
    "medquad": 2500,
    "python-code": 5000,
}
HELD_OUT = {"nfcorpus": 150, "vespa-docs": 300, "squad": 250, "medquad": 150, "python-code": 300}
WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)


def options() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(prog="python -m stepwell.train", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of collections (BEIR)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the packaged models")
    parser.add_argument("--steps", type=int, default=Recipe().steps, help="optimiser steps")
    parser.add_argument("--seed", type=int, default=Recipe().seed)
    parser.add_argument("--seeds", type=int, default=1, help="runs to average the weights of")
    parser.add_argument("--start", type=Path, help="a ranker's weights to go on from")
    parser.add_argument("--keep", type=Path, help="where to keep the ranker's float weights")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0 lets it choose")
    parser.add_argument("--judge", type=int, default=100, help="held-out questions a collection")
    return parser.parse_args()


def prepare(trunk: Trunk, found: list[Collection], seed: int, /) -> list[Mined]:
    """Return the collections with their states and mined candidates."""
    ready = []
    for collection in found:
        began = time.monotonic()
        sizes = {"train": QUESTIONS[collection.name], "held": HELD_OUT[collection.name]}
        ready.append(mine(trunk, collection, seed=seed, **sizes))
        log.info("%s mined in %.0f s", collection.name, time.monotonic() - began)
    return ready


def sample(found: list[Collection], /, *, each: int = 25) -> list[tuple[str, str]]:
    """Return questions with a relevant passage, to calibrate the quantisation on."""
    return [
        (question.text, collection.passages[next(iter(question.relevant))])
        for collection in found
        for question in collection.train[:each]
    ]


def train(
    trunk: Trunk, mined: list[Mined], recipe: Recipe, /, *, seeds: int, start: Path | None
) -> JointRanker:
    """Return the average of `seeds` training runs that begin from the same weights."""
    begin = JointRanker(trunk)
    if start is not None:
        begin.load_state_dict(torch.load(start, weights_only=True))
    runs = [
        fit(copy.deepcopy(begin), mined, replace(recipe, seed=recipe.seed + run))
        for run in range(seeds)
    ]
    return averaged(runs).eval()


def main() -> None:
    """Mine, train, judge and package."""
    given = options()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.manual_seed(given.seed)
    if given.threads:
        torch.set_num_threads(given.threads)
    trunk = Trunk()
    found = collections(given.data, seed=given.seed)
    mined = prepare(trunk, found, given.seed)
    recipe = Recipe(steps=given.steps, seed=given.seed)
    ranker = train(trunk, mined, recipe, seeds=given.seeds, start=given.start)
    if given.keep:
        torch.save(ranker.state_dict(), given.keep)
    log.info("nDCG@10 held out, by weight of the ranker %s", WEIGHTS)
    for each in mined:
        log.info("%s %s", each.name, held_out(each, by_ranker(ranker), WEIGHTS, most=given.judge))
    notes = {
        "recipe": {**asdict(recipe), "seeds": given.seeds},
        "data": [each.name for each in mined],
    }
    made = package(trunk, ranker, given.out, pairs=sample(found), **notes)
    log.info("packaged %s at %s", made["revision"], given.out)


if __name__ == "__main__":
    main()
