"""The same corpus and cascade answer the same through every door: points 34 and 35."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core.schema import NodeWithScore, TextNode

from stepwell import BM25, BiEncoder, Cascade, Corpus, CrossEncoder, Document, Hybrid, StageError
from stepwell.llama_index import CascadePostprocessor, CascadeQuery, CascadeRetriever
from tests.conformance.llama_index_parts import QUESTION, Door, nodes

QUESTIONS = [QUESTION, "remove an item from a list", "serialize to a formatted stream"]


@pytest.fixture(scope="module")
def corpus() -> Iterator[Corpus]:
    with Corpus.temporary() as corpus:
        corpus.add([Document(node.node_id, node.text, node.metadata) for node in nodes()])
        yield corpus


@pytest.fixture(scope="module", params=["default", "bm25", "three"])
def cascade(request: pytest.FixtureRequest, corpus: Corpus) -> Cascade:
    return {
        "default": Cascade.default(corpus, k=10),
        "bm25": Cascade([BM25(corpus)]),
        "three": Cascade([Hybrid(corpus), BiEncoder(corpus, k=20), CrossEncoder(k=6, depth=4)]),
    }[str(request.param)]


def of_nodes(found: list[NodeWithScore]) -> list[tuple[str, Any]]:
    return [(each.node_id, each.score) for each in found]


async def test_34_core_and_both_frameworks_agree(cascade: Cascade) -> None:
    """Ids are equal and scores within 1e-6, called, awaited and for many at once."""
    from stepwell.langchain import CascadeRetriever as LangChainRetriever

    llama = CascadeRetriever(cascade, k=8)
    lang = LangChainRetriever(cascade=cascade, k=8)
    many = cascade.search_many(QUESTIONS, k=8)
    batch, abatch = lang.batch(QUESTIONS), await lang.abatch(QUESTIONS)
    acore = await cascade.asearch_many(QUESTIONS, k=8)
    awaited = await asyncio.gather(*(llama.aretrieve(each) for each in QUESTIONS))
    for at, question in enumerate(QUESTIONS):
        expected = [(hit.id, pytest.approx(hit.score, abs=1e-6)) for hit in many[at]]
        assert [(hit.id, hit.score) for hit in cascade.search(question, k=8)] == expected
        assert of_nodes(llama.retrieve(question)) == expected
        assert of_nodes(awaited[at]) == expected
        assert [(hit.id, hit.score) for hit in acore[at]] == expected
        one, awaited_one = lang.invoke(question), await lang.ainvoke(question)
        for documents in (one, awaited_one, batch[at], abatch[at]):
            found = [(each.id, each.metadata["relevance_score"]) for each in documents]
            assert found == expected


async def test_34_ranking_what_is_brought_agrees() -> None:
    """The postprocessor, the compressor and `Cascade.rank` give the same ids and scores."""
    from langchain_core.documents import Document as LangChainDocument

    from stepwell.langchain import CascadeCompressor

    cascade = Cascade.default(k=6)
    bare = [TextNode(id_=node.node_id, text=node.text) for node in nodes()]
    result = cascade.rank(QUESTION, [Document(node.node_id, node.text) for node in bare], k=6)
    expected = [(hit.id, pytest.approx(hit.score, abs=1e-6)) for hit in result]
    made = CascadePostprocessor(6, cascade)
    given = [NodeWithScore(node=node) for node in bare]
    assert of_nodes(made.postprocess_nodes(given, query_str=QUESTION)) == expected
    assert of_nodes(await made.apostprocess_nodes(given, query_str=QUESTION)) == expected
    documents = [LangChainDocument(id=node.node_id, page_content=node.text) for node in bare]
    compressor = CascadeCompressor(cascade=cascade, top_n=6)
    for kept in (
        compressor.compress_documents(documents, QUESTION),
        await compressor.acompress_documents(documents, QUESTION),
    ):
        assert [(each.id, each.metadata["relevance_score"]) for each in kept] == expected


def broken(query: str, passages: list[str]) -> list[float]:
    raise RuntimeError("the model is gone")


async def test_35_a_failing_model_falls_back_and_says_so(corpus: Corpus) -> None:
    """By default the order so far is answered in full, marked as degraded, sync and awaited."""
    plain = CascadeRetriever(Cascade([BM25(corpus)]), k=4).retrieve(QUESTION)
    made = CascadeRetriever(Cascade([BM25(corpus), CrossEncoder(broken)]), k=4)
    for found in (made.retrieve(QUESTION), await made.aretrieve(QUESTION)):
        assert of_nodes(found) == of_nodes(plain)
        assert all(each.node.metadata["stepwell"]["degraded"] for each in found)


async def test_35_a_failing_model_raises_where_that_is_the_policy(corpus: Corpus) -> None:
    """With on_failure "raise" the error names the stage, and its cause is the model's."""
    cascade = Cascade([BM25(corpus), CrossEncoder(broken)], on_failure={"cross-encoder": "raise"})
    for made in (
        CascadeRetriever(cascade).aretrieve(QUESTION),
        CascadePostprocessor(2, cascade).apostprocess_nodes(
            [NodeWithScore(node=node) for node in nodes()], query_str=QUESTION
        ),
    ):
        with pytest.raises(StageError, match="cross-encoder") as caught:
            await made
        assert isinstance(caught.value.__cause__, RuntimeError)


def test_35_a_deadline_leaves_out_what_is_late(corpus: Corpus) -> None:
    """When time is over before a stage begins, it is skipped, and the answer says so."""
    door = Door()
    cascade = Cascade([BM25(corpus), CrossEncoder(door)])
    found = CascadeRetriever(cascade, k=3).retrieve(CascadeQuery(QUESTION, deadline=1e-9))
    assert len(found) == 3
    assert not door.entered.is_set()
    assert found[0].node.metadata["stepwell"]["degraded"] is True
