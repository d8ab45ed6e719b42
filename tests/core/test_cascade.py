from __future__ import annotations

import asyncio
import logging
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell import (
    Cascade,
    ConfigurationError,
    ContractError,
    Document,
    Guarded,
    InputError,
    MissingExtraError,
    Query,
    StageError,
    TopK,
    stage,
)
from tests.core.stages_of_tests import (
    AsyncScore,
    Bad,
    BatchScore,
    Fail,
    Recall,
    RecallOnly,
    Score,
    number,
    shuffled,
    signature,
)


def statuses(result):
    return [(record.name, record.status) for record in result.trace.records]


# -- building --------------------------------------------------------------------------------


def test_a_cascade_needs_a_stage():
    with pytest.raises(ConfigurationError, match="at least one"):
        Cascade([])


def test_what_is_no_stage_is_refused_by_name():
    with pytest.raises(ConfigurationError, match="no stage"):
        Cascade([object()])


def test_two_stages_of_one_name_are_refused():
    with pytest.raises(ConfigurationError, match="'top-k'"):
        Cascade([TopK(1), TopK(2)])


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"recal": "skip"}, "names 'recal', but the stages are 'recall', 'inner'"),
        ({"recall": "ignore"}, "must be 'raise' or 'skip'"),
        ("skip", "by stage name, such as {'recall': 'skip'}, not 'skip'"),
        (["recall"], "by stage name, such as {'recall': 'skip'}, not \\['recall'\\]"),
        ({"top-k": "skip"}, "names 'top-k', which runs inside 'inner': .* name 'inner' here"),
    ],
)
def test_a_policy_must_fit_the_stages(policy, message):
    stages = [Recall(), Cascade([TopK(1)], name="inner")]
    with pytest.raises(ConfigurationError, match=f"on_failure.*{message}"):
        Cascade(stages, on_failure=policy)


def test_repr_shows_the_order():
    assert repr(Cascade([Recall(), TopK(3)])) == "Cascade(recall > top-k)"


# -- asking ----------------------------------------------------------------------------------


@given(
    n=st.integers(0, 30),
    depths=st.lists(st.integers(1, 30), max_size=4),
    k=st.one_of(st.none(), st.integers(1, 40)),
    seed=st.integers(0, 1000),
)
def test_all_ways_of_asking_answer_alike(n, depths, k, seed):
    """Sync, async and many-at-once give the same hits, scores, ranks and records."""
    kinds = [Score, AsyncScore, BatchScore]
    stages = [Recall(n)]
    for at, depth in enumerate(depths):
        order = shuffled(seed + at)
        stages.append(kinds[at % 3](order, name=f"s{at}", k=depth, blend=0.5))
    cascade = Cascade(stages)
    queries = ["one", "two", ""]
    once = [signature(cascade.search(query, k=k)) for query in queries]
    awaited = [asyncio.run(cascade.asearch(query, k=k)) for query in queries]
    assert once == [signature(result) for result in awaited]
    assert once == [signature(result) for result in cascade.search_many(queries, k=k)]
    assert once == [signature(r) for r in asyncio.run(cascade.asearch_many(queries, k=k))]
    assert once == [signature(result) for result in cascade.search_each(queries, k=k)]


@given(st.lists(st.integers(0, 5), max_size=12), st.integers(1, 15))
def test_brought_documents_are_ranked_alike_in_both_ways(values, k):
    documents = [Document(f"d{at}", "x") for at in range(len(values))]
    cascade = Cascade([AsyncScore(lambda name: values[int(name[1:])]), TopK(3)])
    once = cascade.rank("q", documents, k=k)
    assert signature(once) == signature(asyncio.run(cascade.arank("q", documents, k=k)))
    assert len(once) == min(3, k, len(values))


def test_stages_that_can_work_on_many_at_once():
    batch = BatchScore(number)
    Cascade([Recall(), batch]).search_many(["a", "b", "c"])
    assert batch.batches == [3]


@pytest.mark.parametrize("k", [1, 5, 10, 100])
def test_k_is_how_many_come_back(k):
    result = Cascade([Recall(10)]).search("q", k=k)
    assert len(result) == min(k, 10)
    assert result.trace.answered == tuple(result.ids)


@pytest.mark.parametrize("k", [0, -1, 1.5, True])
def test_a_k_below_one_is_refused(k):
    with pytest.raises(InputError, match="k must be"):
        Cascade([Recall()]).search("q", k=k)


@pytest.mark.parametrize("deadline", [0, -1.0, float("nan"), float("inf")])
def test_a_deadline_must_be_positive_seconds(deadline):
    with pytest.raises(InputError, match="deadline"):
        Cascade([Recall()]).search("q", deadline=deadline)


def test_a_query_that_is_no_string_is_refused():
    with pytest.raises(InputError, match="int"):
        Cascade([Recall()]).search(3)


def test_an_unknown_operator_is_refused_before_anything_runs():
    with pytest.raises(InputError, match=r"\$near"):
        Cascade([Fail()]).search("q", filter={"a": {"$near": 1}})


def test_a_filter_narrows_the_querys_own():
    result = Cascade([Recall(10)]).search(Query("q", {"n": {"$gte": 3}}), filter={"n": {"$lt": 5}})
    assert result.ids == ["d3", "d4"]


def test_a_filtered_out_document_never_comes_back_even_from_a_stage_that_ignores_filters():
    class Deaf(Recall):
        def run(self, candidates):
            scores = range(len(self.documents), 0, -1)
            ids = [document.id for document in self.documents]
            return candidates.recalled(self.name, ids, scores, source=self.source)

    result = Cascade([Deaf(10), TopK(9)]).search("q", k=4, filter={"n": {"$gte": 5}})
    assert result.ids == ["d5", "d6", "d7", "d8"]
    assert [hit.rank for hit in result] == [1, 2, 3, 4]


def test_bare_strings_can_be_ranked():
    result = Cascade([Score(number)]).rank("q", [Document("d3", "x"), Document("d7", "y")])
    assert result.ids == ["d7", "d3"]
    assert Cascade([TopK(1)]).rank("q", ["a", "b"]).ids == ["0"]


def test_what_is_no_list_of_documents_or_queries_is_refused():
    """A string's letters are not documents, nor queries."""
    cascade = Cascade([TopK(1)])
    for documents, says in (("abc", "not str"), (3, "not int"), (["a", 3], "document 1.*not int")):
        with pytest.raises(InputError, match=says):
            cascade.rank("q", documents)
    with pytest.raises(InputError, match="queries must be a list"):
        cascade.search_many("abc")


def test_nothing_brought_is_nothing_answered():
    result = Cascade([Recall(), Score(number)]).rank("q", [])
    assert result.ids == []
    assert not result.degraded
    assert statuses(result) == [("recall", "idle"), ("score", "idle")]


def test_a_recall_only_stage_is_left_out_where_documents_are_brought():
    result = Cascade([RecallOnly(), Score(number)]).rank("q", [Document("d1", "x")])
    assert statuses(result) == [("recall", "idle"), ("score", "ok")]
    assert not result.degraded


# -- failure ---------------------------------------------------------------------------------


def test_a_recall_that_fails_raises_with_what_had_happened():
    with pytest.raises(StageError, match="out of order") as caught:
        Cascade([Fail()]).search("q")
    assert caught.value.stage == "fail"
    assert caught.value.position == 0
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert [record.status for record in caught.value.trace.records] == ["failed"]


def test_a_later_stage_that_fails_is_skipped_and_said_to_be(caplog):
    with caplog.at_level(logging.WARNING, logger="stepwell"):
        result = Cascade([Recall(5), Fail(), TopK(2)]).search("secret question")
    assert result.ids == ["d0", "d1"]
    assert result.degraded
    assert statuses(result) == [("recall", "ok"), ("fail", "failed"), ("top-k", "ok")]
    assert isinstance(result.trace.records[1].error, RuntimeError)
    assert "'fail'" in caplog.text
    assert "secret" not in caplog.text
    assert "out of order" not in caplog.text


def test_policies_can_be_turned_round():
    with pytest.raises(StageError) as caught:
        Cascade([Recall(), Fail()], on_failure={"fail": "raise"}).search("q")
    assert caught.value.position == 1
    assert Cascade([Fail(), Recall()], on_failure={"fail": "skip"}).search("q").degraded


def test_a_recall_after_one_that_failed_takes_its_place():
    """A stage that cannot recall has nothing to do where nothing was recalled."""
    recall = Recall()
    result = Cascade([Fail(), recall], on_failure={"fail": "skip"}).search("q")
    assert result.ids == Cascade([Recall()]).search("q").ids
    alone = Cascade([Fail(), TopK(1)], on_failure={"fail": "skip"}).search("q")
    assert alone.ids == []
    assert alone.trace.records[1].reason == "nothing was recalled"


def test_a_nested_cascade_still_filters_when_the_deadline_is_over():
    """It is never skipped whole, only the stages in it that merely improve an order."""

    @stage
    def slow(candidates):
        time.sleep(0.03)
        return candidates

    @stage
    def odd(candidates):
        return candidates.keep([id == "b" for id in candidates.ids], reason="not b")

    nested = Cascade([odd], name="guarded")
    result = Cascade([slow, nested]).rank(
        "q", [Document("a", "x"), Document("b", "y")], deadline=0.01
    )
    assert result.ids == ["b"]


def test_a_guard_that_fails_is_raised():
    """Without it the answer would be wrong."""

    @stage
    def gate(candidates):
        raise OSError("no list of rights")

    with pytest.raises(StageError):
        Cascade([gate]).rank("q", ["a"])


def test_why_names_the_filter_and_what_was_deleted():
    result = Cascade([TopK(5)]).rank(
        "q", [Document("a", "x", {"t": 1}), Document("b", "y")], filter={"t": 1}
    )
    assert str(result.trace.why("b")) == "b was left out: excluded by the filter"


def test_two_stages_of_one_column_are_refused_however_deep():
    """One score would overwrite the other."""
    with pytest.raises(ConfigurationError, match="top-k"):
        Cascade([Cascade([TopK(1)], name="inner"), TopK(1)])


def test_a_query_that_is_wrong_spoils_no_other():
    good, bad = Cascade([Recall()]).search_each(["q", 3])
    assert good.ids
    assert isinstance(bad, InputError)


@pytest.mark.parametrize("wrong", [TopK(1), "handbook", None])
def test_a_cascade_takes_a_list_of_stages(wrong):
    with pytest.raises(ConfigurationError, match="list of stages"):
        Cascade(wrong)


@pytest.mark.parametrize("deadline", ["1", True, 0, -1.0, float("nan"), float("inf")])
def test_a_deadline_is_a_positive_number_of_seconds(deadline):
    with pytest.raises(InputError, match="deadline"):
        Cascade([Recall()]).search("q", deadline=deadline)


@pytest.mark.parametrize(
    "error",
    [
        InputError("i"),
        MissingExtraError(module="m", extra="e"),
        ContractError("broken"),
    ],
)
def test_the_callers_own_mistakes_are_always_raised(error):
    """Skipped, they would hide for ever."""
    cascade = Cascade([Recall(), Fail(error)], on_failure={"fail": "skip"})
    with pytest.raises(type(error)) as caught:
        cascade.search("q")
    assert caught.value is error


def test_what_was_built_wrong_is_skipped_only_where_that_was_said():
    """A stage whose model cannot be loaded need not take the answer down."""
    stages = [Recall(), Fail(ConfigurationError("no such model"))]
    with pytest.raises(ConfigurationError):
        Cascade(stages).search("q")
    assert Cascade(stages, on_failure={"fail": "skip"}).search("q").degraded


RULES = ["Candidates", "query", "twice", "no string", "NaN", "infinite", "missing", "increase"]


@pytest.mark.parametrize("rule", [*RULES, "not given"])
async def test_a_broken_rule_is_raised_and_named(rule):
    """In every way of asking, with the stage, its place and the trace."""
    cascade = Cascade([Recall(), Bad(rule)], on_failure={"bad": "skip"})
    with pytest.raises(ContractError, match=rule) as caught:
        cascade.search("q")
    assert (caught.value.stage, caught.value.position) == ("bad", 1)
    assert [record.status for record in caught.value.trace.records] == ["ok", "failed"]
    with pytest.raises(ContractError, match=rule):
        await cascade.asearch("q")
    with pytest.raises(ContractError, match=rule):
        cascade.search_many(["q", "r"])


def test_a_stage_that_expands_may_bring_new_ids():
    bad = Bad("not given")
    bad.expands = True
    assert Cascade([Recall(), bad]).search("q").ids == ["d0"]


def test_run_many_must_answer_every_query():
    class Forgetful(BatchScore):
        def run_many(self, many):
            return super().run_many(many)[1:]

    with pytest.raises(ContractError, match="2 results for 3 queries"):
        Cascade([Recall(), Forgetful(number)]).search_many(["a", "b", "c"])


def test_one_query_that_spoils_a_batch_spoils_no_other():
    class Picky(BatchScore):
        def run(self, candidates):
            if candidates.query.text == "bad":
                raise RuntimeError("no")
            return super().run(candidates)

    cascade = Cascade([Recall(4), Picky(number)])
    results = cascade.search_many(["good", "bad", "good"])
    assert [result.degraded for result in results] == [False, True, False]
    assert results[0].ids == results[2].ids == ["d3", "d2", "d1", "d0"]
    answers = Cascade([Fail(), TopK(1)]).search_each(["a", "b"])
    assert all(isinstance(answer, StageError) for answer in answers)


def test_a_cancelled_search_is_no_failed_stage():
    class Slow:
        name = "slow"

        def run(self, candidates):
            return candidates

        async def arun(self, candidates):
            await asyncio.sleep(30)

    async def cancel():
        task = asyncio.ensure_future(Cascade([Recall(), Slow()]).asearch("q"))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())


# -- deadline --------------------------------------------------------------------------------


class Sleep:
    def __init__(self, seconds, name="sleep"):
        self.seconds, self.name = seconds, name

    def run(self, candidates):
        time.sleep(self.seconds)
        return candidates


def test_what_has_not_run_by_the_deadline_is_skipped_and_said_to_be():
    cascade = Cascade([Recall(5), Sleep(0.05), Score(number)])
    result = cascade.search("q", deadline=0.03)
    assert statuses(result) == [("recall", "ok"), ("sleep", "ok"), ("score", "skipped")]
    assert result.trace.records[2].reason == "deadline"
    assert result.degraded
    assert result.ids == ["d0", "d1", "d2", "d3", "d4"]
    assert not cascade.search("q", deadline=30).degraded


class Away(Score):
    def run(self, candidates):
        raise TimeoutError


@pytest.mark.parametrize("guarded", [False, True])
@pytest.mark.parametrize("late", [False, True])
def test_what_a_stage_keeps_is_kept_whatever_becomes_of_it(late, guarded):
    """Skipped, failed or guarded: its k cuts the order so far, and more come where k asks."""
    last = Score(number, k=2) if late else Away(number, k=2)
    cascade = Cascade([Recall(9), Guarded(last, failures=None) if guarded else last])
    deadline = 1e-9 if late else None
    result = cascade.search("q", deadline=deadline)
    assert result.ids == ["d0", "d1"]
    assert result.degraded
    record = result.trace.records[1]
    assert (record.status, record.n_in, record.n_out) == ("skipped" if late else "failed", 9, 2)
    assert str(result.trace.why("d4")) == "d4 was dropped by score: rank 5, cut at k=2"
    more = cascade.search("q", k=4, deadline=deadline)
    assert more.ids == ["d0", "d1", "d2", "d3"]
    assert [set(hit.ranks) for hit in more.hits] == [{"recall"}] * 4


def test_a_stage_after_one_that_failed_reads_no_more_than_it_would():
    """The k of a stage holds for what follows it, too."""
    given = []

    @stage
    def after(candidates):
        given.append(len(candidates))
        return candidates

    Cascade([Recall(9), Away(number, k=3), after]).search("q")
    assert given == [3]


def test_recall_runs_whatever_the_deadline():
    result = Cascade([Recall(3), Score(number)]).search("q", deadline=1e-9)
    assert statuses(result) == [("recall", "ok"), ("score", "skipped")]


def test_cuts_and_filters_run_past_the_deadline():
    """Without them the answer would be wrong, not only worse."""
    result = Cascade([Recall(5), Score(number), TopK(2)]).search("q", deadline=1e-9)
    assert statuses(result)[1:] == [("score", "skipped"), ("top-k", "ok")]
    assert result.ids == ["d0", "d1"]


def test_a_stage_that_ran_out_of_time_is_partial():
    @stage
    def half(candidates):
        return candidates.scored("half", [1.0, float("nan")]).noted(unscored=1)

    result = Cascade([Recall(2), half]).search("q", deadline=30)
    assert statuses(result)[1] == ("half", "partial")
    assert result.degraded


# -- as a stage ------------------------------------------------------------------------------


def test_a_cascade_is_a_stage():
    inner = Cascade([Recall(8), Score(number, k=4)], name="inner")
    result = Cascade([inner, TopK(2)]).search("q")
    assert result.ids == ["d7", "d6"]
    assert [child.name for child in result.trace.records[0].children] == ["recall", "score"]
    assert result.hits[0].scores == {"recall": 1.0, "score": 7.0}
    assert result.hits[0].ranks == {"recall": 8, "score": 1, "inner": 1, "top-k": 1}


@given(
    n=st.integers(0, 20),
    depths=st.lists(st.integers(1, 20), min_size=1, max_size=3),
    decides=st.lists(st.booleans(), min_size=3, max_size=3),
    k=st.integers(1, 25),
)
def test_nesting_changes_no_answer(n, depths, decides, k):
    """The same stages, flat or in a cascade of their own, answer and back-fill alike."""
    stages = [Recall(n)]
    for at, (depth, verdict) in enumerate(zip(depths, decides)):
        each = Score(shuffled(at), name=f"s{at}", k=depth)
        each.decides = verdict
        stages.append(each)
    flat = Cascade(stages).search("q", k=k)
    nested = Cascade([Cascade(stages, name="inner")]).search("q", k=k)
    assert nested.ids == flat.ids
    assert [hit.score for hit in nested] == [hit.score for hit in flat]


def test_a_failure_inside_a_nested_cascade_shows():
    inner = Cascade([Recall(3), Fail()], name="inner")
    result = Cascade([inner]).search("q")
    assert result.degraded
    assert result.trace.records[0].status == "ok"
    with pytest.raises(StageError) as caught:
        Cascade([Cascade([Fail()], name="inner")]).search("q")
    assert caught.value.stage == "fail"


def test_a_nested_cascade_can_be_awaited():
    inner = Cascade([Recall(8), AsyncScore(number, k=4)], name="inner")
    cascade = Cascade([inner, TopK(2)])
    assert signature(asyncio.run(cascade.asearch("q"))) == signature(cascade.search("q"))


# -- not blocking ----------------------------------------------------------------------------


async def test_no_stage_runs_in_the_loops_thread():
    """Stages without `arun` go to a thread, and so does fetching the answer."""
    threads = set()

    class Source(Recall):
        def run(self, candidates):
            threads.add(threading.get_ident())
            return super().run(candidates)

    recall = Source(3)
    fetch = recall.source.get_many
    recall.source.get_many = lambda ids: threads.add(threading.get_ident()) or fetch(ids)
    result = await Cascade([recall, TopK(2)]).asearch("q")
    assert result.ids == ["d0", "d1"]
    assert threads
    assert threading.get_ident() not in threads


def test_one_cascade_serves_many_threads():
    from concurrent.futures import ThreadPoolExecutor

    cascade = Cascade([Recall(50), Score(number, k=20), TopK(5)])
    expected = signature(cascade.search("q", k=5))
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: cascade.search("q", k=5), range(64)))
    assert all(signature(result) == expected for result in results)


def test_a_nested_cascade_takes_many_at_once():
    batch = BatchScore(number)
    cascade = Cascade([Cascade([Recall(6), batch], name="inner"), TopK(3)])
    once = [signature(cascade.search(query)) for query in ("a", "b", "c")]
    assert [signature(result) for result in cascade.search_many(["a", "b", "c"])] == once
    assert batch.batches == [3]
