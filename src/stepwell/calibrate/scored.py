"""The scores that a cascade's stage gave judged queries, with what the judges said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stepwell.cascade import Cascade
from stepwell.errors import ConfigurationError, InputError
from stepwell.evaluate.dataset import Dataset
from stepwell.meaning import Meaning, as_probability, logistic_of
from stepwell.result import Result
from stepwell.stage import Stage
from stepwell.stages.probability import Probability, model_of


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Scored candidates of judged queries.

    Attributes:
        stage: Whose scores.
        kind: What they mean.
        model: What made them; empty where nothing did.
        scores: (n,) float64, finite.
        relevant: (n,) bool.
        query: (n,) the query that each is of, as a place in `ids`.
        ids: The queries, whether or not a candidate of theirs was scored.
        answerable: (queries,) bool, whether a judged document of the query is relevant.
        as_it_is: (n,) the scores read as probabilities as they are; None where there is no reading.
        unscored: Candidates left out because the stage gave them no score.
        unjudged: Candidates that nobody judged, counted as not relevant or left out.
        degraded: Queries whose answer was degraded.
    """

    stage: str
    kind: Meaning | None
    model: str
    scores: NDArray[np.float64]
    relevant: NDArray[np.bool_]
    query: NDArray[np.intp]
    ids: tuple[str, ...]
    answerable: NDArray[np.bool_]
    as_it_is: NDArray[np.float64] | None = None
    unscored: int = 0
    unjudged: int = 0
    degraded: int = 0

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def depth(self) -> int:
        """The most candidates of one query."""
        return int(np.bincount(self.query, minlength=1).max())


def gather(
    cascade: Cascade,
    dataset: Dataset,
    *,
    stage: str | None = None,
    judged_only: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Pool:
    """Ask every judged query and keep the scores of the candidates that the cascade answers.

    Args:
        cascade: Asked without its `Probability` stages.
        dataset: Queries without a relevant document count too: nothing is relevant to them.
        stage: Whose scores; by default the last stage's that scores.
        judged_only: Whether a candidate that nobody judged is left out; otherwise it counts as not
            relevant.
        progress: Called with the number of queries done.

    Raises:
        ConfigurationError: No stage scores, or there is none of this name.
        InputError: The stage scored nothing, or none of its candidates is relevant.
    """
    bare = without_probability(cascade)
    found = _scoring(bare, stage)
    rows: list[tuple[int, float, bool]] = []
    unscored = unjudged = degraded = 0
    kind: Meaning | None = None
    for at, (id, text) in enumerate(dataset.queries.items()):
        result, grades = _asked(bare, id, text), dataset.qrels[id]
        degraded += result.degraded
        kind = result.kinds.get(found.name, kind)
        for hit in result:
            score, judged = hit.scores.get(found.name), hit.id in grades
            unjudged += not judged
            if score is None:
                unscored += 1
            elif judged or not judged_only:
                rows.append((at, score, grades.get(hit.id, 0) > 0))
        if progress is not None:
            progress(at + 1)
    query, scores, relevant = (np.array([row[c] for row in rows]) for c in range(3))
    pool = Pool(
        stage=found.name,
        kind=kind,
        model=model_of(found),
        scores=scores.astype(np.float64),
        relevant=relevant.astype(bool),
        query=query.astype(np.intp),
        ids=tuple(dataset.queries),
        answerable=np.array(
            [any(g > 0 for g in dataset.qrels[id].values()) for id in dataset.queries]
        ),
        unscored=unscored,
        unjudged=unjudged,
        degraded=degraded,
    )
    _check(pool, dataset, judged_only)
    reading = as_probability(pool.scores, kind, logistic=logistic_of(_scorer(found)))
    return replace(pool, as_it_is=reading)


def without_probability(cascade: Cascade) -> Cascade:
    """The cascade without the stages that a calibration makes."""
    kept = [each for each in cascade.stages if not isinstance(each, Probability)]
    names = {each.name for each in kept}
    policies = {name: each for name, each in cascade.on_failure.items() if name in names}
    if len(kept) == len(cascade.stages):
        return cascade
    return Cascade(kept, name=cascade.name, on_failure=policies, shadow=cascade.shadow)


def _asked(cascade: Cascade, id: str, text: str) -> Result:
    try:
        return cascade.search(text)
    except Exception as error:
        error.add_note(f"while asking query {id!r}")
        raise


def _scoring(cascade: Cascade, name: str | None) -> Stage:
    every = [each for stage in cascade.stages for each in (*_inside(stage), stage)]
    scoring = [each for each in every if getattr(each, "kind", None) is not None]
    if name is None:
        if not scoring:
            raise ConfigurationError(
                "no stage of the cascade says what its scores mean; name one with stage="
            )
        return scoring[-1]
    for each in every:
        if each.name == name:
            return each
    names = ", ".join(each.name for each in scoring)
    raise ConfigurationError(f"no stage is named {name!r}; those that score are {names}")


def _inside(stage: Stage) -> list[Stage]:
    return [*getattr(stage, "arms", ()), *getattr(stage, "stages", ())]


def _scorer(stage: Stage) -> object:
    inner = getattr(stage, "stage", stage)
    return getattr(inner, "scorer", None)


def _check(pool: Pool, dataset: Dataset, judged_only: bool) -> None:
    if not len(pool):
        why = " that was judged" if judged_only else ""
        raise InputError(
            f"{pool.stage} scored no candidate{why} of the {len(pool.ids)} queries of "
            f"{dataset.name}: there is nothing to fit"
        )
    if not pool.relevant.any():
        raise InputError(
            f"none of the {len(pool)} candidates is judged relevant in {dataset.name}: the "
            "documents' ids differ from the data set's, or the cascade finds nothing"
        )
    if pool.relevant.all():
        hint = (
            "; leave judged-only off, so that others count as not relevant" if judged_only else ""
        )
        raise InputError(
            f"all {len(pool)} candidates are judged relevant in {dataset.name}: it takes some that "
            f"are not{hint}"
        )
