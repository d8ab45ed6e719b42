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
    """A stage that puts documents in the order of their grades, and keeps as many as another.

    A recall stage that is perfect finds every relevant document that the corpus holds. The score is
    the grade, so that what follows blends with it as with any other.
    """

    def __init__(self, stage: Stage, grades: Mapping[str, int], corpus: Corpus | None) -> None:
        self.name = stage.name
        self._stage, self._grades, self._corpus = stage, grades, corpus

    def run(self, candidates: Candidates, /) -> Candidates:
        """Order what came, or what was found and should have been."""
        kept = self._stage.run(candidates)
        if not candidates.fresh:
            return candidates.scored(self.name, self._of(candidates.ids.tolist())).top(len(kept))
        found = kept.ids.tolist()
        corpus = self._corpus
        relevant = [id for id, grade in self._grades.items() if grade > 0]
        missed = [] if corpus is None else [id for id in relevant if id in corpus]
        ids = list(dict.fromkeys([*found, *missed]))
        source = kept.source if corpus is None else overlay((kept.source, corpus))
        made = candidates.recalled(self.name, ids, self._of(ids), source=source)
        return made.top(max(len(found), len(missed)))

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
        stages = [*cascade.stages[:at], Perfect(stage, grades, corpus), *after]
        answer = Cascade(stages, on_failure=cascade.on_failure).search(text, k=10)
        found[stage.name] = places_of(answer.ids, grades)
    return found
