from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell import Candidates, Cascade, ConfigurationError, Document, Parents, Query, stage
from stepwell.documents import InMemory

PARENTS = InMemory([Document("p1", "parent one", {"lang": "en"}), Document("p2", "parent two")])


def passages(parents):
    return [
        Document(f"c{at}", f"passage {at}", {"parent": parent} if parent else {})
        for at, parent in enumerate(parents)
    ]


def falling(n):
    return list(range(n, 0, -1))


@given(st.lists(st.sampled_from(["p1", "p2", "gone", None]), max_size=10))
def test_a_parent_stands_where_its_best_passage_stood(parents):
    """Once, with that passage's scores; a passage without a parent to be had stays."""
    documents = passages(parents)
    before = Candidates.of("q", documents).scored("s", falling(len(documents)))
    after = Parents(PARENTS).run(before)
    expected = []
    for at, parent in enumerate(parents):
        id = parent if parent in ("p1", "p2") else f"c{at}"
        if id not in [known for known, _ in expected]:
            expected.append((id, len(parents) - at))
    assert list(zip(after.ids.tolist(), after.score.tolist())) == expected
    assert after.scores["s"].tolist() == [score for _, score in expected]


def test_the_parent_says_which_passage_matched_and_the_stored_one_is_not_changed():
    result = Cascade([Parents(PARENTS)]).rank("q", passages(["p2", "p1", "p2"]))
    assert result.ids == ["p2", "p1"]
    assert [hit.document.metadata["stepwell_matched"] for hit in result] == ["c0", "c1"]
    assert result.hits[0].document.text == "parent two"
    assert result.hits[1].document.metadata["lang"] == "en"
    assert "stepwell_matched" not in PARENTS.get_many(["p1"])[0].metadata


def test_a_parent_keeps_its_own_metadata():
    """A key of the user's that is called `matched` comes through unchanged."""
    own = InMemory([Document("p1", "parent one", {"matched": "mine"})])
    (hit,) = Cascade([Parents(own)]).rank("q", passages(["p1"]))
    assert hit.document.metadata == {"matched": "mine", "stepwell_matched": "c0"}


def test_parents_may_lie_where_the_passages_lie(corpus):
    corpus_like = InMemory([*passages(["p1"]), Document("p1", "the whole")])
    before = Candidates.start("q").recalled("r", ["c0"], [1.0], source=corpus_like)
    after = Parents().run(before)
    assert after.texts() == ["the whole"]


def test_a_parent_among_the_candidates_and_its_passage_become_one():
    documents = [*passages(["p1"]), Document("p1", "the whole"), Document("x", "other")]
    result = Cascade([Parents()]).rank("q", documents)
    assert result.ids == ["p1", "x"]
    assert result.hits[0].document.metadata["stepwell_matched"] == "c0"
    itself = Cascade([Parents()]).rank("q", documents[::-1])
    assert itself.ids == ["x", "p1"]
    assert "stepwell_matched" not in itself.hits[1].document.metadata


def test_a_parent_that_the_filter_excludes_does_not_come_back():
    """Its passage, which the filter lets pass, stays in its own name."""
    child = Document("c", "passage", {"parent": "p2", "lang": "en"})
    result = Cascade([Parents(PARENTS)]).rank("q", [child], filter={"lang": "en"})
    assert result.ids == ["c"]
    query = Query("q", {"lang": "en"})
    other = Document("c", "passage", {"parent": "p1", "lang": "en"})
    assert Cascade([Parents(PARENTS)]).rank(query, [other]).ids == ["p1"]


def test_stages_after_it_read_the_parents():
    @stage
    def read(candidates):
        assert candidates.texts() == ["parent one"]
        return candidates

    assert not Cascade([Parents(PARENTS), read]).rank("q", passages(["p1", "p1"])).degraded


def test_no_passage_comes_back_when_more_is_asked_for():
    result = Cascade([Parents(PARENTS, k=1)]).rank("q", passages(["p1", "p1", "p2"]), k=5)
    assert result.ids == ["p1"]
    assert result.trace.why("c1").reason == "another passage of its parent ranks higher"


def test_another_key_and_metadata_that_is_no_id():
    documents = [Document("c", "x", {"doc": "p1", "parent": 7}), Document("d", "y", {"doc": 3})]
    assert Cascade([Parents(PARENTS, key="doc")]).rank("q", documents).ids == ["p1", "d"]


def test_a_k_that_is_none_is_refused():
    with pytest.raises(ConfigurationError, match="k must be"):
        Parents(k=0)


def test_repr():
    assert repr(Parents(key="doc", k=3)) == "Parents(key='doc', k=3)"
