"""Ask a system every question of a data set, once, and keep what was seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from stepwell.cascade import Cascade
from stepwell.corpus import Corpus
from stepwell.evaluate.asked import Asked, Step, said_of, steps_of
from stepwell.evaluate.dataset import Dataset
from stepwell.evaluate.identity import identity
from stepwell.evaluate.keeping import kept
from stepwell.evaluate.perfect import what_if
from stepwell.evaluate.systems import System, asker
from stepwell.evaluate.tuned import first_stage, swept
from stepwell.models.pair_cache import CachedScorer
from stepwell.result import Result
from stepwell.stage import Stage
from stepwell.stages.probability import Probability


def ask_all(
    system: System,
    dataset: Dataset,
    *,
    depth: int,
    funnel: bool = False,
    id_key: str | None = None,
    progress: Callable[[int], None] | None = None,
    resume: Path | str | None = None,
    key: str | None = None,
) -> tuple[list[Asked], int]:
    """Ask one query at a time, after a question that is not timed, since it loads the models.

    Args:
        system: See `asker`.
        dataset: The questions.
        depth: How many documents.
        funnel: Whether to see also what each stage could have done; after the timed search.
        id_key: See `asker`.
        progress: Called with the number of queries done.
        resume: A file that keeps the answers until the last one.
        key: See `identity`; only where answers are kept.

    Returns:
        What was seen, in the data set's order; and how many of them an interrupted run had asked.

    Raises:
        InputError: Answers are to be kept of what cannot be told from another, without a key.
    """
    ask = asker(system, id_key=id_key)
    probable = probable_of(system)
    closer = _Closer(system) if funnel and isinstance(system, Cascade) else None
    depends: tuple[str, ...] = ()
    if resume is not None:
        name = identity(system, key=key)
        depends = (dataset.digest(), name, str(depth), str(funnel), str(id_key))
    with kept(resume, depends) as keep:
        before = len(keep.asked)
        if before < len(dataset.queries):
            # Another text, since scores of pairs are kept: the query itself must be worked for.
            ask(f"{next(iter(dataset.queries.values()))} ?", depth)
        for done, (id, text) in enumerate(dataset.queries.items(), start=1):
            if id not in keep.asked:
                keep.add(_asked(ask, id, text, depth, dataset.qrels[id], closer, probable))
            if progress is not None:
                progress(done)
        return [keep.asked[id] for id in dataset.queries], before


def _asked(
    ask: Any,
    id: str,
    text: str,
    depth: int,
    grades: dict[str, int],
    closer: _Closer | None,
    probable: str | None,
) -> Asked:
    closer = closer if any(grade > 0 for grade in grades.values()) else None
    try:
        ids, ms, result = ask(text, depth)
    except Exception as error:
        error.add_note(f"while asking query {id!r}")
        raise
    asked = Asked(id, ids, ms)
    if result is not None:
        asked = replace(asked, steps=steps_of(result, grades))
    if result is not None and probable is not None:
        asked = replace(asked, said=said_of(result, probable))
    return asked if closer is None or result is None else closer.look(asked, text, grades, result)


class _Closer:
    """Looks closer at a query: what the funnel needs, none of it timed."""

    def __init__(self, cascade: Cascade) -> None:
        self._cascade = cascade
        self._corpus = corpus_of(cascade)
        self._hybrid = first_stage(cascade, self._corpus)
        self._alone = None if self._hybrid is cascade.stages[0] else self._hybrid

    def look(self, asked: Asked, text: str, grades: dict[str, int], result: Result) -> Asked:
        relevant = [id for id, grade in grades.items() if grade > 0]
        steps = [self._read(step, text, relevant) for step in asked.steps]
        first = result.trace.records[0]
        if self._alone is not None:
            first = Cascade([self._alone]).search(text, k=1).trace.records[0]
        return replace(
            asked,
            steps=tuple(steps),
            wordless=self._wordless(text, relevant),
            tuned={} if self._hybrid is None else swept(self._hybrid, first, grades),
            perfect=what_if(self._cascade, text, grades, self._corpus),
        )

    def _wordless(self, text: str, relevant: list[str]) -> list[str]:
        if self._corpus is None:
            return []
        held = [id for id in relevant if id in self._corpus]
        return [id for id, score in zip(held, self._corpus.score_text(text, held)) if score == 0]

    def _read(self, step: Step, text: str, relevant: list[str]) -> Step:
        """With the relevant documents that the stage's model read only in part."""
        stage = next(each for each in self._cascade.stages if each.name == step.name)
        scorer = getattr(stage, "scorer", None)
        # Only what is kept from the search a moment ago: anything else would cost, or call out.
        if self._corpus is None or not isinstance(scorer, CachedScorer):
            return step
        given = [id for id in relevant if id in step.places or id in step.dropped]
        found = [each for each in self._corpus.get_many(given) if each is not None]
        cut = scorer.score(text, [each.text for each in found]).cut if found else None
        return (
            step
            if cut is None
            else replace(step, unread=[each.id for each, part in zip(found, cut.tolist()) if part])
        )


def probable_of(system: System) -> str | None:
    """The last stage that gives probabilities of relevance."""
    stages = system.stages if isinstance(system, Cascade) else ()
    found = [each.name for each in stages if isinstance(each, Probability)]
    return found[-1] if found else None


def corpus_of(cascade: Cascade) -> Corpus | None:
    """The first corpus that a stage of the cascade searches."""
    for stage in _all(cascade.stages):
        found = getattr(stage, "corpus", None)
        if isinstance(found, Corpus):
            return found
    return None


def _all(stages: Iterable[Stage]) -> Iterator[Stage]:
    for stage in stages:
        yield stage
        inside = [*getattr(stage, "arms", ()), *getattr(stage, "stages", ())]
        yield from _all(inside)
