"""Points 4, 7 and 10: stores and retrievers of LangChain as recall, their scores and filters."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from itertools import chain
from typing import Any

import chromadb
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from langchain_chroma import Chroma
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore

import stepwell as sw
from stepwell.langchain import CascadeRetriever, as_embeddings, as_stage
from tests.conformance.langchain_parts import (
    QUERY,
    Recorder,
    documents,
    memory_store,
)

FIELDS = {
    "lang": ["en", "de", "fr"],
    "year": [1999, 2020, 2020.5, 2024],
    "draft": [True, False],
}


class QuickEmbeddings(Embeddings):
    """The packaged encoder; a query that was asked before is not encoded again."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return as_embeddings().embed_documents(texts)

    @staticmethod
    @cache
    def embed_query(text: str) -> list[float]:  # type: ignore[override]
        return as_embeddings().embed_query(text)


class Unfiltered(VectorStore):
    """A store of which nothing is known: it answers by distance and takes no filter."""

    def __init__(self, inner: InMemoryVectorStore, score: Callable[[float], float]) -> None:
        self.inner, self.score = inner, score
        self.asked: list[int] = []

    def similarity_search_with_score(self, query: str, k: int = 4, **kwargs: Any) -> Any:
        assert not kwargs
        self.asked.append(k)
        found = self.inner.similarity_search_with_score(query, k=k)
        return [(document, self.score(value)) for document, value in found]

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        return [each for each, _ in self.similarity_search_with_score(query, k, **kwargs)]

    @classmethod
    def from_texts(cls, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


class Normed(Unfiltered):
    """One that says how its number becomes a relevance."""

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return lambda distance: 1.0 - distance / 2.0


def distance(similarity: float) -> float:
    return 1.0 - similarity


@cache
def sorted_out() -> tuple[Document, ...]:
    """The documents with metadata to filter by; any field may be missing."""
    draw = random.Random(7)
    made = []
    for document in documents():
        metadata = {key: draw.choice(pool) for key, pool in FIELDS.items() if draw.random() < 0.8}
        made.append(Document(id=document.id, page_content=document.page_content, metadata=metadata))
    return tuple(made)


@cache
def stores() -> dict[str, VectorStore]:
    memory = InMemoryVectorStore.from_documents(list(sorted_out()), QuickEmbeddings())
    chroma = Chroma("conformance", QuickEmbeddings(), client=chromadb.EphemeralClient())
    chroma.add_documents(list(sorted_out()))
    return {"memory": memory, "chroma": chroma, "unknown": Normed(memory, distance)}


@cache
def corpus_retriever() -> CascadeRetriever:
    made = CascadeRetriever.from_documents(sorted_out())
    return CascadeRetriever(cascade=sw.Cascade([sw.BM25(made.corpus), sw.Dense(made.corpus)]))


def _values() -> st.SearchStrategy[Any]:
    return st.sampled_from([*chain.from_iterable(FIELDS.values()), 1, 0, "2020", None, "zz"])


def _conditions() -> st.SearchStrategy[Any]:
    numbers = st.sampled_from([0, 1, 2000, 2020, 2020.5, 1e300])
    return st.one_of(
        _values(),
        st.builds(lambda value: {"$eq": value}, _values()),
        st.builds(lambda value: {"$ne": value}, _values()),
        st.builds(lambda value: {"$in": value}, st.lists(_values(), max_size=3)),
        st.builds(lambda value: {"$nin": value}, st.lists(_values(), max_size=3)),
        st.builds(lambda op, n: {op: n}, st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), numbers),
        st.builds(lambda text: {"$gt": text}, st.sampled_from(["d", "en"])),
        st.builds(lambda flag: {"$exists": flag}, st.booleans()),
    )


def filters() -> st.SearchStrategy[dict[str, Any]]:
    one = st.builds(
        lambda key, value: {key: value}, st.sampled_from([*FIELDS, "none"]), _conditions()
    )
    return st.recursive(
        one,
        lambda inner: st.one_of(
            st.builds(lambda parts: {"$and": parts}, st.lists(inner, max_size=3)),
            st.builds(lambda parts: {"$or": parts}, st.lists(inner, max_size=3)),
            st.builds(lambda part: {"$not": part}, inner),
        ),
        max_leaves=4,
    )


def allowed(filter: dict[str, Any]) -> set[str | None]:
    parsed = sw.Filter.parse(filter)
    return {each.id for each in sorted_out() if parsed is None or parsed.matches(each.metadata)}


@pytest.mark.parametrize("kind", ["memory", "chroma", "unknown"])
@settings(max_examples=350, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(filter=filters())
@example(filter={"year": {"$lt": 2020.5}})
@example(filter={"year": {"$gt": 2019.5}})
@example(filter={"year": {"$ne": 2020.5}})
@example(filter={"year": {"$in": []}})
@example(filter={"$not": {"year": {"$gte": 2020}}})
def test_04_all_and_only_what_matches(kind: str, filter: dict[str, Any]) -> None:
    """Through every store a filter gives all documents that match it, and no other."""
    retriever = CascadeRetriever(cascade=sw.Cascade([as_stage(stores()[kind])]), k=None)
    assert {each.id for each in retriever.invoke(QUERY, filter=filter)} == allowed(filter)


@settings(max_examples=100, deadline=None)
@given(filter=filters())
def test_04_no_leak_over_a_corpus(filter: dict[str, Any]) -> None:
    """Over a corpus no document is returned that the filter does not allow."""
    found = corpus_retriever().invoke(QUERY, search_kwargs={"filter": filter}, k=100)
    assert {each.id for each in found} <= allowed(filter)


@pytest.mark.parametrize("kind", ["memory", "chroma", "unknown"])
async def test_04_filters_add_up(kind: str) -> None:
    """The retriever's filter holds whatever a call, a batch or the store's retriever adds."""
    own: Any = {"memory": lambda each: each.metadata.get("lang") == "en", "chroma": {"lang": "en"}}
    kwargs = {"search_kwargs": {"filter": own[kind]}} if kind in own else {}
    stage = as_stage(stores()[kind].as_retriever(**kwargs))
    retriever = CascadeRetriever(cascade=sw.Cascade([stage]), k=None, filter={"lang": "en"})
    expected = allowed({"lang": "en", "draft": True, "year": {"$gte": 2000}})
    call = {"filter": {"draft": True}, "search_kwargs": {"filter": {"year": {"$gte": 2000}}}}
    assert expected
    for found in (
        retriever.invoke(QUERY, **call),
        await retriever.ainvoke(QUERY, **call),
        retriever.batch([QUERY], **call)[0],
        (await retriever.abatch([QUERY], **call))[0],
    ):
        assert {each.id for each in found} == expected


@pytest.mark.parametrize("kind", ["memory", "chroma", "unknown"])
def test_04_nothing_matches(kind: str) -> None:
    """A filter that nothing matches gives an empty list."""
    retriever = CascadeRetriever.from_retriever(stores()[kind])
    assert retriever.invoke(QUERY, filter={"lang": "tlh"}) == []


@pytest.mark.parametrize("wrong", [{"lang": {"$like": "e"}}, "lang", lambda document: True])
def test_04_bad_filter(wrong: Any) -> None:
    """A filter that is none is a typed error, in a call and as a field."""
    retriever = CascadeRetriever.from_retriever(memory_store())
    with pytest.raises(sw.InputError, match="filter"):
        retriever.invoke(QUERY, filter=wrong)
    with pytest.raises(ValueError, match="filter"):
        CascadeRetriever(cascade=retriever.cascade, filter=wrong)


class Listed(BaseRetriever):
    """A retriever of somebody's own, which knows no filter."""

    found: list[Document]

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return self.found


@pytest.mark.parametrize("kind", ["memory", "chroma", "unknown", "listed"])
async def test_04_later_stages_see_only_what_matches(kind: str) -> None:
    """A stage itself gives nothing that the filter excludes, so no later stage reads it."""
    listed = Listed(found=list(sorted_out()))
    stage = as_stage(listed, filter="after") if kind == "listed" else as_stage(stores()[kind])
    start = sw.Candidates.start(sw.Query(QUERY, {"lang": {"$exists": True}, "draft": True}))
    expected = allowed({"lang": {"$exists": True}, "draft": True})
    assert set(stage.run(start).ids) == set((await stage.arun(start)).ids) == expected


def test_04_a_retriever_refuses_a_filter() -> None:
    """A retriever that cannot filter refuses one, unless told how or to check afterwards."""
    listed = Listed(found=list(sorted_out()))
    spec = {"lang": "en"}
    with pytest.raises(sw.InputError, match="Listed cannot filter"):
        CascadeRetriever.from_retriever(listed).invoke(QUERY, filter=spec)
    mmr = Normed(memory_store(), distance).as_retriever(search_type="mmr")
    with pytest.raises(sw.InputError, match="how Normed filters"):
        CascadeRetriever.from_retriever(mmr).invoke(QUERY, filter=spec)
    after = sw.Cascade([as_stage(listed, filter="after")])
    found = CascadeRetriever(cascade=after, k=None).invoke(QUERY, filter=spec)
    assert {each.id for each in found} == allowed(spec)


def test_04_declared_push_down() -> None:
    """A declared function turns the filter into the store's own arguments."""
    seen = []

    def push(filter: sw.Filter) -> dict[str, Any]:
        seen.append(filter)
        return {"filter": lambda document: document.metadata.get("lang") == "en"}

    stage = as_stage(stores()["memory"], filter=push)
    found = CascadeRetriever(cascade=sw.Cascade([stage]), k=None).invoke(
        QUERY, filter={"lang": "en"}
    )
    assert {each.id for each in found} == allowed({"lang": "en"})
    assert seen == [sw.Filter.parse({"lang": "en"})]
    clash = stores()["memory"].as_retriever(search_kwargs={"filter": lambda document: True})
    with pytest.raises(sw.InputError, match="both set 'filter'"):
        sw.Cascade([as_stage(clash, filter=push)]).search(QUERY, filter={"lang": "en"})


def test_04_asks_deeper_for_a_filter() -> None:
    """A store that cannot filter is asked for more until enough match, and only then."""
    store = Normed(stores()["memory"], distance)
    cascade = sw.Cascade([as_stage(store, k=3)])
    assert len(cascade.search(QUERY)) == 3
    assert store.asked == [3]
    assert len(cascade.search(QUERY, filter={"lang": "de"})) == 3
    assert store.asked[1] == 3
    assert store.asked[2] == 12


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
