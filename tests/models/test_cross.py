from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from stepwell.errors import ConfigurationError, InputError
from stepwell.models import PairScorer
from stepwell.models.cross import EmbeddedScorer

QUERY = "how often are the log files rotated?"
PASSAGES = [
    "The log files are rotated every night by a timer.",
    "Log files grow without bound unless something is done.",
    "Statins are among the most widely prescribed drugs.",
    "An experimental study of a wing in a propeller slipstream was made. " * 12,
    "",
]


@pytest.fixture(scope="module")
def scorer() -> EmbeddedScorer:
    return EmbeddedScorer()


def test_protocol(scorer: EmbeddedScorer) -> None:
    """The embedded cross-encoder is a pair scorer that returns logits."""
    assert isinstance(scorer, PairScorer)
    assert scorer.kind == "logit"


def test_answer_before_topic_before_rest(scorer: EmbeddedScorer) -> None:
    """The passage that answers comes first, the one on the topic second."""
    values = scorer.score(QUERY, PASSAGES).values
    assert values.dtype == np.float32
    assert np.argsort(-values)[:2].tolist() == [0, 1]


def test_score_depends_on_its_pair_alone() -> None:
    """A score is the same to the bit alone, in any batch and order, and from 16 threads."""
    scorer = EmbeddedScorer(max_length=250)
    alone = [float(scorer.score(QUERY, [p]).values[0]) for p in PASSAGES]
    assert scorer.score(QUERY, PASSAGES).values.tolist() == alone
    assert scorer.score(QUERY, PASSAGES[::-1]).values.tolist() == alone[::-1]
    scorer.close()
    with ThreadPoolExecutor(16) as pool:
        scores = pool.map(lambda _: scorer.score(QUERY, PASSAGES).values.tolist(), range(16))
        assert all(each == alone for each in scores)


def test_stop_leaves_the_rest_unscored(scorer: EmbeddedScorer) -> None:
    """Passages are scored in order; when `stop` says so the rest is NaN, and nothing is lost."""
    answers = iter([False, True])
    scores = scorer.score(QUERY, PASSAGES * 20, stop=lambda: next(answers))
    known = np.isfinite(scores.values)
    assert 0 < known.sum() < 100
    assert known[: known.sum()].all()
    assert scores.windows == known.sum()


def test_stop_before_the_first(scorer: EmbeddedScorer) -> None:
    """With no time at all nothing is scored."""
    scores = scorer.score(QUERY, PASSAGES, stop=lambda: True)
    assert np.isnan(scores.values).all()
    assert scores.windows == 0


def test_long_passage_counts_by_its_best_window(scorer: EmbeddedScorer) -> None:
    """An answer behind 500 tokens of something else is found; with one window it is not read."""
    filler = "An experimental study of a wing in a propeller slipstream was made. " * 35
    text = filler + PASSAGES[0]
    found = scorer.score(QUERY, [text, filler])
    assert found.windows > 2
    assert found.truncated == 0
    assert found.values[0] > found.values[1] + 1.0
    unread = EmbeddedScorer(max_windows=1).score(QUERY, [text, filler])
    assert (unread.windows, unread.truncated) == (2, 2)
    assert unread.values[0] == unread.values[1]


def test_two_hundred_thousand_words(scorer: EmbeddedScorer) -> None:
    """A passage of any length gets a score from the windows allowed, and counts as truncated."""
    scores = scorer.score(QUERY, ["word " * 200_000])
    assert np.isfinite(scores.values).all()
    assert (scores.windows, scores.truncated) == (4, 1)


def test_no_passages(scorer: EmbeddedScorer) -> None:
    """No passages give no scores."""
    assert scorer.score(QUERY, []).values.shape == (0,)


@pytest.mark.parametrize("empty", ["", " \n\t", "\u200b"])
def test_an_empty_passage_comes_last(scorer: EmbeddedScorer, empty: str) -> None:
    """A passage with nothing to read scores below any other, whatever was asked, unread."""
    for query in (QUERY, "", "wing"):
        made = scorer.score(query, [*PASSAGES[:4], "!", empty])
        assert made.values[-1] < made.values[:-1].min()
        assert made.windows == 5


def test_one_passage(scorer: EmbeddedScorer) -> None:
    """One passage gets one score, that which it gets among others."""
    alone = scorer.score(QUERY, PASSAGES[:1])
    assert alone.values.tolist() == scorer.score(QUERY, PASSAGES).values[:1].tolist()


@pytest.mark.parametrize("text", ["", " ", "\ud800", "word " * 500])
def test_odd_queries(scorer: EmbeddedScorer, text: str) -> None:
    """Empty, broken and long queries give finite scores."""
    assert np.isfinite(scorer.score(text, PASSAGES).values).all()


def test_not_a_string(scorer: EmbeddedScorer) -> None:
    """A passage that is no string is an input error."""
    with pytest.raises(InputError, match="NoneType"):
        scorer.score(QUERY, [None])  # type: ignore[list-item]


@pytest.mark.parametrize("most", [0, -1, 1.5, True])
def test_impossible_windows(most: int) -> None:
    """A number of windows below one is refused when the scorer is built."""
    with pytest.raises(ConfigurationError, match="max_windows"):
        EmbeddedScorer(max_windows=most)


def test_copies_carry_no_weights(scorer: EmbeddedScorer) -> None:
    """Pickles are small, and copies give the same scores."""
    before = scorer.score(QUERY, PASSAGES).values
    packed = pickle.dumps(scorer)
    assert len(packed) < 2000
    for other in (pickle.loads(packed), copy.deepcopy(scorer)):
        np.testing.assert_array_equal(other.score(QUERY, PASSAGES).values, before)
