from __future__ import annotations

import json
import pickle
from copy import deepcopy

from hypothesis import given
from hypothesis import strategies as st

from stepwell import Cascade, Document, Result, TopK
from tests.core.stages_of_tests import Fail, Recall, Score, number, shuffled, signature


@given(
    n=st.integers(0, 25),
    depths=st.lists(st.integers(1, 25), max_size=3),
    k=st.integers(1, 40),
    blend=st.sampled_from([0.3, 1.0]),
)
def test_back_fill_gives_what_was_asked_for(n, depths, k, blend):
    """As many as there are, each once, scores never increasing, the kept before the cut."""
    stages = [Recall(n)]
    for at, depth in enumerate(depths):
        stages.append(Score(shuffled(at), name=f"s{at}", k=depth, blend=blend))
    cascade = Cascade(stages)
    result, kept = cascade.search("q", k=k), cascade.search("q")
    assert len(result) == min(k, n)
    assert len(set(result.ids)) == len(result)
    assert result.ids[: len(kept)] == kept.ids[:k]
    scores = [hit.score for hit in result]
    assert scores == sorted(scores, reverse=True)
    assert [hit.rank for hit in result] == list(range(1, len(result) + 1))


def test_back_fill_takes_the_later_stages_cut_first():
    """What the last stage cut is next in line, then what the stage before it cut."""
    cascade = Cascade([Recall(6), Score(number, name="a", k=4), Score(lambda _: 0, name="b", k=2)])
    result = cascade.search("q", k=6)
    assert result.ids == ["d5", "d4", "d3", "d2", "d1", "d0"]
    assert result.hits[2].ranks == {"recall": 4, "a": 3, "b": 3}
    assert result.hits[4].ranks == {"recall": 5 - 3, "a": 5}
    assert "b" not in result.hits[4].scores


def test_what_a_verdict_dropped_or_never_saw_does_not_come_back():
    assert Cascade([Recall(9), TopK(3)]).search("q", k=9).ids == ["d0", "d1", "d2"]
    cascade = Cascade([Recall(9), Score(number, k=4), TopK(3)])
    assert len(cascade.search("q", k=9)) == 3
    cascade = Cascade([Recall(9), TopK(6), Score(number, k=2)])
    assert cascade.search("q", k=9).ids == ["d5", "d4", "d3", "d2", "d1", "d0"]


def test_a_stage_that_keeps_and_then_cuts_gives_back_only_the_cut():
    class Both(Score):
        def run(self, candidates):
            even = [number(id) % 2 == 0 for id in candidates.ids]
            return candidates.keep(even, reason="odd").top(2)

    result = Cascade([Recall(10), Both(number)]).search("q", k=10)
    assert result.ids == ["d0", "d2", "d4", "d6", "d8"]


def test_a_document_that_was_deleted_meanwhile_gives_its_place_to_the_next():
    recall = Recall(5)
    del recall.source._by_id["d0"]
    result = Cascade([recall]).search("q", k=3)
    assert result.ids == ["d1", "d2", "d3"]
    assert [hit.rank for hit in result] == [1, 2, 3]


def test_a_hit_says_where_it_came_from():
    result = Cascade([Recall(3), Score(number)]).search("q", k=1)
    hit = result.hits[0]
    assert (hit.id, hit.rank, hit.score) == ("d2", 1, 2.0)
    assert hit.scores == {"recall": 1.0, "score": 2.0}
    assert hit.ranks == {"recall": 3, "score": 1}


def test_scores_that_were_brought_are_kept():
    result = Cascade([Score(number)]).rank("q", [Document("d1", "x")], scores=[0.25])
    assert result.hits[0].scores == {"given": 0.25, "score": 1.0}


def test_a_result_reads_as_a_sequence_and_as_json():
    result = Cascade([Recall(3), Fail()]).search("q", k=2)
    assert len(result) == 2
    assert [hit.id for hit in result] == result.ids == ["d0", "d1"]
    assert [document.text for document in result.documents] == ["text 0", "text 1"]
    plain = json.loads(json.dumps(result.to_dict()))
    assert [hit["id"] for hit in plain["hits"]] == result.ids
    assert plain["trace"]["degraded"] is True
    assert plain["hits"][0]["metadata"] == {"n": 0}


def test_the_trace_as_json_holds_no_text_and_no_question():
    result = Cascade([Recall(3), Score(number)]).search("secret", k=2)
    plain = json.dumps(result.trace.to_dict())
    assert "secret" not in plain
    assert "text 0" not in plain


def test_a_result_can_be_pickled_and_copied_with_its_failures():
    result = Cascade([Cascade([Recall(4), Fail()], name="inner"), TopK(2)]).search("q", k=4)
    for again in (pickle.loads(pickle.dumps(result)), deepcopy(result)):
        assert isinstance(again, Result)
        assert signature(again) == signature(result)
        assert again.documents == result.documents
        assert again.degraded
        assert str(again.trace) == str(result.trace)
        assert again.trace.why("d3") == result.trace.why("d3")
