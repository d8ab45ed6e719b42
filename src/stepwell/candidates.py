"""`Candidates`: the one thing that flows through a cascade."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stepwell.documents import Document, InMemory, Query, Source, overlay
from stepwell.errors import ConfigurationError, InputError
from stepwell.meaning import Meaning, check_meaning

if TYPE_CHECKING:
    from stepwell.trace import StageRecord

Ids: TypeAlias = NDArray[np.object_]
Scores: TypeAlias = NDArray[np.float64]
Ranks: TypeAlias = NDArray[np.int32]

_NOTHING: Source = InMemory()


@dataclass(frozen=True, slots=True, eq=False)
class Dropped:
    """Candidates that a stage left behind, and why.

    Attributes:
        reason: One clause, such as "cut at k=50".
        ids: (m,) the ids, in the stage's order.
        ranks: (m,) int32, their place in the stage's order, from 1.
        score: (m,) float64, the score that ordered them.
        scores: By stage, (m,) float64, NaN where the stage did not score one.
        stage_ranks: By stage, (m,) int32, 0 where the stage did not rank one.
        cut: Whether only depth dropped them: they are next in line when more are asked for.
    """

    reason: str
    ids: Ids
    ranks: Ranks
    score: Scores
    scores: Mapping[str, Scores]
    stage_ranks: Mapping[str, Ranks]
    cut: bool


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """A query, ordered unique ids, and one score column per stage that scored them.

    Frozen, arrays read-only: each verb returns a new one. Text is fetched when it is asked for.

    Attributes:
        query: What was asked.
        ids: (n,) object array of unique strings, best first.
        score: (n,) float64, finite, never increasing: what orders the candidates now.
        scores: By stage, (n,) float64 raw scores, higher is better, NaN where not scored.
        ranks: By stage, (n,) int32 place in that stage's order, from 1; 0 where not ranked.
        source: Where documents are fetched from.
        deadline: `time.monotonic()` seconds by which the query must be answered, or None.
        fresh: True only before any stage ran: a recall stage starts from here.
        dropped: What the stage at work has left behind; the cascade moves it to the trace.
        notes: What the stage at work reports (counts, flags); moved to the trace likewise.
        children: Records of stages inside the stage at work; moved to the trace likewise.
        kinds: By stage, what its scores mean; one that did not say is absent.
        kind: What `score` means; None if that is not known.
        brought: Whether the caller brought the documents, and no stage recalled them.
    """

    query: Query
    ids: Ids
    score: Scores
    scores: Mapping[str, Scores] = field(default_factory=dict)
    ranks: Mapping[str, Ranks] = field(default_factory=dict)
    source: Source = _NOTHING
    deadline: float | None = None
    fresh: bool = False
    dropped: tuple[Dropped, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    children: tuple[StageRecord, ...] = ()
    kinds: Mapping[str, Meaning] = field(default_factory=dict)
    kind: Meaning | None = None
    brought: bool = False

    @classmethod
    def start(cls, query: Query | str, *, deadline: float | None = None) -> Candidates:
        """The empty set that a recall stage starts from."""
        query = query if isinstance(query, Query) else Query(query)
        return cls(query, _object_array(()), _frozen(np.empty(0)), deadline=deadline, fresh=True)

    @classmethod
    def of(
        cls,
        query: Query | str,
        documents: Iterable[Document],
        *,
        scores: ArrayLike | None = None,
        deadline: float | None = None,
    ) -> Candidates:
        """Documents that the caller brings, in the caller's order.

        Args:
            query: What is asked; its filter is applied here.
            documents: With unique ids.
            scores: (n,) scores that came with them, in any order; kept as column "given". Where
                they never increase along the list they are the score that a blend starts from.
            deadline: Monotonic seconds, see the class.

        Raises:
            InputError: Two documents have one id, or the scores do not fit.
        """
        query = query if isinstance(query, Query) else Query(query)
        kept = list(documents)
        source = InMemory(kept)
        ids = _object_array([document.id for document in kept])
        zeros = _frozen(np.zeros(len(kept)))
        base = cls(query, ids, zeros, source=source, deadline=deadline, brought=True)
        if scores is not None:
            given = np.array(scores, dtype=np.float64)
            if given.shape != ids.shape:
                raise InputError(f"{len(kept)} documents came with scores of shape {given.shape}")
            base = replace(base, scores={"given": _frozen(given)})
            if np.isfinite(given).all() and not (np.diff(given) > 0).any():
                base = replace(base, score=base.scores["given"])
        if query.filter is not None:
            mask = [query.filter.matches(document.metadata) for document in kept]
            base = base.keep(np.array(mask, dtype=bool), reason="excluded by the filter")
        return base

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"<Candidates n={len(self)} scored_by={list(self.scores)}>"

    # -- verbs for stages ------------------------------------------------------------------

    def recalled(
        self,
        name: str,
        ids: Sequence[str] | Ids,
        scores: ArrayLike,
        *,
        source: Source,
        kind: Meaning | None = None,
    ) -> Candidates:
        """A new set found by a recall stage, sorted by score, ties in the order given.

        Args:
            name: The stage's name, under which the scores are kept.
            ids: An id that comes twice keeps its better score.
            scores: (n,) higher is better.
            source: Where their documents are.
            kind: What the scores mean, see `stepwell.meaning`.
        """
        found = _object_array(ids)
        values = np.asarray(scores, dtype=np.float64)
        order = np.argsort(-values, kind="stable")
        if len(set(found.tolist())) < len(found):
            order = _firsts(found, order)
        values = _frozen(values[order])
        return replace(
            self,
            ids=_frozen(found[order]),
            score=values,
            scores={name: values},
            kinds=_with({}, name, check_meaning(kind)),
            kind=kind,
            ranks={},
            source=overlay((self.source, source)) if len(self) else source,
            fresh=False,
        )

    def scored(
        self,
        name: str,
        values: ArrayLike,
        *,
        blend: float = 1.0,
        kind: Meaning | None = None,
    ) -> Candidates:
        """The same candidates, reordered by a new score mixed with the score so far.

        `blend` is the weight of the new score. At 1 it replaces the old one and is the score. Below
        1, both are min-max normalised over the candidates scored and mixed convexly. Candidates
        whose value is NaN were not scored: they follow, in the order they had, below all others.

        Args:
            name: The stage's name, under which the raw values are kept.
            values: (n,) higher is better, in the order of `ids`.
            blend: From 0 (keep the order) to 1 (replace it).
            kind: What the values mean, see `stepwell.meaning`; a blend of them is "relative".

        Raises:
            ConfigurationError: The blend is outside 0 to 1.
        """
        raw = np.array(values, dtype=np.float64)
        order, score = blended(self.score, raw, check_blend(blend))
        columns = {**self.scores, name: _frozen(raw)}
        kinds = _with(self.kinds, name, check_meaning(kind))
        now: Meaning | None = kind if blend == 1.0 else "relative"
        return replace(self, scores=columns, kinds=kinds, kind=now).reordered(order, score)

    def with_column(
        self, name: str, values: ArrayLike, *, kind: Meaning | None = None
    ) -> Candidates:
        """The same candidates in the same order, with one more column.

        Args:
            name: The stage's name.
            values: (n,) in the order of `ids`, NaN where there is none.
            kind: What the values mean, see `stepwell.meaning`.
        """
        columns = {**self.scores, name: _frozen(np.array(values, dtype=np.float64))}
        return replace(self, scores=columns, kinds=_with(self.kinds, name, check_meaning(kind)))

    def reordered(self, order: ArrayLike, score: ArrayLike) -> Candidates:
        """The candidates at these positions, in this order, with this score.

        Args:
            order: Positions into `ids`, unique.
            score: One value a position, never increasing.
        """
        at = np.asarray(order, dtype=np.intp)
        return replace(
            self,
            ids=_frozen(self.ids[at]),
            score=_frozen(np.array(score, dtype=np.float64)),
            scores=_taken(self.scores, at),
            ranks=_taken(self.ranks, at),
        )

    def top(self, k: int | None, *, reason: str | None = None) -> Candidates:
        """The first k; the rest is noted as dropped. None keeps all."""
        if k is None or len(self) <= k:
            return self
        at = np.arange(len(self))
        return self._split(at[:k], at[k:], reason or f"cut at k={k}", cut=True)

    def keep(self, mask: ArrayLike, *, reason: str) -> Candidates:
        """The candidates where the mask is true; the rest is noted as dropped for the reason."""
        true = np.asarray(mask, dtype=bool)
        if true.all():
            return self
        return self._split(np.flatnonzero(true), np.flatnonzero(~true), reason, cut=False)

    def noted(self, **facts: Any) -> Candidates:
        """The same candidates with facts for the trace, such as `truncated=3`."""
        return replace(self, notes={**self.notes, **facts})

    def documents(self) -> list[Document | None]:
        """(n,) the documents, fetched now; None for one that was deleted meanwhile."""
        return self.source.get_many(self.ids.tolist())

    def texts(self) -> list[str]:
        """(n,) the texts, fetched now; empty for a document that was deleted meanwhile."""
        return [document.text if document else "" for document in self.documents()]

    def _split(
        self, kept: NDArray[np.intp], gone: NDArray[np.intp], reason: str, *, cut: bool
    ) -> Candidates:
        dropped = Dropped(
            reason=reason,
            ids=_frozen(self.ids[gone]),
            ranks=_frozen((gone + 1).astype(np.int32)),
            score=_frozen(self.score[gone]),
            scores=_taken(self.scores, gone),
            stage_ranks=_taken(self.ranks, gone),
            cut=cut,
        )
        rest = self.reordered(kept, self.score[kept])
        return replace(rest, dropped=(*self.dropped, dropped))


def blended(score: Scores, values: Scores, blend: float) -> tuple[NDArray[np.intp], Scores]:
    """The order and the score that `Candidates.scored` gives, from arrays alone.

    Args:
        score: (n,) the score so far, never increasing.
        values: (n,) the new ones, NaN where not scored.
        blend: Weight of the new ones, 0 to 1.

    Returns:
        (n,) positions, best first, and (n,) their score.
    """
    done = np.flatnonzero(~np.isnan(values))
    left = np.flatnonzero(np.isnan(values))
    new = values[done]
    if blend < 1.0:
        new = (1.0 - blend) * min_max(score[done]) + blend * min_max(new)
    best = np.argsort(-new, kind="stable")
    order = np.concatenate([done[best], left])
    return order, np.concatenate([new[best], below(score[left], new)])


def min_max(values: ArrayLike) -> Scores:
    """Scores moved to 0..1; all-equal scores become 1, so that a lone find keeps its weight."""
    raw = np.asarray(values, dtype=np.float64)
    if not raw.size:
        return raw
    low, high = raw.min(), raw.max()
    return np.ones_like(raw) if high <= low else (raw - low) / (high - low)


def check_blend(blend: float) -> float:
    """The blend, if it is a weight.

    Raises:
        ConfigurationError: It is not between 0 and 1.
    """
    if not 0.0 <= blend <= 1.0:
        raise ConfigurationError(f"blend must be from 0 (keep the order) to 1, not {blend!r}")
    return blend


def check_k(k: Any, *, error: type[Exception] = ConfigurationError, what: str = "k") -> int | None:
    """The depth, if it is one.

    Raises:
        ConfigurationError: It is not a positive integer or None; `error` names another type.
    """
    if k is None:
        return None
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise error(f"{what} must be an integer of at least 1, not {k!r}")
    return int(k)


def below(tail: Scores, head: Scores) -> Scores:
    """The tail's scores moved so that none is above the head's lowest; the order stays."""
    if not tail.size or not head.size:
        return tail
    lowest = head.min()
    moved = tail - max(tail.max() - lowest, 0.0)
    # The subtraction rounds: the first of the tail may end a hair above.
    clipped: Scores = np.minimum(moved, lowest)
    return clipped


def _firsts(ids: Ids, order: NDArray[np.intp]) -> NDArray[np.intp]:
    """The order without the later places of an id."""
    first = dict(zip(reversed(ids[order].tolist()), reversed(order.tolist())))
    keep = set(first.values())
    return np.array([at for at in order.tolist() if at in keep], dtype=np.intp)


def _taken(columns: Mapping[str, Any], at: NDArray[np.intp]) -> Mapping[str, Any]:
    return {name: _frozen(column[at]) for name, column in columns.items()}


def _with(kinds: Mapping[str, Meaning], name: str, kind: Meaning | None) -> Mapping[str, Meaning]:
    return kinds if kind is None else {**kinds, name: kind}


def _object_array(ids: Sequence[str] | Ids) -> Ids:
    array: Ids = np.empty(len(ids), dtype=object)
    array[:] = ids
    array.flags.writeable = False
    return array


def _frozen(array: Any) -> Any:
    """The array, read-only from now on: only for arrays that were made here."""
    array.flags.writeable = False
    return array
