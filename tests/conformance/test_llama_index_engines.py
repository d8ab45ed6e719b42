"""Engines, tools and evaluators run with both, below a mock language model: point 24."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core import SummaryIndex, VectorStoreIndex, get_response_synthesizer
from llama_index.core.chat_engine import CondensePlusContextChatEngine, ContextChatEngine
from llama_index.core.evaluation import RetrieverEvaluator
from llama_index.core.llms import ChatMessage, MockLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.postprocessor import LongContextReorder, SimilarityPostprocessor
from llama_index.core.query_engine import CitationQueryEngine, RetrieverQueryEngine
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import QueryBundle
from llama_index.core.tools import RetrieverTool

from stepwell import Cascade, CrossEncoder
from stepwell.llama_index import CascadePostprocessor, CascadeQuery, CascadeRetriever, as_stage
from tests.conformance.llama_index_parts import QUESTION, nodes, vector_index


@pytest.fixture(scope="module")
def index() -> VectorStoreIndex:
    return vector_index()


@pytest.fixture(scope="module")
def retriever(index: VectorStoreIndex) -> CascadeRetriever:
    return CascadeRetriever(Cascade([as_stage(index), CrossEncoder(k=10)]), k=4)


def remembering() -> ChatMemoryBuffer:
    # The engines' default memory leaves an SQLite connection open.
    return ChatMemoryBuffer.from_defaults(token_limit=3000)


def sources(response: Any) -> list[tuple[str, float]]:
    return [(each.node_id, each.score) for each in response.source_nodes]


async def test_24_a_query_engine_runs_with_the_postprocessor(index: VectorStoreIndex) -> None:
    """Fifty retrieved, five answered, the same awaited; the model is shown text and no scores."""
    engine = index.as_query_engine(
        llm=MockLLM(), similarity_top_k=50, node_postprocessors=[CascadePostprocessor(top_n=5)]
    )
    response = engine.query(QUESTION)
    assert len(response.source_nodes) == 5
    assert response.source_nodes[0].node_id in ("str.split", "str.rsplit")
    assert sources(await engine.aquery(QUESTION)) == sources(response)
    assert "Return a list of the substrings" in str(response)
    assert "stepwell" not in str(response)
    assert response.metadata[response.source_nodes[0].node_id]["stepwell"]["scores"]


async def test_24_a_query_engine_runs_with_the_retriever(retriever: CascadeRetriever) -> None:
    """The cascade is the engine's retriever; query and aquery give equal sources."""
    synthesizer = get_response_synthesizer(llm=MockLLM())
    for engine in (
        RetrieverQueryEngine(retriever, response_synthesizer=synthesizer),
        RetrieverQueryEngine.from_args(retriever, llm=MockLLM()),
    ):
        response = engine.query(QUESTION)
        assert [each.node_id for each in response.source_nodes] == [
            each.node_id for each in retriever.retrieve(QUESTION)
        ]
        assert sources(await engine.aquery(QUESTION)) == sources(response)


async def test_24_an_engine_passes_a_calls_own_options_on(retriever: CascadeRetriever) -> None:
    """Filter and depth in the query reach the retriever and the postprocessor unchanged."""
    engine = RetrieverQueryEngine.from_args(
        retriever, llm=MockLLM(), node_postprocessors=[CascadePostprocessor(top_n=1)]
    )
    query = CascadeQuery(QUESTION, filters={"owner": "list"}, k=3)
    response = engine.query(query)
    assert [each.node.metadata["owner"] for each in response.source_nodes] == ["list"] * 3
    assert sources(await engine.aquery(query)) == sources(response)


@pytest.mark.parametrize("mode", ["context", "condense_plus_context"])
async def test_24_a_chat_engine_runs_with_both(
    mode: Any, index: VectorStoreIndex, retriever: CascadeRetriever
) -> None:
    """Chat and achat answer from the cascade's nodes."""
    chat = index.as_chat_engine(
        chat_mode=mode,
        llm=MockLLM(),
        node_postprocessors=[CascadePostprocessor(top_n=2)],
        memory=remembering(),
    )
    history = [ChatMessage(role="user", content="hello")]
    response = chat.chat(QUESTION, chat_history=history)
    assert len(response.source_nodes) == 2
    chat.reset()
    assert sources(await chat.achat(QUESTION, chat_history=history)) == sources(response)
    kind = {"context": ContextChatEngine, "condense_plus_context": CondensePlusContextChatEngine}
    mine = kind[mode].from_defaults(retriever=retriever, llm=MockLLM(), memory=remembering())
    first = mine.chat(QUESTION)
    mine.reset()
    assert sources(await mine.achat(QUESTION)) == sources(first)


async def test_24_a_retriever_tool_runs_with_both(retriever: CascadeRetriever) -> None:
    """A tool's text output holds the answered nodes, called both ways."""
    tool = RetrieverTool.from_defaults(
        retriever, node_postprocessors=[CascadePostprocessor(top_n=1)]
    )
    output = tool.call(QUESTION)
    assert "substrings" in str(output)
    assert str(await tool.acall(QUESTION)) == str(output)


async def test_24_the_evaluator_runs_with_both(
    index: VectorStoreIndex, retriever: CascadeRetriever
) -> None:
    """RetrieverEvaluator post-processes synchronously inside a running loop, and finds the node."""
    evaluator = RetrieverEvaluator.from_metric_names(
        ["mrr", "hit_rate", "ndcg"],
        retriever=index.as_retriever(similarity_top_k=30),
        node_postprocessors=[CascadePostprocessor(top_n=5)],
    )
    wanted = ["str.split", "str.rsplit"]
    assert evaluator.evaluate(QUESTION, wanted).metric_vals_dict["hit_rate"] == 1.0
    assert (await evaluator.aevaluate(QUESTION, wanted)).metric_vals_dict["mrr"] == 1.0
    mine = RetrieverEvaluator.from_metric_names(["mrr"], retriever=retriever)
    assert (await mine.aevaluate(QUESTION, wanted)).metric_vals_dict["mrr"] == 1.0
    found = await evaluator.aevaluate(QUESTION, wanted)
    given = index.as_retriever(similarity_top_k=30).retrieve(QUESTION)
    ranked = CascadePostprocessor(top_n=5).postprocess_nodes(given, query_str=QUESTION)
    assert found.retrieved_ids == [each.node_id for each in ranked]


def test_24_other_postprocessors_before_and_after(index: VectorStoreIndex) -> None:
    """Cut-offs and reorderings of LlamaIndex's own work on its output."""
    engine = index.as_query_engine(
        llm=MockLLM(),
        similarity_top_k=30,
        node_postprocessors=[
            CascadePostprocessor(top_n=6),
            SimilarityPostprocessor(similarity_cutoff=0.2),
            LongContextReorder(),
        ],
    )
    kept = engine.query(QUESTION).source_nodes
    assert 0 < len(kept) <= 6
    assert all(each.score >= 0.2 for each in kept)


def test_24_a_citation_engine_runs_with_the_retriever(retriever: CascadeRetriever) -> None:
    """Citations are cut from the answered nodes."""
    engine = CitationQueryEngine.from_args(
        SummaryIndex([]), llm=MockLLM(), retriever=retriever, citation_chunk_size=512
    )
    assert "Source 1" in engine.query(QUESTION).source_nodes[0].node.get_content()


def test_24_a_fusion_of_two_still_sees_one_node_as_one(index: VectorStoreIndex) -> None:
    """With detail_key=None a node keeps its hash, by which LlamaIndex's fusion knows it again."""
    cascade = Cascade([as_stage(index), CrossEncoder(k=10)])
    fusion = QueryFusionRetriever(
        [CascadeRetriever(cascade, k=10, detail_key=None), index.as_retriever(similarity_top_k=10)],
        llm=MockLLM(),
        num_queries=1,
        mode="reciprocal_rerank",
        similarity_top_k=20,
        use_async=False,
    )
    found = [each.node_id for each in fusion.retrieve(QueryBundle(QUESTION))]
    assert len(found) == len(set(found))
    assert set(found) <= {node.node_id for node in nodes()}
