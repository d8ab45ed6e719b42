"""The contract, checked on every stage that the package exports."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest

from stepwell import (
    BM25,
    MMR,
    BiEncoder,
    Candidates,
    Cascade,
    ContractError,
    Corpus,
    CrossEncoder,
    Dedupe,
    Dense,
    Guarded,
    Hybrid,
    Keyword,
    LateInteraction,
    MinScore,
    Parents,
    Probability,
    Stage,
    TopK,
    stage,
    stages,
)
from stepwell.calibrator import Calibrator, Platt
from stepwell.documents import well_formed
from stepwell.testing import CHECKS, WordEncoder, WordScorer, check_stage, sample_documents

QUERY = "how do I rotate the logs?"
Make = Callable[[Corpus], Stage]

MAKERS: dict[str, Make] = {
    "BM25": BM25,
    "BM25 brought": lambda corpus: BM25(),
    "BM25 in memory": lambda corpus: BM25(sample_documents(), backend="rank-bm25"),
    "Keyword": lambda corpus: Keyword(corpus),
    "Keyword filter": lambda corpus: Keyword(corpus, phrase=False),
    "Dense": Dense,
    "Hybrid": Hybrid,
    "Hybrid rrf": lambda corpus: Hybrid(corpus, fusion="rrf", k=4),
    "Hybrid of Hybrid": lambda corpus: Hybrid([Hybrid(corpus, name="inner"), Keyword(corpus)]),
    "BiEncoder": BiEncoder,
    "BiEncoder brought": lambda corpus: BiEncoder(encoder=WordEncoder(), k=4),
    "CrossEncoder": lambda corpus: CrossEncoder(WordScorer(limit=5), k=3, depth=6),
    "CrossEncoder embedded": lambda corpus: CrossEncoder(),
    "LateInteraction": lambda corpus: LateInteraction(WordEncoder(), k=4),
    "LateInteraction embedded": lambda corpus: LateInteraction(),
    "Guarded recall": lambda corpus: Guarded(BM25(corpus), Keyword(corpus)),
    "Guarded": lambda corpus: Guarded(CrossEncoder(WordScorer(limit=5)), TopK(3)),
    "TopK": lambda corpus: TopK(3),
    "MinScore": lambda corpus: MinScore(0.0),
    "MinScore of a stage": lambda corpus: MinScore(0.5, of="given"),
    "Probability": lambda corpus: Probability(Calibrator(Platt(2.0, -1.0), stage="given")),
    "Probability cut": lambda corpus: Probability(
        Calibrator(Platt(2.0, -1.0), stage="given"), at_least=0.5
    ),
    "Dedupe": lambda corpus: Dedupe(),
    "Dedupe near": lambda corpus: Dedupe(near=0.5),
    "MMR": MMR,
    "MMR brought": lambda corpus: MMR(encoder=WordEncoder(), k=4),
    "Parents": lambda corpus: Parents(),
    "Parents of a corpus": Parents,
    "Cascade": lambda corpus: Cascade([Hybrid(corpus), BiEncoder(corpus), TopK(5)]),
}
EVERY = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


@pytest.fixture(scope="module")
def corpus() -> Iterator[Corpus]:
    with Corpus.temporary(encoder=WordEncoder()) as corpus:
        corpus.add(replace(each, text=well_formed(each.text)) for each in sample_documents())
        yield corpus


def test_no_exported_stage_is_left_out():
    classes = {name for name in stages.__all__ if isinstance(getattr(stages, name), type)}
    assert classes == {name.split()[0] for name in MAKERS} - {"Cascade"}


@EVERY
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_it_keeps_the_contract(corpus, make, check):
    check(make(corpus), QUERY)


@EVERY
def test_a_copy_is_small_and_answers_alike(corpus, make):
    """Copying or pickling a stage copies no weights, no cache and no corpus."""
    one = make(corpus)
    before = Candidates.of(QUERY, sample_documents(), scores=np.linspace(1, 0, 10))
    expected = one.run(before)
    frozen = pickle.dumps(one)
    assert len(frozen) < 100_000
    for copy in (pickle.loads(frozen), deepcopy(one)):
        after = copy.run(before)
        assert after.ids.tolist() == expected.ids.tolist()
        assert after.score.tolist() == expected.score.tolist()


@EVERY
def test_a_run_leaves_nothing_behind_on_the_stage(corpus, make):
    """No state of a call: what a stage is does not change by running it."""
    one = make(corpus)
    before = pickle.dumps(one)
    one.run(Candidates.of(QUERY, sample_documents()))
    assert pickle.dumps(one) == before


@EVERY
def test_its_repr_is_one_short_line(corpus, make):
    text = repr(make(corpus))
    assert len(text) < 120
    assert "\n" not in text
    assert " object at 0x" not in text


# -- the checks check ------------------------------------------------------------------------


@stage
def _forgets_scores(candidates):
    return Candidates.of(candidates.query, [d for d in candidates.documents() if d])


class _Learns:
    """Answers otherwise every time."""

    name = "learns"

    def __init__(self):
        self.calls = 0

    def run(self, candidates):
        self.calls += 1
        values = np.roll(np.arange(len(candidates)), self.calls)
        return candidates.scored(self.name, values)


class _Blocks(_Learns):
    name = "two ways"

    def run(self, candidates):
        return candidates

    async def arun(self, candidates):
        return candidates.top(1)


class _Deaf(_Learns):
    """Recalls whatever the filter and the query say."""

    name = "deaf"

    def run(self, candidates):
        if not candidates.fresh:
            return candidates
        source = Candidates.of("q", sample_documents()).source
        return candidates.recalled(self.name, ["s0", "s1"], [2, 1], source=source)


class _Writes(_Learns):
    name = "writes"

    def run(self, candidates):
        candidates.ids.flags.writeable = True
        candidates.ids[:] = candidates.ids[::-1].copy()
        return candidates


@stage
def _invents(candidates):
    return candidates.recalled("invents", ["new"], [1.0], source=candidates.source)


class _Nameless(_Learns):
    name = ""


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (_forgets_scores, "lost the scores"),
        (_Learns(), "differently"),
        (_Blocks(), "arun"),
        (_Deaf(), "blank query without a filter"),
        (_Writes(), "changed the candidates"),
        (_invents, "not given"),
        (_Nameless(), "non-empty string"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_stage_that_breaks_a_rule_is_told_which(broken, says):
    with pytest.raises(ContractError, match=says):
        check_stage(broken)


def test_a_failure_inside_a_stage_is_told():
    """Though its sibling answered, and the outcome looks whole."""

    @stage
    def down(candidates):
        raise RuntimeError("down")

    with pytest.raises(ContractError, match=r"inside it .*down"):
        check_stage(Hybrid([BM25(), down]))


def test_a_batch_that_differs_is_told():
    class Batches:
        name = "batches"

        def run(self, candidates):
            return candidates

        def run_many(self, many):
            return [each.top(1) for each in many]

    with pytest.raises(ContractError, match="run_many"):
        check_stage(Batches())


def test_a_stage_that_only_recalls_is_given_no_set():
    class Only(_Deaf):
        recall_only = True

        def run(self, candidates):
            assert candidates.fresh
            if candidates.query.is_blank:
                return candidates.recalled(self.name, [], [], source=candidates.source)
            even = [id for id in ("s0", "s1") if candidates.query.filter is None or id == "s0"]
            source = Candidates.of("q", sample_documents()).source
            return candidates.recalled(self.name, even, range(len(even), 0, -1), source=source)

    check_stage(Only())


def test_recall_that_ignores_the_filter_is_told():
    class Deaf(_Deaf):
        def run(self, candidates):
            if candidates.query.is_blank:
                return candidates.top(None)
            return super().run(candidates)

    with pytest.raises(ContractError, match="filter excludes"):
        check_stage(Deaf())
