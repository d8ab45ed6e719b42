"""Replay: what settings answer, from what was recorded; no model and no index is touched.

The settings form a tree, so that what they share (a fusion, a re-scoring) is computed once a query;
the blends of a last stage are computed together. The formulas are the stages' own: `fusion.convex`,
`fusion.reciprocal_rank`, `candidates.blended`, in the same order of operations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from stepwell.candidates import Candidates, Scores, below, blended, min_max
from stepwell.documents import InMemory
from stepwell.errors import InputError
from stepwell.stages.fusion import Union, convex, reciprocal_rank, union
from stepwell.tune.anatomy import Anatomy
from stepwell.tune.recorded import Recorded, list_key
from stepwell.tune.setting import Setting

Order: TypeAlias = NDArray[np.intp]
Fusion: TypeAlias = "tuple[str | None, tuple[float, ...]]"
Recalled: TypeAlias = "tuple[tuple[str, ...], tuple[int | None, ...]]"
Tree: TypeAlias = "dict[Recalled, dict[Fusion, Branch]]"

_NOWHERE = InMemory()
_NO_SCORE: Scores = np.empty((0, 0))


@dataclass(slots=True)
class Branch:
    """Settings that agree so far.

    Attributes:
        ends: Numbers of the settings that have no further stage.
        groups: What others do next.
    """

    ends: list[int] = field(default_factory=list)
    groups: dict[tuple[str, int | None], Group] = field(default_factory=dict)


@dataclass(slots=True)
class Group:
    """Settings whose next stage reads equally many; they differ by its blend.

    Attributes:
        after: By blend, what follows.
        weight: (blends, 1) the blends.
        numbers: (n,) of the settings that end with this stage.
        rows: (n,) the blend of each of those, as a place in `after`.
    """

    after: dict[float, Branch] = field(default_factory=dict)
    weight: Scores = field(default_factory=lambda: np.empty((0, 1)))
    numbers: Order = field(default_factory=lambda: np.empty(0, dtype=np.intp))
    rows: Order = field(default_factory=lambda: np.empty(0, dtype=np.intp))
    goes_on: bool = False

    def close(self) -> None:
        """Lay down as arrays what is used for every query."""
        ends = [(n, row) for row, each in enumerate(self.after.values()) for n in each.ends]
        self.weight = np.array(list(self.after))[:, None]
        self.numbers, self.rows = np.array(ends, dtype=np.intp).reshape(-1, 2).T
        self.goes_on = any(each.groups for each in self.after.values())
        for branch in self.after.values():
            for group in branch.groups.values():
                group.close()


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What some settings answer one query.

    Attributes:
        settings: (n,) their numbers.
        rows: (n,) the row of each; several may share one.
        order: (rows, m) places in `Recorded.ids`, best first.
        score: (rows, l) scores of the first l, which the last stage gave; empty unless the whole
            order was asked for.
    """

    settings: Order
    rows: Order
    order: Order
    score: Scores


def tree_of(settings: Sequence[Setting]) -> Tree:
    """The settings by what they share, in the order the stages run."""
    tree: Tree = {}
    for number, setting in enumerate(settings):
        fusions = tree.setdefault((setting.arms, setting.depths), {})
        branch = fusions.setdefault((setting.fusion, setting.weights), Branch())
        for step in setting.steps:
            group = branch.groups.setdefault((step.stage, step.reads), Group())
            branch = group.after.setdefault(step.blend, Branch())
        branch.ends.append(number)
    for fusions in tree.values():
        for branch in fusions.values():
            for group in branch.groups.values():
                group.close()
    return tree


def replay(
    recorded: Recorded, tree: Tree, anatomy: Anatomy, *, depth: int | None = None
) -> Iterator[Answers]:
    """The answer of every setting to one query.

    Args:
        recorded: Of the query.
        tree: The settings, by `tree_of`.
        anatomy: Of the cascade that was recorded.
        depth: How many places of each order are wanted; None for all, the cut ones in the order
            in which `Cascade.search` back-fills them.

    Raises:
        InputError: A setting needs a score that was not recorded.
    """
    for branch, order, score in _recalls(recorded, tree, anatomy):
        yield from _answers(recorded, branch, order, score, depth)


def wanted(recorded: Recorded, tree: Tree, anatomy: Anatomy, stage: str) -> NDArray[np.bool_]:
    """(n,) which documents any setting gives to a stage; the stages before it are recorded."""
    mask = np.zeros(len(recorded.ids), dtype=bool)
    for branch, order, score in _recalls(recorded, tree, anatomy):
        _mark(recorded, branch, order, score, stage, mask)
    return mask


def _recalls(
    recorded: Recorded, tree: Tree, anatomy: Anatomy
) -> Iterator[tuple[Branch, Order, Scores]]:
    """Every fusion: the branch that begins with it, its order and score."""
    place = {id: at for at, id in enumerate(recorded.ids)}
    for (arms, depths), fusions in tree.items():
        table = _table(recorded, arms, depths)
        at = np.array([place[id] for id in table.ids], dtype=np.intp)
        floors = [getattr(anatomy.arms[arm], "floor", None) for arm in arms]
        for (fusion, weights), branch in fusions.items():
            if fusion is None:
                order, score = recorded.lists[list_key(arms[0], depths[0])]
                yield branch, order.astype(np.intp), score
                continue
            if fusion == "convex":
                values = convex(table.scores, weights, floors=floors)
            else:
                hybrid = anatomy.hybrid
                k = 60 if hybrid is None else hybrid.k_rrf
                values = reciprocal_rank(table.ranks, weights, k=k)
            best = np.argsort(-values, kind="stable")
            yield branch, at[best], values[best]


def _table(recorded: Recorded, arms: tuple[str, ...], depths: tuple[int | None, ...]) -> Union:
    lists = []
    for arm, depth in zip(arms, depths):
        key = list_key(arm, depth)
        if key not in recorded.lists:
            raise InputError(f"{arm!r} was not recorded at depth {depth}: record these settings")
        at, scores = recorded.lists[key]
        ids = [recorded.ids[place] for place in at.tolist()]
        lists.append(Candidates.start("").recalled(arm, ids, scores, source=_NOWHERE))
    return union(lists)


def _mark(
    recorded: Recorded,
    branch: Branch,
    order: Order,
    score: Scores,
    stage: str,
    mask: NDArray[np.bool_],
) -> None:
    for (name, reads), group in branch.groups.items():
        if name == stage:
            mask[order[:reads]] = True
        elif group.goes_on:
            head, scores = _rescored(recorded, name, order[:reads], score[:reads], group.weight)
            for each, at, values in zip(group.after.values(), head, scores):
                if each.groups:
                    joined = _joined(order[:reads][at], values[at], order, score)
                    _mark(recorded, each, *joined, stage, mask)


def _answers(
    recorded: Recorded, branch: Branch, order: Order, score: Scores, depth: int | None
) -> Iterator[Answers]:
    if branch.ends:
        numbers = np.array(branch.ends, dtype=np.intp)
        yield Answers(numbers, np.zeros_like(numbers), order[None, :depth], score[None])
    for (name, reads), group in branch.groups.items():
        given = order[:reads]
        head, scores = _rescored(recorded, name, given, score[:reads], group.weight)
        if group.numbers.size:
            ends = given[head[:, :depth]]
            if depth is None or depth > len(given):
                tail = np.tile(order[len(given) : depth], (len(ends), 1))
                ends = np.concatenate([ends, tail], axis=1)
            kept = np.take_along_axis(scores, head, axis=1) if depth is None else _NO_SCORE
            yield Answers(group.numbers, group.rows, ends, kept)
        if group.goes_on:
            for each, at, values in zip(group.after.values(), head, scores):
                if each.groups:
                    joined = _joined(given[at], values[at], order, score)
                    yield from _answers(recorded, Branch(groups=each.groups), *joined, depth)


def _rescored(
    recorded: Recorded, stage: str, order: Order, score: Scores, weight: Scores
) -> tuple[Order, Scores]:
    """(blends, n) how a stage orders the candidates, as places in `order`; and their new scores.

    The scores are in the order of `order`.
    """
    values = recorded.values[stage][order]
    if not len(order) or np.isnan(values.sum()):
        return _with_gaps(recorded, stage, order, score, weight)
    new = (1.0 - weight) * min_max(score) + weight * min_max(values)
    new[weight[:, 0] == 1.0] = values
    return np.argsort(-new, axis=1, kind="stable"), new


def _with_gaps(
    recorded: Recorded, stage: str, order: Order, score: Scores, weight: Scores
) -> tuple[Order, Scores]:
    """`_rescored` where a document has no score: it was deleted, or nothing was asked for it."""
    if not recorded.read[stage][order].all():
        raise InputError(f"{stage!r} was not recorded so deep: record these settings")
    values = recorded.values[stage][order]
    pairs = [blended(score, values, blend) for blend in weight[:, 0].tolist()]
    places = np.stack([at for at, _ in pairs])
    new = np.empty_like(places, dtype=np.float64)
    np.put_along_axis(new, places, np.stack([sorted_ for _, sorted_ in pairs]), axis=1)
    return places, new


def _joined(head: Order, values: Scores, order: Order, score: Scores) -> tuple[Order, Scores]:
    """What a stage read in its order, and the rest below."""
    n = len(head)
    tail = below(score[n:], values)
    return np.concatenate([head, order[n:]]), np.concatenate([values, tail])
