"""What settings would take, from what the recorded stages took on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stepwell.candidates import Scores
from stepwell.stages.bi_encoder import BiEncoder
from stepwell.stages.dense import Dense
from stepwell.tune.anatomy import Anatomy
from stepwell.tune.recorded import Recorded, lists_of, recall_key
from stepwell.tune.setting import Setting


@dataclass(frozen=True, slots=True, eq=False)
class _Line:
    """What a stage takes: `factor * (fixed + each * n)` milliseconds for n candidates.

    `fixed` and `each` are one fit over all queries; (queries,) `factor` is how much dearer a query
    was than the fit, since some are longer and find longer passages.
    """

    fixed: float
    each: float
    factor: Scores

    def of(self, n: Scores) -> Scores:
        taken: Scores = np.where(n > 0, self.factor * (self.fixed + self.each * n), 0.0)
        return taken


class Costs:
    """Predicts the latency of settings, query by query.

    Args:
        recorded: Of every query.
        anatomy: Of the cascade that was recorded.
    """

    def __init__(self, recorded: Iterable[Recorded], anatomy: Anatomy) -> None:
        # Once through: they may be more than fit in memory.
        rows = [(each.recall_ms, each.encode_ms, _sizes(each), each.calls) for each in recorded]
        self._recall = _columns([row[0] for row in rows])
        self._encode = _columns([row[1] for row in rows])
        self._found = _columns([row[2] for row in rows])
        calls = [row[3] for row in rows]
        self._lines = {
            name: _line([each.get(name, []) for each in calls]) for name in anatomy.rescorers
        }
        self._encoders = encoders(anatomy)

    def of(self, setting: Setting) -> Scores:
        """(queries,) predicted milliseconds of a setting."""
        key = recall_key(setting.arms, setting.depths)
        total = self._recall[key].copy()
        used = [*setting.arms, *(step.stage for step in setting.steps)]
        # The vector of a query is kept from one stage to the next, so it is made once.
        for name in {self._encoders[stage] for stage in used if stage in self._encoders}:
            total += self._encode[name]
        left = self._found[key]
        for step in setting.steps:
            left = left if step.reads is None else np.minimum(left, step.reads)
            total += self._lines[step.stage].of(left)
        return total


def encoders(anatomy: Anatomy) -> dict[str, str]:
    """By stage that needs the query's vector, the name of its encoder."""
    stages = {**anatomy.arms, **anatomy.rescorers}
    return {
        name: stage.encoder.name
        for name, stage in stages.items()
        if isinstance(stage, (BiEncoder, Dense))
    }


def _line(calls: Sequence[Sequence[Sequence[float]]]) -> _Line:
    every = np.array([call for each in calls for call in each], dtype=np.float64).reshape(-1, 2)
    n, ms = every[:, 0], every[:, 1]
    fixed = each = 0.0
    if len(set(n.tolist())) > 1:
        slope, start = np.polyfit(n, ms, 1)
        fixed, each = max(float(start), 0.0), max(float(slope), 0.0)
    if n.size and (fixed == 0.0 or each == 0.0):
        # A line through the origin, where noise gave one that falls or begins below it.
        fixed, each = 0.0, float(ms.sum() / n.sum())
    factor = [
        sum(call[1] for call in of) / expected
        if (expected := sum(fixed + each * call[0] for call in of)) > 0
        else 1.0
        for of in calls
    ]
    return _Line(fixed, each, np.array(factor))


def _sizes(recorded: Recorded) -> dict[str, float]:
    """How many documents arms find together, by recall."""
    lists = {key: recorded.lists[key][0].tolist() for key in recorded.lists}
    return {
        key: float(len(set().union(*(lists[part] for part in lists_of(key)))))
        for key in recorded.recall_ms
    }


def _columns(rows: Sequence[Mapping[str, float]]) -> dict[str, Scores]:
    names = rows[0] if rows else {}
    return {name: np.array([row[name] for row in rows]) for name in names}
