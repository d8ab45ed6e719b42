from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stepwell import Cascade, MinScore, Trace
from tests.core.stages_of_tests import Fail, Recall, Score, number


@given(
    n=st.integers(1, 20),
    depths=st.lists(st.integers(1, 20), min_size=1, max_size=3),
    k=st.integers(1, 20),
)
def test_why_knows_what_became_of_every_document(n, depths, k):
    """Answered at its rank, or dropped by the last stage that ranked it, at that rank."""
    stages = [Recall(n)]
    stages += [Score(number, name=f"s{at}", k=depth) for at, depth in enumerate(depths)]
    result = Cascade(stages).search("q", k=k)
    for id in (f"d{at}" for at in range(n)):
        why = result.trace.why(id)
        if id in result.ids:
            assert (why.outcome, why.rank) == ("answered", result.ids.index(id) + 1)
        else:
            rank = n - int(id[1:])
            cutter = next((f"s{at}" for at, depth in enumerate(depths) if rank > depth), None)
            assert (why.outcome, why.rank) == ("dropped", rank)
            assert why.stage == (cutter or f"s{len(depths) - 1}")


def test_why_is_a_sentence():
    result = Cascade([Recall(6), Score(number, k=4), MinScore(3.0)]).search("q", k=2)
    why = {id: str(result.trace.why(id)) for id in ("d5", "d3", "d2", "d1", "x")}
    assert why["d5"] == "d5 is in the answer, at rank 1"
    assert why["d3"] == "d3 was dropped by min-score: rank 3, beyond the 2 answered"
    assert why["d2"] == "d2 was dropped by min-score: rank 4, score below 3"
    assert why["d1"] == "d1 was dropped by score: rank 5, cut at k=4"
    assert why["x"] == "x was not recalled by recall"


def test_why_names_the_stage_that_swallowed_a_candidate():
    """Even one that left it out without a word."""

    class Swallow(Score):
        def run(self, candidates):
            return candidates.reordered([0], [1.0])

    why = Cascade([Recall(3), Swallow(number)]).search("q").trace.why("d2")
    assert (why.stage, why.reason) == ("score", "not returned by it")


def test_a_record_counts_what_went_in_and_out():
    records = Cascade([Recall(6), Score(number, k=4)]).search("q", k=1).trace.records
    assert [(r.position, r.n_in, r.n_out) for r in records] == [(0, 0, 6), (1, 6, 4)]
    assert all(record.ms >= 0 for record in records)
    assert records[1].ids.tolist() == ["d5", "d4", "d3", "d2"]
    assert records[1].score.tolist() == [5, 4, 3, 2]


def test_a_record_says_what_was_given_and_whether_it_was_scored():
    """Of stages that ran, that failed and that were skipped; a stage that only cuts scores none."""
    stages = [Recall(3), Fail(), MinScore(2.0), Score(number, name="late")]
    records = Cascade(stages).search("q", deadline=1e-9).trace.records
    assert [record.status for record in records] == ["ok", "skipped", "ok", "skipped"]
    records = Cascade(stages).search("q").trace.records
    given = [[], ["d0", "d1", "d2"], ["d0", "d1", "d2"], ["d0", "d1"]]
    assert [record.given.tolist() for record in records] == given
    assert [record.scored for record in records] == [True, False, False, True]


def test_the_faults_are_the_records_that_make_it_degraded():
    """Also those of stages inside others, and they alone."""
    inner = Cascade([Fail(), Score(number)], name="inner")
    trace = Cascade([Recall(3), inner, Score(number, name="last")]).search("q").trace
    assert [fault.name for fault in trace.faults] == ["fail"]
    assert trace.degraded
    assert Cascade([Recall(3)]).search("q").trace.faults == ()


def test_notes_go_to_the_trace_of_their_stage_alone():
    class Noting(Score):
        def run(self, candidates):
            return super().run(candidates).noted(truncated=3)

    records = Cascade([Recall(), Noting(number), Score(number, name="b")]).search("q").trace.records
    assert [dict(record.notes) for record in records] == [{}, {"truncated": 3}, {}]


def test_a_trace_prints_as_a_table():
    inner = Cascade([Recall(3), Fail()], name="inner")
    lines = str(Cascade([inner, Score(number)]).search("q", k=2).trace).splitlines()
    assert lines[0].split() == ["stage", "status", "in", "out", "ms", "remarks"]
    assert [line.split()[0] for line in lines[1:]] == ["inner", "recall", "fail", "score", "total"]
    assert lines[2].startswith("  recall")
    assert "RuntimeError" in lines[3]
    assert "degraded" in lines[-1]
    starts = {line.index(word) for line, word in zip(lines[:2], ("status", "ok"))}
    assert len(starts) == 1


def test_an_empty_trace_is_whole():
    trace = Trace(())
    assert not trace.degraded
    assert trace.why("a").outcome == "not recalled"
    assert "total" in str(trace)
