"""LlamaIndex's SentenceTransformerRerank beside Stepwell: one corpus and one cross-encoder.

Both keep the same nodes by the same model. Where it loses something, the test says so of it as
well, and fails when a new version of it no longer does.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.schema import MetadataMode, NodeWithScore, TextNode

import stepwell as sw
from stepwell.llama_index import CascadePostprocessor, as_embedding
from tests.conformance.llama_index_parts import QUESTION, QUESTIONS, listening, nodes
from tests.models import tiny

if TYPE_CHECKING:
    from llama_index.core.postprocessor import SentenceTransformerRerank
    from sentence_transformers import CrossEncoder


@pytest.fixture(scope="module")
def index() -> VectorStoreIndex:
    return VectorStoreIndex(nodes(), embed_model=as_embedding())


@pytest.fixture
def reranker(reader_folder: Path) -> Callable[..., SentenceTransformerRerank]:
    from llama_index.core.postprocessor import SentenceTransformerRerank

    return partial(SentenceTransformerRerank, model=str(reader_folder), device="cpu")


# -- where they agree by definition -----------------------------------------------------------


def test_same_order_in_the_rerankers_place(
    reader: CrossEncoder, reranker: Any, index: VectorStoreIndex
) -> None:
    """A CascadePostprocessor where SentenceTransformerRerank stood keeps the same nodes."""
    ours = CascadePostprocessor(5, sw.Cascade([sw.CrossEncoder(reader, k=5, blend=1.0)]))
    theirs, retriever = reranker(top_n=5), index.as_retriever(similarity_top_k=20)
    for query in QUESTIONS:
        kept = [
            each.postprocess_nodes(retriever.retrieve(query), query_str=query)
            for each in (ours, theirs)
        ]
        assert [each.node_id for each in kept[0]] == [each.node_id for each in kept[1]]


# -- what it loses ----------------------------------------------------------------------------


@pytest.fixture
def given(index: VectorStoreIndex) -> list[NodeWithScore]:
    return index.as_retriever(similarity_top_k=5).retrieve(QUESTION)


@pytest.fixture
def ours(reader: CrossEncoder) -> CascadePostprocessor:
    return CascadePostprocessor(2, sw.Cascade([sw.CrossEncoder(reader, k=2)]))


def test_the_callers_nodes_are_left_alone(
    reranker: Any, ours: CascadePostprocessor, given: list[NodeWithScore]
) -> None:
    """SentenceTransformerRerank writes its scores into the nodes it is given; ours into none."""
    before = [each.model_dump_json() for each in given]
    ours.postprocess_nodes(given, query_str=QUESTION)
    assert [each.model_dump_json() for each in given] == before
    scores = [each.score for each in given]
    reranker(top_n=2).postprocess_nodes(given, query_str=QUESTION)
    assert [each.score for each in given] != scores


def test_the_first_score_does_not_reach_the_prompt(
    reranker: Any, ours: CascadePostprocessor, given: list[NodeWithScore]
) -> None:
    """Told to keep the retrieval score, theirs puts it into the text for the language model."""
    first = {each.node_id: (each.score, each.node.get_content(MetadataMode.LLM)) for each in given}
    for kept in ours.postprocess_nodes(given, query_str=QUESTION):
        score, text = first[kept.node_id]
        assert kept.node.metadata["stepwell"]["scores"]["given"] == pytest.approx(score)
        assert kept.node.get_content(MetadataMode.LLM) == text
    for kept in reranker(top_n=2, keep_retrieval_score=True).postprocess_nodes(
        given, query_str=QUESTION
    ):
        assert "retrieval_score" in kept.node.get_content(MetadataMode.LLM)


def test_scores_are_plain_numbers(
    reranker: Any, ours: CascadePostprocessor, given: list[NodeWithScore]
) -> None:
    """SentenceTransformerRerank leaves a numpy number, which JSON refuses; ours is a float."""
    json.dumps(ours.postprocess_nodes(given, query_str=QUESTION)[0].score)
    with pytest.raises(TypeError, match="not JSON serializable"):
        json.dumps(reranker(top_n=2).postprocess_nodes(given, query_str=QUESTION)[0].score)


def test_the_end_of_a_long_passage_is_read(reranker: Any, reader: CrossEncoder) -> None:
    """SentenceTransformerRerank reads 512 tokens of a node and says nothing; ours reads on."""
    head = "a short note on folders and files. " * 40
    long = [NodeWithScore(node=TextNode(text=head + each.text), score=1.0) for each in nodes()[::4]]
    ours = CascadePostprocessor(99, sw.Cascade([sw.CrossEncoder(reader, k=None, blend=1.0)]))
    theirs, spread = reranker(top_n=99), []
    for query in QUESTIONS:
        kept = ours.postprocess_nodes(long, query_str=query)
        spread.append(np.ptp([each.score for each in kept]))
        kept = theirs.postprocess_nodes(long, query_str=query)
        assert np.ptp([each.score for each in kept]) < 1e-5
    assert max(spread) > 1e-2


def test_one_model_serves_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each SentenceTransformerRerank loads a model of its own; here two of one name share it."""
    pytest.importorskip("sentence_transformers", reason="the incumbent runs on it")
    from llama_index.core.postprocessor import SentenceTransformerRerank
    from sentence_transformers import CrossEncoder

    folder, loads = str(tiny.saved(tmp_path, "roberta")), []
    load = CrossEncoder.__init__

    def counted(self: Any, *given: Any, **options: Any) -> None:
        loads.append(given)
        load(self, *given, **options)

    monkeypatch.setattr(CrossEncoder, "__init__", counted)
    for _ in range(2):
        SentenceTransformerRerank(model=folder, top_n=2, device="cpu")
    assert len(loads) == 2
    loads.clear()
    for _ in range(2):
        sw.Cascade([sw.CrossEncoder(folder)]).rank(QUESTION, ["one", "two"])
    assert len(loads) == 1


def test_reranking_is_an_event(
    reranker: Any, ours: CascadePostprocessor, given: list[NodeWithScore]
) -> None:
    """LlamaIndex's own reranker sends no rerank event to its instrumentation; ours sends both."""
    with listening() as heard:
        reranker(top_n=2).postprocess_nodes(given, query_str=QUESTION)
    assert not heard.named("ReRankStartEvent")
    with listening() as heard:
        ours.postprocess_nodes(given, query_str=QUESTION)
    assert len(heard.named("ReRankStartEvent")) == len(heard.named("ReRankEndEvent")) == 1
