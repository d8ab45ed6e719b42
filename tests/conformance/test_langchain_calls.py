"""Points 2, 3, 5, 9, 34 and 35: how it is called, and that every way answers alike."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore

import stepwell as sw
from stepwell.langchain import CascadeRetriever, as_embeddings, as_stage
from tests.conformance.langchain_parts import (
    QUERY,
    Recorder,
    Spy,
    cascade_of,
    documents,
    over_corpus,
    over_store,
    shape,
)

both = pytest.mark.parametrize("make", [over_corpus, over_store])


@both
async def test_02_k_per_call(make: Any) -> None:
    """`k` is honoured by invoke, ainvoke, bind, search_kwargs and batch alike."""
    retriever = make()
    assert len(retriever.invoke(QUERY, k=1)) == 1
    assert len(await retriever.ainvoke(QUERY, k=2)) == 2
    assert len(retriever.bind(k=3).invoke(QUERY)) == 3
    assert len(retriever.invoke(QUERY, search_kwargs={"k": 4})) == 4
    assert [len(found) for found in retriever.batch([QUERY, QUERY], k=2)] == [2, 2]
    assert [len(found) for found in await retriever.abatch([QUERY], k=2)] == [2]


@both
@pytest.mark.parametrize("wrong", [{"top_k": 3}, {"search_kwargs": {"fetch_k": 3}}])
async def test_02_unknown_argument(make: Any, wrong: dict[str, Any]) -> None:
    """An argument that nothing would honour is an error, never dropped."""
    retriever = make()
    name = "top_k" if "top_k" in wrong else "fetch_k"
    with pytest.raises(sw.InputError, match=name):
        retriever.invoke(QUERY, **wrong)
    with pytest.raises(sw.InputError, match=name):
        await retriever.ainvoke(QUERY, **wrong)
    with pytest.raises(sw.InputError, match=name):
        retriever.batch([QUERY], **wrong)
    with pytest.raises(sw.InputError, match=name):
        await retriever.abatch([QUERY], **wrong)
    with pytest.raises(sw.InputError, match=name):
        retriever.bind(**wrong).invoke(QUERY)


@pytest.mark.parametrize("k", [0, -1, "five", 2.5, True])
def test_02_bad_k(k: Any) -> None:
    """A depth that is none is an error in the constructor and in a call."""
    with pytest.raises(ValueError, match="k must be an integer"):
        CascadeRetriever(cascade=over_store().cascade, k=k)
    with pytest.raises(sw.ConfigurationError, match="k must be an integer"):
        CascadeRetriever.from_documents(documents(), k=k)
    with pytest.raises(sw.ConfigurationError, match="k must be an integer"):
        CascadeRetriever.from_retriever(over_store(), k=k)
    with pytest.raises(sw.InputError, match="k must be an integer"):
        over_store().invoke(QUERY, k=k)


def test_03_unknown_field() -> None:
    """A misspelt field is refused by both constructors."""
    with pytest.raises(ValueError, match="top_k"):
        CascadeRetriever(cascade=over_store().cascade, top_k=3)
    with pytest.raises(ValueError, match="top_k"):
        CascadeRetriever.from_retriever(over_store(), top_k=3)


@both
def test_05_exactly_k(make: Any) -> None:
    """There are min(k, corpus) documents, beyond the depth of the last stage too."""
    retriever = make()
    for k in (1, 7, 20, len(documents()), len(documents()) + 50):
        assert len(retriever.invoke(QUERY, k=k)) == min(k, len(documents()))


@both
def test_05_deterministic(make: Any) -> None:
    """Two calls give the same order, ties included."""
    retriever = make()
    first = retriever.invoke("function", k=30)
    assert shape(first) == shape(retriever.invoke("function", k=30))


async def test_05_ties() -> None:
    """Documents that no stage can tell apart keep one order, whatever way it is asked."""
    twins = [Document(id=f"{at:02}", page_content="Rotate the logs.") for at in range(12)]
    first = CascadeRetriever.from_documents(twins, k=9)
    again = CascadeRetriever.from_documents(twins, k=9)
    expected = shape(first.invoke("logs"))
    assert len({score for _, score in expected}) == 1
    for made in (first, again):
        assert shape(made.invoke("logs")) == shape(await made.ainvoke("logs")) == expected
        assert [shape(each) for each in made.batch(["logs", "cat", "logs"])][::2] == [expected] * 2
    store = InMemoryVectorStore.from_documents(twins, as_embeddings())
    over = CascadeRetriever.from_retriever(store, k=9)
    assert shape(over.invoke("logs")) == shape(await over.ainvoke("logs"))
    assert shape(over.batch(["logs", "cat"])[0]) == shape(over.invoke("logs"))


@both
@pytest.mark.parametrize("query", ["", "   ", "\n\t"])
async def test_09_blank_query(make: Any, query: str) -> None:
    """A blank query gives an empty list, in every way to ask."""
    retriever = make()
    assert retriever.invoke(query) == []
    assert await retriever.ainvoke(query) == []
    assert len(retriever.batch([query, QUERY])[0]) == 0
    assert len((await retriever.abatch([query, QUERY]))[1]) == 5


def test_09_blank_query_reaches_no_stage() -> None:
    """A blank query is answered before any stage, which may know nothing of blank ones."""

    def fail(candidates: sw.Candidates) -> sw.Candidates:
        raise RuntimeError("asked")

    retriever = CascadeRetriever(cascade=sw.Cascade([sw.stage(fail)]))
    assert retriever.invoke(" ") == []
    assert retriever.batch([" "]) == [[]]


@both
@pytest.mark.parametrize("query", [None, 7, ["a"]])
async def test_09_query_of_another_type(make: Any, query: Any) -> None:
    """A query that is no string is a typed error, in every way to ask."""
    retriever = make()
    with pytest.raises(sw.InputError, match="a query must be a string"):
        retriever.invoke(query)
    with pytest.raises(sw.InputError, match="a query must be a string"):
        await retriever.ainvoke(query)
    good, bad = retriever.batch([QUERY, query], return_exceptions=True)
    assert len(good) == 5
    assert isinstance(bad, sw.InputError)


async def test_09_nothing_to_find() -> None:
    """An empty corpus and an empty store answer with nothing, in every way to ask."""
    empty = InMemoryVectorStore(as_embeddings())
    for made in (CascadeRetriever.from_documents([]), CascadeRetriever.from_retriever(empty)):
        assert made.invoke(QUERY) == await made.ainvoke(QUERY) == []
        assert made.batch([QUERY]) == await made.abatch([QUERY]) == [[]]


async def test_09_no_fill() -> None:
    """A query of words that no document has is not answered with arbitrary ones by BM25."""
    made = CascadeRetriever(
        cascade=sw.Cascade([sw.BM25(over_corpus().corpus), sw.BiEncoder(), sw.CrossEncoder()])
    )
    assert made.invoke("zxqv wvutz") == await made.ainvoke("zxqv wvutz") == []
    first, second = made.batch(["zxqv wvutz", "heap"])
    assert first == []
    assert len(second) == 5


@both
async def test_34_same_as_the_core(make: Any) -> None:
    """Ids and scores are those of the cascade itself, sync, async and batch."""
    retriever = make()
    result = retriever.cascade.search(QUERY, k=8)
    expected = [(hit.id, round(hit.score, 6)) for hit in result]
    assert shape(retriever.invoke(QUERY, k=8)) == expected
    assert shape(await retriever.ainvoke(QUERY, k=8)) == expected
    assert shape(retriever.batch([QUERY], k=8)[0]) == expected


def _broken(query: str, passages: list[str]) -> Any:
    raise RuntimeError("out of memory")


async def test_35_failure_policy() -> None:
    """A failed re-scoring is skipped and said on every document, or raised, as configured."""
    stages = [as_stage(over_store()), sw.CrossEncoder(_broken)]
    lenient = CascadeRetriever(cascade=sw.Cascade(stages))
    found = lenient.invoke(QUERY)
    assert len(found) == 5
    assert all(document.metadata["stepwell"]["degraded"] for document in found)
    policy = sw.Cascade(stages, on_failure={"cross-encoder": "raise"})
    recorder = Recorder()
    with pytest.raises(sw.StageError, match="out of memory"):
        await CascadeRetriever(cascade=policy).ainvoke(QUERY, {"callbacks": [recorder]})
    assert len(recorder.of("error")) == 1
    assert [each["data"]["status"] for each in recorder.of("custom")][-1] == "failed"


def test_35_deadline() -> None:
    """A deadline skips what is left of the re-scoring and says so; per call and as a field."""
    gate = threading.Event()
    spy = Spy(before=lambda: gate.wait(0.2))
    slow = sw.CrossEncoder(spy, k=5, name="slow")
    cascade = cascade_of(sw.TopK(3), slow, sw.CrossEncoder(Spy(), k=5, name="last"))
    retriever = CascadeRetriever(cascade=cascade, trace=True, deadline=0.1)
    found = retriever.invoke(QUERY)
    assert found[0].metadata["stepwell"]["degraded"]
    assert found[0].metadata["stepwell"]["trace"]["stages"][-1]["status"] == "skipped"
    with pytest.raises(sw.InputError, match="deadline"):
        retriever.invoke(QUERY, deadline=-1)


def test_35_documents_of_a_failing_retriever() -> None:
    """A retriever that returns no documents is an error that names it."""
    from langchain_core.runnables import RunnableLambda

    chain = RunnableLambda(lambda query: "text", name="teller")
    with pytest.raises(sw.InputError, match="teller returned a str"):
        CascadeRetriever.from_retriever(chain).invoke(QUERY)
    mixed = RunnableLambda(lambda query: [Document(page_content="a"), "b"], name="mixed")
    with pytest.raises(sw.InputError, match="got a str at position 1"):
        CascadeRetriever.from_retriever(mixed).invoke(QUERY)
