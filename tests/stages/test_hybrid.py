from __future__ import annotations

import asyncio
import pickle
import threading
import time

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stepwell import (
    BM25,
    BiEncoder,
    Candidates,
    Cascade,
    ConfigurationError,
    ContractError,
    Corpus,
    Dense,
    Document,
    Hybrid,
    Keyword,
    Query,
    StageError,
    TopK,
)
from stepwell.documents import InMemory
from stepwell.testing import WordEncoder

ENTRIES = st.dictionaries(
    st.sampled_from([f"d{at}" for at in range(9)]), st.integers(-5, 5), max_size=9
)


class Arm:
    """Recalls what it is told; given a set, scores what of it it knows."""

    recall_only = False

    def __init__(self, name, found, *, wait=0.0, error=None, text=""):
        self.name, self.found, self.wait, self.error = name, dict(found), wait, error
        self.source = InMemory(Document(id, text or f"{name} {id}") for id in self.found)

    def run(self, candidates):
        time.sleep(self.wait)
        if self.error:
            raise self.error
        if candidates.fresh:
            ids, scores = list(self.found), list(self.found.values())
            return candidates.recalled(self.name, ids, scores, source=self.source)
        known = candidates.keep([id in self.found for id in candidates.ids], reason="unknown")
        return known.scored(self.name, [self.found[id] for id in known.ids])


class AsyncArm(Arm):
    async def arun(self, candidates):
        await asyncio.sleep(self.wait)
        return await asyncio.to_thread(self.run, candidates)


def start(query="q", **options):
    return Candidates.start(query, **options)


# -- fusing ----------------------------------------------------------------------------------


@given(ENTRIES, ENTRIES, st.sampled_from(["convex", "rrf"]), st.integers(1, 12))
def test_it_finds_what_its_arms_find_and_keeps_their_columns_and_ranks(one, two, fusion, k):
    """Nothing else, nothing twice; the raw score and rank of each arm stay with each id."""
    after = Hybrid([Arm("a", one), Arm("b", two)], k=k, fusion=fusion).run(start())
    everything = after.ids.tolist() + [id for drop in after.dropped for id in drop.ids]
    assert sorted(everything) == sorted({*one, *two})
    assert len(after) == min(k, len({*one, *two}))
    for name, found in (("a", one), ("b", two)):
        order = sorted(found, key=found.__getitem__, reverse=True)
        for at, id in enumerate(after.ids):
            if id in found:
                assert after.scores[name][at] == found[id]
                assert found[order[after.ranks[name][at] - 1]] == found[id]
            else:
                assert np.isnan(after.scores[name][at])
                assert after.ranks[name][at] == 0
    assert after.scores["hybrid"].tolist() == after.score.tolist()


@given(ENTRIES, ENTRIES, st.sampled_from(["convex", "rrf"]), st.sampled_from([1, 3]))
@example({"y": 1}, {"x": 1}, "rrf", 1)
def test_the_order_of_the_arms_does_not_matter(one, two, fusion, weight):
    """Not even for ties."""
    arms, weights = [Arm("a", one), Arm("b", two)], {"a": 1, "b": weight}
    forth = Hybrid(arms, weights=weights, fusion=fusion).run(start())
    back = Hybrid(arms[::-1], weights=weights, fusion=fusion).run(start())
    assert forth.ids.tolist() == back.ids.tolist()
    assert forth.score.tolist() == pytest.approx(back.score.tolist())


def test_an_arm_may_say_where_its_scale_begins():
    """With a floor of 0 the worse of two matches keeps half of the best one's worth."""
    arm = Arm("a", {"x": 4, "y": 2})
    assert Hybrid([arm]).run(start()).score.tolist() == [1.0, 0.0]
    arm.floor = 0.0
    assert Hybrid([arm]).run(start()).score.tolist() == [1.0, 0.5]
    assert BM25.floor == Keyword.floor == 0.0


def test_weights_are_honoured_in_order_and_by_name():
    arms = [Arm("a", {"x": 1, "y": 0}), Arm("b", {"y": 1, "x": 0})]
    for fusion in ("convex", "rrf"):
        for heavy_a in ([3, 1], {"b": 1, "a": 3}, (0.75, 0.25)):
            assert Hybrid(arms, weights=heavy_a, fusion=fusion).run(start()).ids[0] == "x"
        assert Hybrid(arms, weights=[1, 3], fusion=fusion).run(start()).ids[0] == "y"
        assert Hybrid(arms, weights=[0, 1], fusion=fusion).run(start()).ids[0] == "y"


def test_the_constant_of_reciprocal_ranks_is_honoured():
    arms = [Arm("a", {"x": 3, "y": 2, "z": 1}), Arm("b", {"z": 3, "y": 2, "w": 1})]
    after = Hybrid(arms, fusion="rrf", k_rrf=1).run(start())
    score = dict(zip(after.ids, after.score))
    assert score["x"] == pytest.approx(0.5 / 2)
    assert score["z"] == pytest.approx(0.5 / 4 + 0.5 / 2)


def test_a_document_comes_from_the_arm_that_found_it():
    arms = [Arm("a", {"x": 1}), Arm("b", {"x": 2, "y": 1})]
    after = Hybrid(arms).run(start())
    assert dict(zip(after.ids, after.texts())) == {"x": "a x", "y": "b y"}


def test_many_arms_and_arms_of_arms():
    inner = Hybrid([Arm("a", {"x": 1, "y": 0}), Arm("b", {"y": 1})], name="inner")
    after = Hybrid([inner, Arm("c", {"z": 1}), Cascade([Arm("d", {"x": 1}), TopK(1)])]).run(start())
    assert sorted(after.ids) == ["x", "y", "z"]
    assert {"a", "b", "c", "d", "inner", "cascade", "hybrid"} <= set(after.scores)
    assert [record.name for record in after.children] == ["inner", "c", "cascade"]
    assert [record.name for record in after.children[0].children] == ["a", "b"]


# -- over a corpus ---------------------------------------------------------------------------


def test_a_corpus_means_bm25_and_dense(corpus):
    stage = Hybrid(corpus, k=5)
    assert [(type(arm), arm.k) for arm in stage.arms] == [(BM25, 5), (Dense, 5)]
    result = Cascade([stage]).search("rotate the logs", k=3, filter={"even": True})
    assert result.ids[0] == "rotate"
    assert {"bm25", "dense", "hybrid"} == set(result.hits[0].scores)
    assert result.hits[0].ranks == {"bm25": 1, "dense": 1, "hybrid": 1}
    assert all(hit.document.metadata["even"] for hit in result)


def test_nothing_asked_and_nothing_there(corpus):
    assert len(Hybrid(corpus).run(start(" "))) == 0
    with Corpus.temporary(encoder=WordEncoder()) as empty:
        result = Cascade([Hybrid(empty), BiEncoder(empty)]).search("rotate")
        assert result.ids == []
        assert not result.degraded


def test_a_keyword_arm_answers_a_filter_alone(corpus):
    stage = Hybrid([BM25(corpus), Keyword(corpus)])
    after = stage.run(start(Query("", {"n": {"$gte": 5}})))
    assert sorted(after.ids) == ["empty", "twice"]


def test_brought_documents_are_scored_by_the_arms(corpus):
    documents = [Document("1", "The office cat."), Document("2", "Logs are rotated daily.")]
    for stage in (Hybrid(corpus), Hybrid()):
        result = Cascade([stage]).rank("rotate logs", documents)
        assert result.ids == ["2", "1"]
        assert set(result.hits[0].scores) == {"bm25", "dense", "hybrid"}


@given(st.dictionaries(st.sampled_from("uvwxyz"), st.integers(-5, 5), max_size=6), ENTRIES)
def test_a_set_is_kept_whole_whatever_its_arms_return(found, other):
    """An arm that does not know a candidate gives it its 0; no earlier score is lost."""
    documents = [Document(id, id) for id in "uvwxyz"]
    before = Candidates.of("q", documents).scored("before", [6, 5, 4, 3, 2, 1])
    after = Hybrid([Arm("a", found), Arm("b", other)]).run(before)
    assert sorted(after.ids) == list("uvwxyz")
    had = dict(zip("uvwxyz", [6, 5, 4, 3, 2, 1]))
    assert after.scores["before"].tolist() == [had[id] for id in after.ids]


def test_a_set_with_scores_is_blended_with_them():
    """A strong retriever's order is not thrown away; without scores there is nothing to keep."""
    documents = [Document(id, id) for id in "xyz"]
    arm = Arm("a", {"x": 0, "y": 1, "z": 2})
    scored = Candidates.of("q", documents, scores=[1.0, 0.5, 0.0])
    assert Hybrid([arm], blend=0.3).run(scored).ids.tolist() == ["x", "y", "z"]
    assert Hybrid([arm], blend=0.7).run(scored).ids.tolist() == ["z", "y", "x"]
    assert Hybrid([arm], blend=0.1).run(Candidates.of("q", documents)).ids[0] == "z"
    assert Hybrid([arm], blend=0.1).run(start()).score.tolist() == [1.0, 0.5, 0.0]


def test_what_an_arm_brings_to_a_set_is_left_out():
    class Expanding(Arm):
        expands = True

        def run(self, candidates):
            return candidates.recalled(self.name, ["new", "y"], [2, 1], source=self.source)

    documents = [Document("x", "x"), Document("y", "y")]
    after = Hybrid([Expanding("a", {"new": 1})]).run(Candidates.of("q", documents))
    assert after.ids.tolist() == ["y", "x"]
    assert after.scores["a"][0] == 1


def test_arms_that_only_recall_are_idle_where_documents_are_brought():
    only = Arm("only", {"x": 1})
    only.recall_only = True
    documents = [Document("x", "x"), Document("y", "y")]
    result = Cascade([Hybrid([only, Arm("b", {"y": 1})])]).rank("q", documents)
    assert result.ids == ["y", "x"]
    assert [child.status for child in result.trace.records[0].children] == ["idle", "ok"]
    assert not result.degraded
    alone = Cascade([Hybrid([only])]).rank("q", documents)
    assert alone.trace.records[0].status == "idle"


# -- side by side ----------------------------------------------------------------------------


def test_arms_run_at_the_same_time():
    """Each waits for the other: in turn they would never end."""
    barrier = threading.Barrier(2, timeout=20)

    class Meet(Arm):
        def run(self, candidates):
            barrier.wait()
            return super().run(candidates)

    stage = Hybrid([Meet("a", {"x": 1}), Meet("b", {"y": 1})])
    assert sorted(stage.run(start()).ids) == ["x", "y"]
    assert sorted(asyncio.run(stage.arun(start())).ids) == ["x", "y"]


@given(ENTRIES, ENTRIES, st.sampled_from(["convex", "rrf"]))
def test_awaited_it_answers_the_same(one, two, fusion):
    stage = Hybrid([Arm("a", one), AsyncArm("b", two)], fusion=fusion)
    once, awaited = stage.run(start()), asyncio.run(stage.arun(start()))
    assert once.ids.tolist() == awaited.ids.tolist()
    assert once.score.tolist() == awaited.score.tolist()
    assert [r.name for r in once.children] == [r.name for r in awaited.children]


def test_many_at_once_answer_as_one_by_one_and_go_to_the_arms_together():
    class Batch(Arm):
        batches = ()

        def run_many(self, many):
            self.batches = (*self.batches, len(many))
            return [self.run(each) for each in many]

    batch, failing = Batch("b", {"x": 1, "y": 0}), Arm("c", {}, error=RuntimeError())
    stage = Hybrid([Arm("a", {"y": 1, "z": 0}), batch, failing])
    many = [start(f"q{at}") for at in range(3)]
    one_by_one = [stage.run(each) for each in many]
    together = stage.run_many(many)
    assert batch.batches == (3,)
    for one, other in zip(one_by_one, together):
        assert one.ids.tolist() == other.ids.tolist()
        assert one.score.tolist() == other.score.tolist()
        assert [r.status for r in one.children] == [r.status for r in other.children]
    hurried = [start(deadline=time.monotonic() + 60), start()]
    assert [len(each) for each in stage.run_many(hurried)] == [3, 3]
    assert batch.batches == (3,)


async def test_no_arm_runs_in_the_loops_thread():
    threads = []

    class Where(Arm):
        def run(self, candidates):
            threads.append(threading.get_ident())
            return super().run(candidates)

    await Hybrid([Where("a", {"x": 1}), Where("b", {"x": 1})]).arun(start())
    assert len(threads) == 2
    assert threading.get_ident() not in threads


def test_the_callers_context_reaches_the_arms():
    from contextvars import ContextVar

    user = ContextVar("user", default="nobody")
    seen = []

    class Look(Arm):
        def run(self, candidates):
            seen.append(user.get())
            return super().run(candidates)

    user.set("somebody")
    Hybrid([Look("a", {}), Look("b", {})]).run(start())
    assert seen == ["somebody", "somebody"]


# -- failure and deadline --------------------------------------------------------------------

BOTH = pytest.mark.parametrize("ask", ["run", "arun"])


def ask_for(stage, candidates, ask):
    return asyncio.run(stage.arun(candidates)) if ask == "arun" else stage.run(candidates)


@BOTH
def test_when_an_arm_fails_the_others_answer_and_the_trace_says_so(ask):
    stage = Hybrid([Arm("a", {"x": 1}), Arm("b", {}, error=RuntimeError("down"))])
    after = ask_for(stage, start(), ask)
    assert after.ids.tolist() == ["x"]
    assert [record.status for record in after.children] == ["ok", "failed"]
    result = Cascade([stage]).search("q")
    assert result.degraded
    assert "RuntimeError" in str(result.trace)


@BOTH
def test_when_all_arms_fail_so_does_the_stage(ask):
    stage = Hybrid([Arm("a", {}, error=RuntimeError("down")), Arm("b", {}, error=OSError())])
    with pytest.raises(StageError, match="'a' failed: RuntimeError: down") as caught:
        ask_for(stage, start(), ask)
    assert isinstance(caught.value.__cause__, RuntimeError)
    with pytest.raises(StageError) as caught:
        Cascade([stage]).search("q")
    assert (caught.value.stage, caught.value.position) == ("a", 0)


@BOTH
def test_the_callers_own_mistakes_are_raised_though_a_sibling_answered(ask):
    stage = Hybrid([Arm("a", {"x": 1}), Arm("b", {}, error=ConfigurationError("no key"))])
    with pytest.raises(ConfigurationError, match="no key"):
        ask_for(stage, start(), ask)

    class Liar(Arm):
        def run(self, candidates):
            return super().run(candidates).reordered([0, 0], [1, 1])

    with pytest.raises(ContractError, match="twice"):
        ask_for(Hybrid([Arm("a", {"x": 1}), Liar("b", {"x": 1})]), start(), ask)


@BOTH
def test_at_the_deadline_the_arms_that_are_ready_answer(ask):
    slow = AsyncArm("slow", {"y": 1}, wait=5.0)
    stage = Hybrid([Arm("a", {"x": 1}), slow])
    slow.run = lambda candidates: time.sleep(1.0) or candidates
    after = ask_for(stage, start(deadline=time.monotonic() + 0.2), ask)
    assert after.ids.tolist() == ["x"]
    assert [(r.name, r.status, r.reason) for r in after.children] == [
        ("a", "ok", ""),
        ("slow", "skipped", "deadline"),
    ]


@BOTH
def test_when_no_arm_is_ready_at_the_deadline_the_first_that_answers_does(ask):
    stage = Hybrid([Arm("a", {"x": 1}, wait=0.1), Arm("b", {"y": 1}, error=OSError())])
    after = ask_for(stage, start(deadline=time.monotonic() - 1), ask)
    assert after.ids.tolist() == ["x"]


def test_a_cancelled_search_cancels_its_arms():
    cancelled = []

    class Waiting(Arm):
        async def arun(self, candidates):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(self.name)
                raise

    async def cancel():
        task = asyncio.ensure_future(Hybrid([Waiting("a", {}), Waiting("b", {})]).arun(start()))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.01)
        # Here, because the end of the loop cancels whatever is left.
        assert sorted(cancelled) == ["a", "b"]

    asyncio.run(cancel())


# -- building --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"stages": []}, "at least one"),
        ({"stages": [Arm("a", {}), Arm("a", {})]}, "two stages are named 'a'"),
        ({"stages": [Arm("hybrid", {})]}, "two stages are named 'hybrid'"),
        ({"stages": [3]}, "no stage"),
        ({"weights": [1]}, "1 weights for 2 stages"),
        ({"weights": [1, -1]}, "0 or more"),
        ({"weights": [0, 0]}, "not all 0"),
        ({"weights": [1, float("nan")]}, "0 or more"),
        ({"weights": {"a": 1}}, "weights are for"),
        ({"fusion": "sum"}, "'sum'"),
        ({"k": 0}, "k must be"),
        ({"k_rrf": 0}, "k_rrf must be"),
        ({"blend": 2}, "blend must be"),
    ],
)
def test_what_is_built_wrong_is_refused(options, says):
    stages = options.pop("stages", None) or [] if "stages" in options else None
    arms = [Arm("a", {}), Arm("b", {})] if stages is None else stages
    with pytest.raises(ConfigurationError, match=says):
        Hybrid(arms, **options)


def test_it_pickles_with_its_arms():
    stage = pickle.loads(pickle.dumps(Hybrid([BM25(["rotate"], backend="rank-bm25")])))
    assert stage.run(start("rotate")).ids.tolist() == ["0"]


def test_repr(corpus):
    assert repr(Hybrid(corpus)) == "Hybrid(bm25 + dense, k=1000, fusion='convex')"
