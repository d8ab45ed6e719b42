"""Runs the stages for one query, as deep as any setting goes, and times them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepwell.attempt import raised
from stepwell.candidates import Candidates
from stepwell.documents import Query, Source, overlay
from stepwell.stage import Stage
from stepwell.tune.anatomy import Anatomy, at_depth, fused, whole
from stepwell.tune.cost import encoders
from stepwell.tune.recorded import Recorded, list_key, recall_key
from stepwell.tune.replay import tree_of, wanted
from stepwell.tune.setting import Setting

# Of what a stage reads, in parts: a line through what they take needs several sizes.
_PARTS = (1 / 16, 1 / 3)
_WARM = "what is read first is no part of the time"


class Recorder:
    """Records queries for some settings.

    Args:
        anatomy: Of the cascade.
        settings: What is to be replayed.
    """

    def __init__(self, anatomy: Anatomy, settings: Sequence[Setting]) -> None:
        self._anatomy = anatomy
        self._tree = tree_of(settings)
        self._recalls = {recall_key(each.arms, each.depths): each for each in settings}
        self._lists = {
            list_key(arm, depth): at_depth(anatomy.arms[arm], depth)
            for setting in settings
            for arm, depth in zip(setting.arms, setting.depths)
        }
        self._rescorers = {name: whole(stage) for name, stage in anatomy.rescorers.items()}
        self._encoders = _by_name(anatomy)
        self._warm = False

    def record(self, text: str) -> Recorded:
        """Record one query.

        Raises:
            StageError: A stage failed.
        """
        if not self._warm:
            self._warm = True
            # The first question loads the models.
            self._record(f"{text} ({_WARM})")
        return self._record(text)

    def _record(self, text: str) -> Recorded:
        query = Query(text)
        encode_ms = {} if query.is_blank else self._encoded(query.text)
        found, times = {}, {}
        for key, arm in self._lists.items():
            found[key], times[key] = _run(arm, Candidates.start(query))
        ids = sorted(set().union(*(each.ids.tolist() for each in found.values())))
        place = {id: at for at, id in enumerate(ids)}
        lists = {
            key: (np.array([place[id] for id in each.ids], dtype=np.int32), each.score)
            for key, each in found.items()
        }
        recorded = Recorded(ids, lists, encode_ms=encode_ms)
        for key, setting in self._recalls.items():
            alone = setting.fusion is None
            recall = fused(self._anatomy, setting)
            recorded.recall_ms[key] = (
                times[key] if alone else _run(recall, Candidates.start(query))[1]
            )
        source = overlay(each.source for each in found.values())
        for name in self._rescorers:
            self._rescore(recorded, name, query, source)
        return recorded

    def _encoded(self, text: str) -> dict[str, float]:
        """By encoder, how much longer the first time takes than those after it."""
        extra = {}
        for name, encoder in self._encoders.items():
            first, again = (_timed(encoder.encode, [text], kind="query")[1] for _ in range(2))
            extra[name] = max(first - again, 0.0)
        return extra

    def _rescore(self, recorded: Recorded, name: str, query: Query, source: Source) -> None:
        """Let a stage score what any setting gives it."""
        asked = wanted(recorded, self._tree, self._anatomy, name)
        values = np.full(len(recorded.ids), np.nan)
        calls: list[list[float]] = []
        for at in _parts(np.flatnonzero(asked)):
            given = Candidates.start(query).recalled(
                "recall", [recorded.ids[place] for place in at], np.zeros(len(at)), source=source
            )
            after, ms = _run(self._rescorers[name], given)
            made = after.scores.get(name)
            if made is not None:
                back = dict(zip(given.ids.tolist(), at.tolist()))
                values[[back[id] for id in after.ids.tolist()]] = made
            calls.append([float(len(at)), ms])
        recorded.values[name], recorded.read[name] = values, asked
        recorded.calls[name] = calls


def _parts(at: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    cuts = [int(len(at) * part) for part in _PARTS]
    return [part for part in np.split(at, cuts) if part.size]


def _run(stage: Stage, candidates: Candidates) -> tuple[Candidates, float]:
    """What a stage makes of the candidates, and the milliseconds it took."""
    try:
        after, ms = _timed(stage.run, candidates)
    except Exception as error:
        wrapped = raised(stage.name, error)
        raise wrapped from (wrapped.__cause__ or error.__cause__)
    return after, ms


def _timed(function: Any, *args: Any, **options: Any) -> tuple[Any, float]:
    began = time.perf_counter()
    made = function(*args, **options)
    return made, (time.perf_counter() - began) * 1e3


def _by_name(anatomy: Anatomy) -> dict[str, Any]:
    stages: dict[str, Any] = {**anatomy.arms, **anatomy.rescorers}
    return {encoder: stages[stage].encoder for stage, encoder in encoders(anatomy).items()}
