"""What the answer would be if one stage were perfect and the rest as it is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from stepwell.candidates import Candidates, Scores
from stepwell.cascade import Cascade
from stepwell.corpus import Corpus
from stepwell.documents import overlay
from stepwell.evaluate.asked import Places, places_of
from stepwell.stage import Stage
from stepwell.stages import TopK


class Perfect:
    """A stage that makes no mistake, and keeps as many documents as the real one.

    A recall stage that others follow finds every relevant document that the corpus holds: the
    missed ones take the places of its last irrelevant ones, and what it found keeps its score. The
    order is the business of those that follow. Any other stage puts the documents in the order of
    their grades; the score is the grade, so that what follows blends with it as with any other.
    """

    def __init__(
        self, stage: Stage, grades: Mapping[str, int], corpus: Corpus | None, *, is_last: bool
    ) -> None:
        self.name = stage.name
        self._stage, self._grades, self._corpus = stage, grades, corpus
        self._is_last = is_last

    def run(self, candidates: Candidates, /) -> Candidates:
        """Order what came, or find what should have been."""
        kept = self._stage.run(candidates)
        if not candidates.fresh:
            return candidates.scored(self.name, self._of(candidates.ids.tolist())).top(len(kept))
        found, corpus = kept.ids.tolist(), self._corpus
        relevant = [id for id, grade in self._grades.items() if grade > 0]
        missed = [id for id in relevant if id not in found and corpus is not None and id in corpus]
        source = kept.source if corpus is None else overlay((kept.source, corpus))
        ids = [*found, *missed]
        if self._is_last:
            made = candidates.recalled(self.name, ids, self._of(ids), source=source)
            return made.top(max(len(found), len(missed)))
        last = kept.score.min() if found else 0.0
        score = np.concatenate([kept.score, np.full(len(missed), last)])
        surplus = set([at for at, id in enumerate(found) if id not in relevant][-len(missed) :])
        stay = [at for at in range(len(ids)) if not (missed and at in surplus)]
        return candidates.recalled(
            self.name, [ids[at] for at in stay], score[stay], source=source, kind=kept.kind
        )

    def _of(self, ids: list[str]) -> Scores:
        return np.array([max(self._grades.get(id, 0), 0) for id in ids], dtype=np.float64)


def what_if(
    cascade: Cascade, text: str, grades: Mapping[str, int], corpus: Corpus | None
) -> dict[str, Places]:
    """By stage, the judged documents of the answer's first ten if that stage were perfect.

    A stage is left out where that cannot be told: where it returns other documents than it was
    given (parents), or a threshold follows, to which a grade is no score.
    """
    found: dict[str, Places] = {}
    for at, stage in enumerate(cascade.stages):
        after = cascade.stages[at + 1 :]
        threshold = any(getattr(each, "decides", False) for each in after if type(each) is not TopK)
        if threshold or (at > 0 and getattr(stage, "expands", False)):
            continue
        is_last = all(type(each) is TopK for each in after)
        perfect = Perfect(stage, grades, corpus, is_last=is_last)
        stages = [*cascade.stages[:at], perfect, *after]
        answer = Cascade(stages, on_failure=cascade.on_failure).search(text, k=10)
        found[stage.name] = places_of(answer.ids, grades)
    return found
