import math
import re

import numpy as np
import pytest

from stepwell import (
    BM25,
    Candidates,
    Cascade,
    Corpus,
    CrossEncoder,
    Document,
    Hybrid,
    MinScore,
    Parents,
    TopK,
    stage,
)
from stepwell.documents import InMemory
from stepwell.evaluate import Dataset, evaluate
from stepwell.evaluate.asked import Asked, places_of
from stepwell.evaluate.tuned import WEIGHTS, swept, tuned
from stepwell.models.protocols import PairScores

DOCUMENTS = [Document(f"d{n}", f"passage {n}") for n in range(30)]


def ndcg(grades: list[int], ideal: list[int]) -> float:
    def gain(values: list[int]) -> float:
        return sum(value / math.log2(at + 2) for at, value in enumerate(values[:10]))

    return gain(grades) / gain(sorted(ideal, reverse=True))


def recalls(n: int):
    """A stage that recalls d0, d1, ..."""

    @stage(name="recall", decides=False)
    def recall(candidates: Candidates) -> Candidates:
        source = InMemory(DOCUMENTS)
        ids = [f"d{at}" for at in range(n)]
        return candidates.recalled("recall", ids, -np.arange(n), source=source)

    return recall


def prefers(*best: str):
    """A model that puts these passages first, in this order, and the others last."""

    def score(query: str, passages: list[str]) -> list[float]:
        order = [f"passage {id[1:]}" for id in best]
        return [-float(order.index(text)) if text in order else -99.0 for text in passages]

    return score


def measured(stages, qrels, **options):
    queries = {query: f"text of {query}" for query in qrels}
    return evaluate(Cascade(stages), Dataset("set", queries, qrels), with_funnel=True, **options)


def test_the_funnel_of_one_query_by_hand() -> None:
    """Recall, reachable, lost, the place of the drop and the perfect stage, from definitions."""
    grades = {"d1": 2, "d12": 1, "d25": 1, "d5": 0}
    stages = [recalls(20), CrossEncoder(prefers("d5", "d12"), k=3, blend=1.0, name="read")]
    found = measured(stages, {"q": grades}).funnel
    first, last = found.stages
    ideal = [2, 1, 1]
    assert first.recall == pytest.approx(2 / 3, abs=1e-6)
    assert first.reachable == pytest.approx(ndcg([2, 1], ideal), abs=1e-6)
    assert first.ndcg == pytest.approx(ndcg([0, 2], ideal), abs=1e-6)
    # d25 was never recalled: it has no place.
    assert (first.lost, sum(first.lost_at), found.relevant) == (1, 0, 3)
    # read: d5, d12, d0 | d1 is next, at place 4
    assert last.recall == pytest.approx(1 / 3, abs=1e-6)
    assert last.ndcg == pytest.approx(ndcg([0, 1], ideal), abs=1e-6)
    assert last.reachable == pytest.approx(ndcg([1], ideal), abs=1e-6)
    assert (last.lost, last.lost_at[0]) == (1, 1)
    assert last.perfect == pytest.approx(ndcg([2, 1], ideal), abs=1e-6)
    # The answer is back-filled: d1 follows at place 4.
    assert found.ndcg == pytest.approx(ndcg([0, 1, 0, 2], ideal), abs=1e-6)
    # There is no corpus to find d25 in, and the order is the reader's business: nothing to gain.
    assert first.perfect == pytest.approx(found.ndcg, abs=1e-6)
    assert found.work_on == "read"


def test_dropped_documents_are_counted_by_their_place() -> None:
    """A cut's drops fall into the bins of their places in the order that was cut."""
    qrels = {f"q{n}": {f"d{n}": 1} for n in (3, 9, 10, 19, 20, 29)}
    found = measured([recalls(30), TopK(5)], qrels).funnel
    assert found.stages[0].lost == 0
    assert (found.stages[1].lost, found.stages[1].lost_at[:3]) == (5, (1, 2, 2))
    assert list(found.stages[1].to_dict()["lost_at"]) == [
        "1-10",
        "11-20",
        "21-50",
        "51-100",
        "101-200",
        "201-500",
        "501-1000",
        "1001-",
    ]


def test_a_perfect_recall_finds_what_the_corpus_holds() -> None:
    """Documents that share no word with the query are found by the perfect recall alone."""
    with Corpus.temporary(encoder=None) as corpus:
        corpus.add([Document("a", "rotate logs"), Document("b", "entirely other words")])
        dataset = Dataset("set", {"q": "rotate"}, {"q": {"b": 1, "absent": 1}})
        found = evaluate(Cascade([BM25(corpus)]), dataset, with_funnel=True).funnel
    assert (found.ndcg, found.stages[0].recall) == (0.0, 0.0)
    assert found.stages[0].perfect == pytest.approx(ndcg([1], [1, 1]), abs=1e-6)


def test_a_perfect_recall_leaves_the_order_to_the_stage_that_follows() -> None:
    """What was missed takes the place of the last irrelevant one, and the reader judges it."""
    with Corpus.temporary(encoder=None) as corpus:
        corpus.add([Document(f"d{at}", f"rotate passage{at}" + " x" * at) for at in range(6)])
        corpus.add([Document("b", "other words")])
        grades = {"d1": 1, "b": 1}

        def reads(query: str, passages: list[str]) -> list[float]:
            asked.append(passages)
            return [float("d0" in text or "passage0" in text) for text in passages]

        asked: list[list[str]] = []
        stages = [BM25(corpus, 4), CrossEncoder(reads, k=None, blend=1.0, name="read")]
        found = evaluate(
            Cascade(stages), Dataset("set", {"q": "rotate"}, {"q": grades}), with_funnel=True
        ).funnel
    recall, reader = found.stages
    assert (recall.recall, found.ndcg) == (0.5, pytest.approx(ndcg([0, 1], [1, 1]), abs=1e-6))
    assert recall.perfect == pytest.approx(ndcg([0, 1, 0, 1], [1, 1]), abs=1e-6)
    assert reader.perfect == pytest.approx(ndcg([1], [1, 1]), abs=1e-6)
    assert {len(each) for each in asked} == {4}


def test_what_cannot_be_told_is_left_out() -> None:
    """Before a threshold on scores, and for a stage that answers parents, there is no what-if."""
    reader = CrossEncoder(prefers("d1"), k=None, name="read")
    found = measured([recalls(20), reader, MinScore(-50.0)], {"q": {"d1": 1}}).funnel
    assert [each.perfect is None for each in found.stages] == [True, True, False]
    parents = Parents(InMemory(DOCUMENTS), key="parent")
    found = measured([recalls(20), parents], {"q": {"d1": 1}}).funnel
    assert found.stages[1].perfect is None


def hurt_by(read: CrossEncoder, grades: dict[str, int]) -> tuple[str, ...]:
    hurt = measured([recalls(20), read], {"q": grades}).funnel.hurt
    assert [each.stage for each in hurt] == ["read"]
    assert hurt[0].after < hurt[0].before
    return hurt[0].why


def test_a_hurt_query_says_whether_model_or_blend_did_it() -> None:
    """A model that orders wrongly is told from one that was right and was blended away."""
    wrong = CrossEncoder(prefers("d5", "d6"), k=None, blend=1.0, name="read")
    assert hurt_by(wrong, {"d0": 1}) == ("re-scorer",)

    def close(query: str, passages: list[str]) -> list[float]:
        # Alone it leaves d1 second; half and half with the recall, d0 and d2 are above it.
        table = {"passage 2": 1.0, "passage 1": 0.94, "passage 0": 0.93}
        return [table.get(text, 0.0) for text in passages]

    right = CrossEncoder(close, k=None, blend=0.5, name="read")
    assert hurt_by(right, {"d1": 1}) == ("blend",)


def test_a_hurt_query_says_what_was_cut_and_what_was_never_there() -> None:
    """A relevant document that the depth dropped, and one that nothing recalled, are reasons."""
    cut = CrossEncoder(prefers("d5", "d6"), k=2, blend=1.0, name="read")
    assert hurt_by(cut, {"d0": 1, "d29": 1}) == ("cut", "not recalled", "re-scorer")


def test_what_was_beyond_the_first_ten_is_no_reason() -> None:
    """A relevant document that a cut drops from place 16 did not make nDCG@10 fall."""
    cut = CrossEncoder(prefers("d5"), k=2, blend=1.0, name="read")
    assert hurt_by(cut, {"d0": 1, "d15": 1}) == ("re-scorer",)


class HalfRead:
    """A model that reads only half of passage 0, and prefers the others."""

    name, kind = "half", "logit"

    def score(self, query, passages, /, *, stop=None):
        cut = np.array([text == "passage 0" for text in passages])
        values = np.where(cut, -1.0, 1.0).astype(np.float32)
        passes = np.ones(len(passages), dtype=np.int32)
        return PairScores(values, int(cut.sum()), len(passages), cut, passes)


def test_a_hurt_query_says_truncated_and_wordless() -> None:
    """A relevant passage that was not read whole, and one without a common word, are reasons."""
    with Corpus.temporary(encoder=None) as corpus:
        corpus.add(DOCUMENTS)
        read = CrossEncoder(HalfRead(), k=None, blend=1.0, name="read", cache=True)
        qrels = {"q": {"d0": 1}}
        cascade = Cascade([recalls(20), read, BM25(corpus, k=None, name="again")])
        dataset = Dataset("set", {"q": "zebra"}, qrels)
        found = evaluate(cascade, dataset, with_funnel=True).funnel.hurt
    assert found[0].why == ("truncated", "no lexical match", "re-scorer")


def hybrid(better: str):
    """Two arms of which one ranks well."""

    def arm(name: str):
        @stage(name=name, decides=False)
        def run(candidates: Candidates) -> Candidates:
            n = int(re.findall(r"\d+", candidates.query.text)[0])
            order = list(range(30)) if name != better else [n, *(i for i in range(30) if i != n)]
            ids = [f"d{at}" for at in order]
            return candidates.recalled(name, ids, -np.arange(30), source=InMemory(DOCUMENTS))

        return run

    return Hybrid([arm("first"), arm("second")], weights=(1, 1))


@pytest.mark.parametrize("better", ["first", "second"])
def test_the_tuned_first_stage_finds_the_better_arm(better: str) -> None:
    """Its weight goes to the arm that is right, and its quality is that of the arm."""
    qrels = {f"q{n}": {f"d{n}": 1} for n in range(12, 28)}
    found = measured([hybrid(better)], qrels).funnel
    assert found.tuned.arms == ("first", "second")
    assert (found.tuned.weight > 0.5) == (better == "second")
    assert found.tuned.ndcg == pytest.approx(1.0)
    assert found.stages[0].over_tuned.mean <= 0


def test_the_tuned_first_stage_is_measured_on_queries_it_was_not_chosen_by() -> None:
    """Where each query is right at a weight of its own, what others choose is right for none."""
    names = [f"{weight:g}" for weight in WEIGHTS]
    asked = [
        Asked(f"q{n}", [], 1.0, tuned={name: {"d": 1 if name == names[n] else 9} for name in names})
        for n in range(10)
    ]
    found = tuned(hybrid("first"), asked, {each.query: {"d": 1} for each in asked})
    assert found.values.tolist() == pytest.approx([1 / math.log2(10)] * 10)
    assert tuned(hybrid("first"), asked[:1], {"q0": {"d": 1}}) is None


def test_a_weight_of_the_sweep_is_the_stage_with_that_weight() -> None:
    """What the sweep says of a weight is what the hybrid answers with it."""
    with Corpus.temporary(encoder=lambda texts: np.eye(8)[[len(t) % 8 for t in texts]]) as corpus:
        words = ["rotate", "logs", "cat", "disk", "full", "noon"]
        corpus.add(Document(f"d{n}", " ".join(words[: n % 6 + 1] * (n % 3 + 1))) for n in range(24))
        grades = {f"d{n}": 1 for n in range(24)}
        own = Hybrid(corpus)
        record = Cascade([own]).search("logs disk").trace.records[0]
        found = swept(own, record, grades)
        for weight in WEIGHTS:
            other = Cascade([Hybrid(corpus, weights=(1 - weight, weight))]).search(
                "logs disk", k=10
            )
            assert found[f"{weight:g}"] == places_of(other.ids, grades), weight


def test_no_tuned_first_stage_where_there_is_nothing_to_tune() -> None:
    """A first stage of one arm over no vectors has none, and the lifts say so by their absence."""
    found = measured([recalls(20)], {"q1": {"d1": 1}, "q2": {"d2": 1}}).funnel
    assert found.tuned is None
    assert found.stages[0].over_tuned is None


def test_a_lift_is_the_difference_of_two_stages() -> None:
    """The lift over the stage before is the difference of their means, with its queries."""
    qrels = {f"q{n}": {f"d{n}": 1} for n in range(4, 16)}
    read = CrossEncoder(prefers("d12", "d13"), k=None, blend=1.0, name="read")
    first, last = measured([recalls(20), read], qrels).funnel.stages
    assert first.lift is None
    assert last.lift.mean == pytest.approx(last.ndcg - first.ndcg, abs=1e-6)
    assert (last.lift.better, last.lift.worse) == (2, 6)


def test_a_retriever_has_no_funnel() -> None:
    """Only a cascade shows its stages."""
    dataset = Dataset("set", {"q": "x"}, {"q": {"d1": 1}})
    assert evaluate(lambda text: ["d1"], dataset, with_funnel=True).funnel is None
