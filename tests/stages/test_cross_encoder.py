from __future__ import annotations

import math
import pickle
from copy import deepcopy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell import Candidates, Cascade, ConfigurationError, CrossEncoder, Document, ModelError
from stepwell.models import PairScores
from stepwell.testing import WordScorer

DOCUMENTS = [
    Document("none", "The office cat."),
    Document("all", "rotate the logs daily"),
    Document("half", "rotate the keys"),
]


def brought(query="rotate logs", documents=DOCUMENTS, **options):
    return Candidates.of(query, documents, **options)


def length(query, passages):
    """A scorer that is a plain function."""
    return [len(passage) for passage in passages]


def test_it_orders_by_what_the_model_reads():
    after = CrossEncoder(WordScorer(), blend=1.0).run(brought())
    assert after.ids.tolist() == ["all", "half", "none"]
    assert after.score.tolist() == [1.0, 0.5, 0.0]
    assert after.scores["cross-encoder"].tolist() == [1.0, 0.5, 0.0]


def test_a_function_is_a_model():
    after = CrossEncoder(length, blend=1.0).run(brought())
    assert after.score.tolist() == [21.0, 15.0, 15.0]
    assert after.ids.tolist() == ["all", "none", "half"]


def test_it_blends_with_the_order_before():
    """At .5 a perfect old score and a perfect new one weigh the same."""
    before = brought().scored("first", [1.0, 0.0, 0.5])
    after = CrossEncoder(WordScorer(), blend=0.5).run(before)
    assert dict(zip(after.ids, after.score)) == {"none": 0.5, "half": 0.5, "all": 0.5}
    heavy = CrossEncoder(WordScorer(), blend=0.6).run(before)
    assert heavy.ids[0] == "all"


@given(st.integers(1, 5), st.one_of(st.none(), st.integers(1, 5)))
def test_it_reads_no_deeper_than_it_is_told(k, depth):
    """What it did not read follows in its order, below, with no score of this stage."""
    read = []

    def scorer(query, passages):
        read.extend(passages)
        return [float(passage) for passage in passages]

    documents = [Document(f"d{at}", str(at)) for at in range(4)]
    after = CrossEncoder(scorer, k=k, depth=depth, blend=1.0).run(brought(documents=documents))
    deep = min(depth or 4, 4)
    assert read == [str(at) for at in range(deep)]
    expected = [f"d{at}" for at in reversed(range(deep))] + [f"d{at}" for at in range(deep, 4)]
    assert after.ids.tolist() == expected[:k]
    assert "unscored" not in after.notes


def test_what_was_truncated_and_split_is_counted_in_the_trace():
    class Windows(WordScorer):
        def score(self, query, passages, /, *, stop=None):
            made = super().score(query, passages, stop=stop)
            return PairScores(made.values, truncated=made.truncated, windows=7)

    result = Cascade([CrossEncoder(Windows(limit=2))]).rank("rotate logs", DOCUMENTS)
    assert result.trace.records[0].notes == {"truncated": 3, "windows": 7}
    plain = Cascade([CrossEncoder(WordScorer())]).rank("rotate logs", DOCUMENTS)
    assert plain.trace.records[0].notes == {}


def test_at_the_deadline_it_keeps_what_it_has_read():
    """The rest stays below in its order, the trace counts it, and the answer is degraded."""

    class Slow(WordScorer):
        def score(self, query, passages, /, *, stop=None):
            asked = iter([False, True])
            return super().score(query, passages, stop=lambda: next(asked, True))

    before = brought(deadline=-math.inf)
    after = CrossEncoder(Slow(), blend=1.0).run(before)
    assert after.ids.tolist() == ["none", "all", "half"]
    assert after.notes["unscored"] == 2
    assert np.isnan(after.scores["cross-encoder"]).tolist() == [False, True, True]


def test_a_deadline_that_is_over_reads_nothing_and_keeps_the_order():
    after = CrossEncoder(WordScorer()).run(brought(deadline=-math.inf))
    assert after.ids.tolist() == ["none", "all", "half"]
    assert after.notes["unscored"] == 3


def test_a_document_that_is_gone_is_not_read():
    before = brought()
    gone = before.recalled("r", ["gone", "all"], [2.0, 1.0], source=before.source)
    after = CrossEncoder(length, blend=1.0).run(gone)
    assert after.ids.tolist() == ["all", "gone"]
    assert after.notes == {}


def test_a_blank_query_keeps_the_order_and_reads_nothing():
    def never(query, passages):
        raise AssertionError("read")

    after = CrossEncoder(never, k=2).run(brought(" "))
    assert after.ids.tolist() == ["none", "all"]


def test_a_model_that_gives_nan_is_named():
    class Broken(WordScorer):
        name = "my broken model"

        def score(self, query, passages, /, *, stop=None):
            return PairScores(np.full(len(passages), np.nan, dtype=np.float32))

    with pytest.raises(ModelError, match="my broken model"):
        CrossEncoder(Broken()).run(brought())
    with pytest.raises(ModelError, match="NaN"):
        CrossEncoder(lambda query, passages: [math.nan] * len(passages)).run(brought())


class Odd:
    """A scorer that returns whatever it is told to."""

    name, kind = "odd", "logit"

    def __init__(self, answer):
        self.answer = answer

    def score(self, query, passages, /, *, stop=None):
        return self.answer


ODD = {
    "NaN": lambda query, passages: [math.nan] * len(passages),
    "infinity": lambda query, passages: [math.inf] * len(passages),
    "too few": lambda query, passages: [1.0],
    "words": lambda query, passages: ["no number"] * len(passages),
    "one for all": Odd(PairScores(np.ones(1, dtype=np.float32))),
    "infinite": Odd(PairScores(np.full(2, np.inf, dtype=np.float32))),
    "another class": Odd([1.0, 2.0]),
    "too many windows": Odd(PairScores(np.ones(2), passes=np.ones(3, dtype=np.int32))),
}


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("odd", ODD)
def test_a_model_that_answers_nonsense_costs_its_stage_and_not_the_answer(odd, shared, cache):
    """The stage is skipped and the answer degraded; where the policy is to raise, it is named."""
    stage = CrossEncoder(ODD[odd], cache=cache, shared=shared)
    result = Cascade([stage]).rank("q", DOCUMENTS[:2])
    assert result.ids == [each.id for each in DOCUMENTS[:2]]
    assert result.degraded
    (record,) = result.trace.records
    assert record.status == "failed"
    assert isinstance(record.error, ModelError)
    assert record.error.model == stage.scorer.name
    with pytest.raises(ModelError, match="returned"):
        Cascade([stage], on_failure={stage.name: "raise"}).rank("q", DOCUMENTS[:2])


def test_it_recalls_nothing_and_says_so():
    with pytest.raises(ConfigurationError, match="begin with BM25"):
        Cascade([CrossEncoder(WordScorer())]).search("q")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"k": 0}, "k must be"),
        ({"depth": 0}, "depth must be"),
        ({"blend": 2}, "blend must be"),
        ({"model": 3}, "int"),
    ],
)
def test_what_is_built_wrong_is_refused(options, says):
    with pytest.raises(ConfigurationError, match=says):
        CrossEncoder(**options)


def test_the_embedded_model_is_the_default_and_copies_carry_no_weights():
    stage = CrossEncoder()
    passages = [
        Document("bus", "The bus to the airport leaves at six."),
        Document("paris", "Paris is the capital of France."),
    ]
    first = stage.run(brought("What is the capital of France?", passages))
    assert first.ids[0] == "paris"
    frozen = pickle.dumps(stage)
    assert len(frozen) < 10_000
    for copy in (pickle.loads(frozen), deepcopy(stage)):
        again = copy.run(brought("What is the capital of France?", passages))
        assert again.score.tolist() == first.score.tolist()


def test_repr_is_short_and_tells_the_model():
    assert repr(CrossEncoder(WordScorer(), blend=0.25)) == (
        "CrossEncoder('shared words', k=10, blend=0.25)"
    )


async def test_the_same_question_gets_the_same_notes():
    """What the embedded model cut off and split is counted from the cache too, however asked."""
    texts = ["word " * 3000, "short"]
    fresh = CrossEncoder(cache=False)
    expected = Cascade([fresh]).rank("word", texts).trace.records[0].notes
    assert expected == {"truncated": 1, "windows": 5}
    cascade = Cascade([CrossEncoder()])
    for _ in range(2):
        assert cascade.rank("word", texts).trace.records[0].notes == expected
        assert (await cascade.arank("word", texts)).trace.records[0].notes == expected
