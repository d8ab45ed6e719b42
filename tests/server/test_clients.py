"""The clients of Cohere's API, unchanged but for the address."""

from __future__ import annotations

from typing import Any

import pytest

from stepwell.models import load_scorer
from stepwell.server.answering import probabilities
from tests.server.serving import QUERY, TEXTS

cohere = pytest.importorskip("cohere", reason="needs cohere, which is not installed")

MODEL = "rerank-v3.5"
TOP = [1, 4, 3]


def expected() -> list[float]:
    scorer = load_scorer()
    return probabilities(scorer.score(QUERY, TEXTS).values, scorer)[TOP].tolist()


def check(results: Any) -> None:
    assert [each.index for each in results] == TOP
    assert [each.relevance_score for each in results] == pytest.approx(expected(), rel=1e-6)


def test_client_v2(locked: str, key: str) -> None:
    """`cohere.ClientV2` reranks; its results have index and score, its answer an id."""
    with cohere.ClientV2(key, base_url=locked) as client:
        answer = client.rerank(model=MODEL, query=QUERY, documents=TEXTS, top_n=3)
    check(answer.results)
    assert answer.id
    assert answer.meta.api_version.version == "2"


async def test_async_client_v2(locked: str, key: str) -> None:
    """`cohere.AsyncClientV2` does, too, with all its arguments."""
    async with cohere.AsyncClientV2(key, base_url=locked) as client:
        answer = await client.rerank(
            model=MODEL, query=QUERY, documents=TEXTS, top_n=3, max_tokens_per_doc=512, priority=1
        )
    check(answer.results)


def test_client_v1(locked: str, key: str) -> None:
    """`cohere.Client` reranks objects, and gets them back when it asks for them."""
    documents = [{"text": text, "page": str(at)} for at, text in enumerate(TEXTS)]
    asked = {"model": MODEL, "query": QUERY, "top_n": 3}
    with cohere.Client(key, base_url=locked) as client:
        answer = client.rerank(
            documents=documents, rank_fields=["text"], return_documents=True, **asked
        )
        plain = client.rerank(documents=TEXTS, **asked)
    check(answer.results)
    assert [each.document.text for each in answer.results] == [TEXTS[at] for at in TOP]
    assert answer.meta.api_version.version == "1"
    check(plain.results)
    assert plain.results[0].document is None


def test_clients_read_our_errors(locked: str, key: str) -> None:
    """What is refused becomes the client's own exception of that status, with our words."""
    asked = {"model": MODEL, "query": "q", "documents": ["a"]}
    with (
        cohere.ClientV2("another", base_url=locked) as stranger,
        pytest.raises(cohere.errors.UnauthorizedError) as wrong,
    ):
        stranger.rerank(**asked)
    assert wrong.value.body["type"] == "unauthorized"
    with (
        cohere.ClientV2(key, base_url=locked) as client,
        pytest.raises(cohere.errors.UnprocessableEntityError) as odd,
    ):
        client.rerank(top_n=-1, **asked)
    assert odd.value.body["message"].startswith("top_n: ")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_langchain_cohere_rerank(locked: str, key: str) -> None:
    """LangChain's `CohereRerank` compresses documents; scores lie in their metadata."""
    module = pytest.importorskip("langchain_cohere", reason="needs langchain-cohere")
    from langchain_core.documents import Document

    compressor = module.CohereRerank(model=MODEL, top_n=3, cohere_api_key=key, base_url=locked)
    documents = [Document(text, metadata={"page": at}) for at, text in enumerate(TEXTS)]
    with compressor.client:  # which nothing else would close
        best = compressor.compress_documents(documents, QUERY)
    assert [each.metadata["page"] for each in best] == TOP
    scores = [each.metadata["relevance_score"] for each in best]
    assert scores == pytest.approx(expected(), rel=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_llama_index_cohere_rerank(locked: str, key: str) -> None:
    """LlamaIndex's `CohereRerank` postprocesses nodes; each has its score."""
    module = pytest.importorskip(
        "llama_index.postprocessor.cohere_rerank",
        reason="needs llama-index-postprocessor-cohere-rerank",
    )
    from llama_index.core.schema import NodeWithScore, TextNode

    reranker = module.CohereRerank(top_n=3, model=MODEL, api_key=key, base_url=locked)
    nodes = [NodeWithScore(node=TextNode(text=text, id_=str(at))) for at, text in enumerate(TEXTS)]
    with reranker._client:
        best = reranker.postprocess_nodes(nodes, query_str=QUERY)
    assert [each.node.node_id for each in best] == [str(at) for at in TOP]
    assert [each.score for each in best] == pytest.approx(expected(), rel=1e-6)
