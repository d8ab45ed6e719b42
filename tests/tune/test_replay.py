"""A replayed setting is a real run of the cascade built with it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import stepwell as sw
from stepwell.documents import InMemory
from stepwell.errors import InputError
from stepwell.tune import Recording, Setting, Step, build, take_apart
from stepwell.tune.recorded import Recorded, list_key
from stepwell.tune.replay import replay, tree_of
from tests.tune.shapes import QUERIES, cascades

NAMES = (
    "bm25 > cross",
    "hybrid > cross",
    "three stages",
    "rrf > late > cross",
    "bm25 > late",
    "dense",
    "three arms",
    "cross > late",
)


def check(recording: Recording, setting: Setting) -> None:
    """Compare the replay with a run of every query: order, back-filled too, and scores."""
    cascade = build(recording.anatomy, setting)
    replayed = recording.replay(setting)
    for id, text in QUERIES.items():
        result = cascade.search(text, k=100)
        assert result.ids == replayed[id].ids
        # Beyond what the last stage scored, ranks alone say something.
        n = min(len(cascade.search(text)), len(replayed[id].score))
        scores = [hit.score for hit in result.hits[:n]]
        np.testing.assert_allclose(replayed[id].score[:n], scores, rtol=0, atol=1e-6)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(NAMES), at=st.integers(min_value=0))
def test_any_setting_is_what_a_real_run_answers(
    recordings: dict[str, Recording], name: str, at: int
) -> None:
    """The same order to the last place, and the same scores, for any setting of any shape."""
    recording = recordings[name]
    check(recording, recording.settings[at % len(recording.settings)])


@pytest.mark.parametrize("name", NAMES)
def test_the_present_setting_is_what_the_given_cascade_answers(
    recordings: dict[str, Recording], corpus: sw.Corpus, name: str
) -> None:
    """The first setting replayed is the cascade as it was given, built apart from the recording."""
    recording, given_one = recordings[name], cascades(corpus)[name]
    replayed = recording.replay(recording.settings[0])
    assert build(recording.anatomy, recording.settings[0]) is recording.anatomy.cascade
    for id, text in QUERIES.items():
        assert given_one.search(text, k=100).ids == replayed[id].ids


@pytest.mark.parametrize("name", NAMES)
def test_many_settings_at_once_are_each_alone(recordings: dict[str, Recording], name: str) -> None:
    """What settings share is computed once, and changes none of them."""
    recording = recordings[name]
    together = recording.values("nDCG@3")
    for at in range(0, len(recording.settings), max(1, len(recording.settings) // 20)):
        alone = recording.values("nDCG@3", settings=[recording.settings[at]])
        assert alone[0].tolist() == together[at].tolist()


@given(
    rows=st.lists(
        st.tuples(st.sampled_from([0.0, 1.0, 2.5, 1 / 3]), st.sampled_from([np.nan, -1.0, 0.5, 7])),
        min_size=1,
        max_size=8,
    ),
    reads=st.integers(1, 8) | st.none(),
    blend=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_a_document_without_a_score_follows_as_in_a_run(
    rows: list[tuple[float, float]], reads: int | None, blend: float
) -> None:
    """One that was deleted meanwhile is not scored: below all that were, in the order it had."""
    ids = [f"d{at}" for at in range(len(rows))]
    score = np.sort([row[0] for row in rows])[::-1]
    values = np.array([row[1] for row in rows], dtype=np.float64)
    places = np.arange(len(rows), dtype=np.int32)
    recorded = Recorded(
        ids,
        {list_key("bm25", None): (places, score)},
        values={"cross": values},
        read={"cross": np.ones(len(rows), dtype=bool)},
    )
    reader = sw.CrossEncoder(lambda query, texts: [0.0 for _ in texts], name="cross")
    anatomy = take_apart(sw.Cascade([sw.BM25(k=None), reader]))
    setting = Setting(("bm25",), (None,), (1.0,), None, (Step("cross", reads, blend),))
    answers = next(replay(recorded, tree_of([setting]), anatomy))

    found = sw.Candidates.start("q").recalled("bm25", ids, score, source=InMemory())
    given_ones = values.copy()
    given_ones[reads or len(rows) :] = np.nan
    real = found.scored("cross", given_ones, blend=blend)
    assert [ids[at] for at in answers.order[0]] == real.ids.tolist()
    assert answers.score[0].tolist() == real.score[: answers.score.shape[1]].tolist()


def test_what_was_not_recorded_is_refused(recordings: dict[str, Recording]) -> None:
    """A setting that reads deeper than any recorded one has no answer, and gets none."""
    recording = recordings["bm25 > late"]
    present = recording.settings[0]
    deeper = Setting(("bm25",), (50,), (1.0,), None, present.steps)
    with pytest.raises(InputError, match="not recorded at depth 50"):
        recording.replay(deeper)
    recording = recordings["three stages"]
    present = recording.settings[0]
    deeper = Setting(
        present.arms,
        present.depths,
        present.weights,
        present.fusion,
        (Step("cross-encoder", None, 0.5),),
    )
    with pytest.raises(InputError, match="not recorded so deep"):
        recording.replay(deeper)
