"""Spans lie below the framework's, whichever of its doors is used."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace

from stepwell import Cascade, Hybrid
from tests.telemetry.cascades import DOCUMENTS, Awaited, Recall
from tests.telemetry.conftest import Kept

CASCADE = Cascade([Hybrid([Recall("one"), Recall("two")]), Awaited([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])])


def langchain() -> dict[str, Callable[[], Any]]:
    documents = pytest.importorskip(
        "langchain_core.documents", reason="the extra langchain is not installed"
    )
    from stepwell.langchain import CascadeCompressor, CascadeRetriever

    retriever = CascadeRetriever(cascade=CASCADE)
    compressor = CascadeCompressor(cascade=Cascade([CASCADE.stages[1]]))
    brought = [documents.Document(id=each.id, page_content=each.text) for each in DOCUMENTS]
    return {
        "invoke": lambda: retriever.invoke("q"),
        "ainvoke": lambda: asyncio.run(retriever.ainvoke("q")),
        "batch": lambda: retriever.batch(["q", "r"]),
        "abatch": lambda: asyncio.run(retriever.abatch(["q", "r"])),
        "compress": lambda: compressor.compress_documents(brought, "q"),
        "acompress": lambda: asyncio.run(compressor.acompress_documents(brought, "q")),
    }


def llama_index() -> dict[str, Callable[[], Any]]:
    schema = pytest.importorskip(
        "llama_index.core.schema", reason="the extra llama-index is not installed"
    )
    from stepwell.llama_index import CascadePostprocessor, CascadeRetriever

    retriever = CascadeRetriever(cascade=CASCADE)
    reranker = CascadePostprocessor(cascade=Cascade([CASCADE.stages[1]]))
    nodes = [
        schema.NodeWithScore(node=schema.TextNode(id_=each.id, text=each.text), score=1.0)
        for each in DOCUMENTS
    ]
    return {
        "retrieve": lambda: retriever.retrieve("q"),
        "aretrieve": lambda: asyncio.run(retriever.aretrieve("q")),
        "postprocess": lambda: reranker.postprocess_nodes(nodes, query_str="q"),
        "apostprocess": lambda: asyncio.run(reranker.apostprocess_nodes(nodes, query_str="q")),
    }


def check(sdk: Kept, call: Callable[[], Any]) -> None:
    with trace.get_tracer("the framework").start_as_current_span("the framework's") as above:
        assert call()
    cascades = sdk.named("stepwell.cascade")
    assert cascades
    assert cascades == sdk.children(above)
    below = [child.name for cascade in cascades for child in sdk.children(cascade)]
    assert "stepwell.stage score" in below
    for hybrid in sdk.named("stepwell.stage hybrid"):
        assert len(sdk.children(hybrid)) >= 2


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "batch", "abatch", "compress", "acompress"])
def test_below_langchain(sdk: Kept, way: str) -> None:
    """Retriever and compressor: called, awaited and for many."""
    check(sdk, langchain()[way])


@pytest.mark.parametrize("way", ["retrieve", "aretrieve", "postprocess", "apostprocess"])
def test_below_llama_index(sdk: Kept, way: str) -> None:
    """Retriever and postprocessor: called and awaited."""
    check(sdk, llama_index()[way])
