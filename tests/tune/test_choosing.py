"""What is chosen, and what is not recommended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from zlib import crc32

import numpy as np
import pytest

import stepwell as sw
from stepwell.errors import InputError
from stepwell.evaluate import Dataset
from stepwell.tune import Recording, Tuned, build, choosing, record, tune, verify

WORDS = ("logs", "disk", "cat", "noon", "key", "port", "cable", "roof", "lamp", "door")
PAIRS = [f"{one} {other}" for one in WORDS for other in WORDS if one != other]


Make = Callable[..., Recording]


def recorded(
    stack: ExitStack,
    score: Callable[[str, list[str]], list[float]],
    *,
    queries: int = 20,
    qrels: dict[str, dict[str, int]] | None = None,
) -> Recording:
    """Queries of two words, each answered by one document of five; some words lead astray."""
    asked = {f"q{at}": text for at, text in enumerate(PAIRS[:queries])}
    documents = [sw.Document(f"d {text}", text) for text in asked.values()]
    judged = qrels or {id: {f"d {text}": 1} for id, text in asked.items()}
    corpus = stack.enter_context(sw.Corpus.temporary(encoder=None))
    corpus.add(documents)
    cascade = sw.Cascade([sw.BM25(corpus, 10), sw.CrossEncoder(score, k=3, blend=1.0)])
    return record(cascade, Dataset("words", asked, judged))


def backwards(query: str, passages: list[str]) -> list[float]:
    """The worst reranker: the better a passage, the lower its score."""
    return [-float(len({*query.split()} & {*each.split()})) for each in passages]


def alike(query: str, passages: list[str]) -> list[float]:
    """A reranker that cannot tell."""
    return [0.0 for _ in passages]


def right(query: str, passages: list[str]) -> list[float]:
    """A reranker that takes its time and finds the answer."""
    time.sleep(0.003 * len(passages))
    return [float(query == each) for each in passages]


def slow(query: str, passages: list[str]) -> list[float]:
    """A reranker that takes its time and cannot tell."""
    time.sleep(0.003 * len(passages))
    return alike(query, passages)


@pytest.fixture(scope="module")
def make() -> Iterator[Make]:
    """`recorded`, over corpora that stay open."""
    with ExitStack() as stack:
        yield partial(recorded, stack)


@pytest.fixture(scope="module")
def harmed(make: Make) -> Recording:
    """The present cascade puts the worst first."""
    return make(backwards)


def test_a_stage_that_harms_is_left_out(harmed: Recording) -> None:
    """Choosing finds it, and held-out queries agree; the file of it is the better cascade."""
    tuned = tune(harmed)
    assert tuned.verdict == "better"
    assert tuned.recommended is tuned.best
    assert tuned.best.value > tuned.present.value
    assert tuned.held_out.interval95[0] > 0
    assert tuned.held_out.difference == pytest.approx(tuned.held_out.value - tuned.held_out.present)
    assert tuned.present.setting == harmed.settings[0]


def test_what_is_no_better_is_not_recommended(make: Make) -> None:
    """Where every setting answers alike the given cascade stays, whatever is a little faster."""
    tuned = tune(make(alike))
    assert len(set(tuned.values.tolist())) == 1
    assert tuned.verdict == "not better"
    assert tuned.recommended == tuned.present
    assert tuned.held_out.interval95 == (0.0, 0.0)


def test_chance_is_not_recommended(make: Make) -> None:
    """Among settings that differ by chance the best looks better, and on held-out queries not."""
    rng = np.random.default_rng(0)
    asked = {f"q{at}": text for at, text in enumerate(PAIRS[:20])}
    ids = [f"d {text}" for text in asked.values()]
    qrels = {id: {str(rng.choice(ids)): 1} for id in asked}

    def noise(query: str, passages: list[str]) -> list[float]:
        return [float(crc32(f"{query}|{each}".encode()) % 97) for each in passages]

    tuned = tune(make(noise, qrels=qrels))
    assert tuned.best.value > tuned.present.value
    assert tuned.recommended == tuned.present


def test_the_budget_bounds_what_is_chosen(make: Make) -> None:
    """A reranker that is right and slow is chosen while there is time for it, and not beyond."""
    recording = make(right)
    free = tune(recording)
    assert free.best.setting.steps
    read = np.array([bool(setting.steps) for setting in recording.settings])
    just = float(free.ms_p95[read].min())
    tuned = tune(recording, budget_ms=0.9 * just)
    assert not tuned.best.setting.steps
    assert tuned.best.ms_p95 <= 0.9 * just
    assert tuned.best.value < free.best.value


def test_a_present_cascade_over_the_budget_is_replaced(make: Make) -> None:
    """It is said that the choice was not shown to be better, and why it is made."""
    recording = make(slow)
    fastest = float(tune(recording).ms_p95.min())
    tuned = tune(recording, budget_ms=fastest)
    assert tuned.present.ms_p95 > fastest
    assert tuned.verdict == "within budget"
    assert tuned.recommended is tuned.best


def test_a_budget_that_nothing_meets_names_the_fastest(harmed: Recording) -> None:
    """And how long it takes, so that another budget can be set."""
    with pytest.raises(InputError, match=r"within 0\.0001 ms .* the fastest, bm25 .*, takes"):
        tune(harmed, budget_ms=0.0001)
    with pytest.raises(InputError, match="above 0"):
        tune(harmed, budget_ms=0.0)


def test_the_front_is_what_nothing_beats(harmed: Recording) -> None:
    """From the fastest on, each is better than all that are faster; the last is the best."""
    tuned = tune(harmed)
    for each in tuned.front:
        faster = tuned.ms_p95 < each.ms_p95
        assert not faster.any() or tuned.values[faster].max() < each.value
    assert tuned.front[-1].value == tuned.values.max()
    assert tuned.front[0].ms_p95 == tuned.ms_p95.min()


def test_too_few_queries_are_refused(make: Make) -> None:
    """One query says nothing about another."""
    with pytest.raises(InputError, match="5 folds, which 1 judged queries do not fill"):
        tune(make(backwards, queries=1))


def test_unknown_ids_in_the_judgements_count_as_not_found(make: Make) -> None:
    """They lower what can be reached, and are no error here."""
    asked = {f"q{at}": {f"d {text}": 1, "nowhere": 1} for at, text in enumerate(PAIRS[:20])}
    tuned = tune(make(backwards, qrels=asked), measure="R@10")
    assert tuned.best.value == 0.5


def test_a_real_run_agrees(harmed: Recording) -> None:
    """The measure of a run is the replayed one; both times are told."""
    tuned: Tuned = tune(harmed)
    checked = verify(harmed, tuned.recommended.setting, queries=7)
    assert checked.queries == 7
    assert checked.run == checked.replayed
    assert set(checked.predicted_ms) == set(checked.measured_ms) == {"p50", "p95"}
    assert build(harmed.anatomy, tuned.recommended.setting).stages[0].name == "bm25"
    with pytest.raises(InputError, match="at least 1"):
        verify(harmed, tuned.recommended.setting, queries=0)


def test_a_setting_is_never_chosen_by_the_query_that_it_is_measured_on() -> None:
    """Each of many settings is right for one query alone: nothing learnt helps the others."""
    queries = 20
    values = np.vstack([np.zeros(queries), np.eye(queries)])
    latencies = np.ones_like(values)
    found = choosing._held_out(values, latencies, None, 5, 0)
    assert found.value == 0.0
    assert found.interval95 == (0.0, 0.0)
