"""Points 7 and 10: stores and retrievers of LangChain as recall, their scores."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda

import stepwell as sw
from stepwell.langchain import CascadeRetriever, as_stage
from tests.conformance.langchain_filters import Listed, Unfiltered, distance, stores
from tests.conformance.langchain_parts import QUERY, Recorder, documents, memory_store


@pytest.mark.parametrize("kind", ["memory", "chroma", "unknown"])
async def test_07_scores_are_kept(kind: str) -> None:
    """The best document has the highest score whatever the store's direction; async agrees."""
    cascade = sw.Cascade([as_stage(stores()[kind], k=10)])
    best = stores()["memory"].similarity_search(QUERY, k=10)
    result = cascade.search(QUERY)
    assert result.ids == [each.id for each in best]
    assert len({hit.score for hit in result}) > 1
    again = await cascade.asearch(QUERY)
    assert [(hit.id, hit.score) for hit in again] == [(hit.id, hit.score) for hit in result]


def test_07_chroma_distance() -> None:
    """Chroma's number is a distance, kept negated."""
    ((_, raw),) = stores()["chroma"].similarity_search_with_score(QUERY, k=1)
    stage = as_stage(stores()["chroma"])
    assert sw.Cascade([stage]).search(QUERY, k=1).hits[0].score == pytest.approx(-raw)


def test_07_direction_must_be_known() -> None:
    """A store that does not say what its scores mean has to be told; a lie is found out."""
    store = Unfiltered(stores()["memory"], distance)
    with pytest.raises(sw.ConfigurationError, match="does not say what its scores mean"):
        as_stage(store)
    with pytest.raises(sw.ConfigurationError, match="pass score='distance'"):
        sw.Cascade([as_stage(store, score="similarity")]).search(QUERY)
    told = sw.Cascade([as_stage(store, score="distance")]).search(QUERY, k=5).ids
    ranked = sw.Cascade([as_stage(store, score="rank")]).search(QUERY, k=5).ids
    assert told == ranked == sw.Cascade([as_stage(memory_store())]).search(QUERY, k=5).ids


def test_07_threshold_and_own_arguments() -> None:
    """The retriever's search_kwargs still hold: its threshold, its filter, its wider k."""
    store = stores()["chroma"]
    threshold = store.as_retriever(
        search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.1, "k": 50}
    )
    with pytest.warns(UserWarning, match="between 0 and 1"):  # Chroma's, of distances above 1.4
        expected = [each.id for each in threshold.invoke(QUERY)]
    assert 0 < len(expected) < len(documents())
    assert sw.Cascade([as_stage(threshold)]).search(QUERY).ids == expected
    assert as_stage(store.as_retriever(search_kwargs={"k": 300})).k == 300
    mmr = store.as_retriever(search_type="mmr", search_kwargs={"k": 4, "filter": {"lang": "en"}})
    assert sw.Cascade([as_stage(mmr)]).search(QUERY).ids == [each.id for each in mmr.invoke(QUERY)]


def test_07_scores_of_a_retriever() -> None:
    """A retriever's order is its score, unless it leaves one in the metadata."""
    found = [
        Document(id=id, page_content=id, metadata={"s": value})
        for id, value in (("a", 0.2), ("b", 0.9))
    ]
    by_rank = sw.Cascade([as_stage(Listed(found=found))]).search(QUERY)
    assert by_rank.ids == ["a", "b"]
    by_key = sw.Cascade([as_stage(Listed(found=found), score_key="s")]).search(QUERY)
    assert [(hit.id, hit.score) for hit in by_key] == [("b", 0.9), ("a", 0.2)]
    with pytest.raises(sw.InputError, match="metadata\\['x'\\]"):
        sw.Cascade([as_stage(Listed(found=found), score_key="x")]).search(QUERY)


def test_10_duplicates() -> None:
    """One id counts once; the same without an id too; one id with two texts is two documents."""
    found = [
        Document(id="a", page_content="one"),
        Document(page_content="two", metadata={"n": 1}),
        Document(id="a", page_content="one"),
        Document(page_content="two", metadata={"n": 1}),
        Document(id="a", page_content="three"),
        Document(page_content="two", metadata={"n": 2}),
    ]
    cascade = sw.Cascade([as_stage(Listed(found=found))])
    texts = [each.page_content for each in CascadeRetriever(cascade=cascade, k=None).invoke(QUERY)]
    assert texts == ["one", "two", "three", "two"]


def test_10_two_arms() -> None:
    """What two arms find is one document, with the scores of both; text twins go by Dedupe."""
    listed = Listed(found=list(memory_store().similarity_search(QUERY, k=5)))
    twin = Listed(found=[Document(id="twin", page_content=listed.found[0].page_content)])
    arms = [as_stage(memory_store(), name="vectors"), as_stage(listed), as_stage(twin, name="twin")]
    retriever = CascadeRetriever(cascade=sw.Cascade([sw.Hybrid(arms), sw.Dedupe()]), k=None)
    found = retriever.invoke(QUERY)
    texts = [each.page_content for each in found]
    assert len(set(texts)) == len(texts)
    assert {"vectors", "Listed"} <= set(found[0].metadata["stepwell"]["scores"])


def test_10_id_from_metadata() -> None:
    """An id kept in the metadata identifies a document, and one that lacks it is an error."""
    found = [Document(page_content=text, metadata={"key": 7}) for text in ("same", "same")]
    cascade = sw.Cascade([as_stage(Listed(found=found), id_key="key")])
    assert cascade.search(QUERY).ids == ["7"]
    with pytest.raises(sw.InputError, match="metadata\\['other'\\]"):
        sw.Cascade([as_stage(Listed(found=found), id_key="other")]).search(QUERY)


async def test_11_runs_of_what_recalls() -> None:
    """A store's retriever, a retriever and a chain each run as a child of ours."""
    step = RunnableLambda(lambda query: [documents()[0]], name="chain")
    listed = Listed(found=list(documents()[:3]), tags=["own"])
    arms = [as_stage(memory_store()), as_stage(listed), as_stage(step)]
    retriever = CascadeRetriever(cascade=sw.Cascade([sw.Hybrid(arms)]))
    for awaited in (False, True):
        recorder = Recorder()
        config: Any = {"callbacks": [recorder], "tags": ["given"]}
        if awaited:
            await retriever.ainvoke(QUERY, config)
        else:
            retriever.invoke(QUERY, config)
        ours, *nested = [*recorder.of("start"), *recorder.of("chain start")]
        assert len(nested) == 3
        assert {each["parent_run_id"] for each in nested} == {ours["run_id"]}
        assert all("given" in each["tags"] for each in nested)
        assert [each["name"] for each in nested if "own" in each["tags"]] == ["Listed"]


def test_as_stage_refuses_what_cannot_recall() -> None:
    """Something that is no retriever is refused, by name."""
    with pytest.raises(sw.ConfigurationError, match="int cannot recall"):
        as_stage(5)
    with pytest.raises(sw.ConfigurationError, match="filter must be"):
        as_stage(memory_store(), filter="before")  # type: ignore[arg-type]
    with pytest.raises(sw.ConfigurationError, match="score must be one of"):
        as_stage(memory_store(), score="cosine")  # type: ignore[arg-type]
