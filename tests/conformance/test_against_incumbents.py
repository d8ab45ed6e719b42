"""The incumbents of both frameworks beside Stepwell: one corpus, one embedding, one cross-encoder.

Where two do the same by definition they must agree. Where an incumbent loses something, the test
says so of the incumbent as well, and fails when a new version of it no longer does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever, EnsembleRetriever
from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
from langchain_classic.retrievers.document_compressors.cross_encoder import BaseCrossEncoder
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core import Settings, VectorStoreIndex
from llama_index.core.llms import MockLLM
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import NodeWithScore, TextNode

import stepwell as sw
import stepwell.langchain as lc
import stepwell.llama_index as li
from tests.conformance.langchain_parts import QUERY, documents, memory_store
from tests.models import tiny

pytest.importorskip("sentence_transformers", reason="the incumbents' rerankers run on it")

from llama_index.core.postprocessor import SentenceTransformerRerank
from sentence_transformers import CrossEncoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.saved(tmp_path_factory.mktemp("cross-encoder"), "bert")


@pytest.fixture(scope="module")
def model(folder: Path) -> CrossEncoder:
    """One cross-encoder for all of them: tiny, random weights, scores that differ."""
    return CrossEncoder(str(folder), device="cpu")


class Read(BaseCrossEncoder):
    """The model as LangChain's reranker wants it; its own wrapper is in langchain-community."""

    def __init__(self, model: CrossEncoder) -> None:
        self.model = model

    def score(self, text_pairs: list[tuple[str, str]]) -> Any:
        return self.model.predict(text_pairs)


def compression(model: CrossEncoder, retriever: Any, *, n: int = 5) -> BaseRetriever:
    reranker = CrossEncoderReranker(model=Read(model), top_n=n)
    return ContextualCompressionRetriever(base_compressor=reranker, base_retriever=retriever)


def reranked(model: CrossEncoder, recall: sw.Stage, *, n: int = 5) -> sw.Cascade:
    return sw.Cascade([recall, sw.CrossEncoder(model, k=n, blend=1.0)])


@pytest.fixture(scope="module")
def words() -> Iterator[BaseRetriever]:
    """BM25 over the documents, as a retriever of LangChain."""
    with sw.Corpus.temporary(encoder=None) as corpus:
        corpus.add([sw.Document(str(each.id), each.page_content) for each in documents()])
        yield lc.CascadeRetriever(cascade=sw.Cascade([sw.BM25(corpus)]), k=15)


@pytest.fixture(scope="module")
def index() -> VectorStoreIndex:
    nodes = [TextNode(id_=str(each.id), text=each.page_content) for each in documents()]
    return VectorStoreIndex(nodes, embed_model=li.as_embedding())


@pytest.fixture(scope="module")
def arms(index: VectorStoreIndex) -> Iterator[list[Any]]:
    """A retriever by vectors, and one by words that knows half of the documents."""
    with sw.Corpus.temporary(encoder=None) as corpus:
        half = [each for at, each in enumerate(documents()) if at % 2]
        corpus.add([sw.Document(str(each.id), each.page_content) for each in half])
        lexical = li.CascadeRetriever(sw.Cascade([sw.BM25(corpus)]), k=15, detail_key=None)
        yield [index.as_retriever(similarity_top_k=15), lexical]


def by_vectors(k: int) -> BaseRetriever:
    return memory_store().as_retriever(search_kwargs={"k": k})


# -- where they agree by definition -----------------------------------------------------------


def test_same_order_as_contextual_compression(model: CrossEncoder) -> None:
    """Recall of twenty, the model's order alone, five kept: both give the same documents."""
    theirs = compression(model, by_vectors(20)).invoke(QUERY)
    ours = reranked(model, lc.as_stage(memory_store(), k=20)).search(QUERY)
    assert ours.ids == [each.id for each in theirs]


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.8, 0.2)])
def test_same_order_as_the_ensemble(words: BaseRetriever, weights: tuple[float, float]) -> None:
    """Weighted reciprocal ranks with 60: their order never puts a lower score of ours first."""
    both = [by_vectors(15), words]
    theirs = EnsembleRetriever(retrievers=both, weights=list(weights)).invoke(QUERY)
    stages = [lc.as_stage(each, name=str(at), k=15) for at, each in enumerate(both)]
    ours = sw.Cascade([sw.Hybrid(stages, weights=weights, fusion="rrf")]).search(QUERY)
    score = {hit.id: hit.score for hit in ours.hits}
    assert sorted(score) == sorted(str(each.id) for each in theirs)
    along = [score[str(each.id)] for each in theirs]
    assert (np.diff(along) <= 1e-12).all()


def _fusion(arms: Sequence[Any], mode: str, **options: Any) -> QueryFusionRetriever:
    # With use_async it leaves an event loop open at each call.
    return QueryFusionRetriever(
        list(arms),
        llm=MockLLM(),
        num_queries=1,
        similarity_top_k=40,
        mode=mode,
        use_async=False,
        **options,
    )


def _hybrid(arms: Sequence[Any], **options: Any) -> sw.Hybrid:
    stages = [li.as_stage(each, name=str(at), k=15) for at, each in enumerate(arms)]
    return sw.Hybrid(stages, **options)


@pytest.mark.parametrize("weights", [[0.5, 0.5], [0.9, 0.1]])
def test_same_scores_as_relative_score_fusion(arms: list[Any], weights: list[float]) -> None:
    """A weighted sum of scores moved to 0 to 1 is what both mean; every score agrees."""
    theirs = _fusion(arms, "relative_score", retriever_weights=weights).retrieve(QUERY)
    ours = sw.Cascade([_hybrid(arms, weights=weights)]).search(QUERY)
    expected = {each.node_id: each.score for each in theirs}
    assert {hit.id: hit.score for hit in ours.hits} == pytest.approx(expected, abs=1e-9)


def test_same_scores_as_reciprocal_rerank(arms: list[Any]) -> None:
    """They count ranks from 0 and sum, we count from 1 and take the mean: at 59 both agree."""
    theirs = _fusion(arms, "reciprocal_rerank").retrieve(QUERY)
    ours = sw.Cascade([_hybrid(arms, fusion="rrf", k_rrf=59)]).search(QUERY)
    expected = {each.node_id: (each.score or 0) / 2 for each in theirs}
    assert {hit.id: hit.score for hit in ours.hits} == pytest.approx(expected, abs=1e-12)


def test_same_order_as_fusion_with_a_reranker(
    folder: Path, model: CrossEncoder, arms: list[Any]
) -> None:
    """Fused recall, then the model alone: the same nodes in the same order, by the same scores."""
    fused = _fusion(arms, "relative_score").retrieve(QUERY)
    reranker = SentenceTransformerRerank(model=str(folder), top_n=5, device="cpu")
    theirs = reranker.postprocess_nodes(fused, query_str=QUERY)
    ours = sw.Cascade([_hybrid(arms), sw.CrossEncoder(model, k=5, blend=1.0)]).search(QUERY)
    assert ours.ids == [each.node_id for each in theirs]
    logits = np.array([hit.scores["cross-encoder"] for hit in ours.hits])
    given = [each.score for each in theirs]
    assert 1 / (1 + np.exp(-logits)) == pytest.approx(given, abs=1e-5)


# -- what LangChain's lose --------------------------------------------------------------------


def test_scores_are_kept_where_compression_drops_them(model: CrossEncoder) -> None:
    """CrossEncoderReranker returns no score at all; here each document has it, by stage too."""
    theirs = compression(model, by_vectors(20)).invoke(QUERY)
    assert [each.metadata for each in theirs] == [_given(each).metadata for each in theirs]
    ours = lc.CascadeRetriever(cascade=reranked(model, lc.as_stage(memory_store(), k=20)))
    for found in ours.invoke(QUERY):
        assert set(found.metadata["stepwell"]["scores"]) == {"InMemoryVectorStore", "cross-encoder"}
        assert type(found.metadata["relevance_score"]) is float


def test_k_of_a_call_does_not_narrow_the_recall(model: CrossEncoder) -> None:
    """There k=2 reaches the recall, so only two are ever read; here two of twenty are answered."""
    best = [each.id for each in compression(model, by_vectors(20)).invoke(QUERY)[:2]]
    narrowed = compression(model, by_vectors(20)).invoke(QUERY, k=2)
    assert [each.id for each in narrowed] != best
    ours = lc.CascadeRetriever(cascade=reranked(model, lc.as_stage(memory_store(), k=20)))
    assert [each.id for each in ours.invoke(QUERY, k=2)] == best


def test_k_of_a_call_reaches_the_ensembles_replacement(words: BaseRetriever) -> None:
    """EnsembleRetriever swallows k; a cascade answers as many as asked."""
    both = [by_vectors(15), words]
    assert len(EnsembleRetriever(retrievers=both).invoke(QUERY, k=2)) > 2
    stages = [lc.as_stage(each, name=str(at)) for at, each in enumerate(both)]
    ours = lc.CascadeRetriever(cascade=sw.Cascade([sw.Hybrid(stages, fusion="rrf")]))
    assert len(ours.invoke(QUERY, k=2)) == 2


def test_two_documents_of_one_text_are_two() -> None:
    """EnsembleRetriever takes equal texts for one document and loses an id; here the id counts."""
    twins = [Document(id=id, page_content="copy a tree of folders") for id in ("mine", "yours")]
    store = InMemoryVectorStore.from_documents(twins, lc.as_embeddings())
    theirs = EnsembleRetriever(retrievers=[store.as_retriever()]).invoke(QUERY)
    assert len(theirs) == 1
    ours = sw.Cascade([sw.Hybrid([lc.as_stage(store)], fusion="rrf")]).search(QUERY)
    assert sorted(ours.ids) == ["mine", "yours"]


class Down(BaseRetriever):
    """A retriever whose server is away."""

    def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        raise ConnectionError("the server is away")


def test_one_arm_down_does_not_take_the_answer_down() -> None:
    """EnsembleRetriever raises when one arm does; here the other answers, marked degraded."""
    both = [by_vectors(5), Down()]
    with pytest.raises(ConnectionError):
        EnsembleRetriever(retrievers=both).invoke(QUERY)
    stages = [lc.as_stage(each, name=str(at)) for at, each in enumerate(both)]
    result = sw.Cascade([sw.Hybrid(stages, fusion="rrf")]).search(QUERY, k=5)
    assert len(result.ids) == 5
    assert result.degraded


def test_the_end_of_a_long_passage_is_read(model: CrossEncoder) -> None:
    """Their reranker scores a passage by its beginning alone and does not say so; ours reads on."""
    head = "a short note on folders and files. " * 14
    long, other = head + QUERY, head + "the cat sleeps in the kitchen"
    given = [Document(id="long", page_content=long), Document(id="other", page_content=other)]
    first, second = Read(model).score([(QUERY, each.page_content) for each in given])
    assert first == second
    stage = sw.CrossEncoder(model, blend=1.0)
    result = sw.Cascade([stage]).rank(
        QUERY, [sw.Document(str(d.id), d.page_content) for d in given]
    )
    one, two = (hit.scores["cross-encoder"] for hit in result.hits)
    assert one != two
    assert result.trace.records[0].notes["windows"] > 2


# -- what LlamaIndex's lose -------------------------------------------------------------------


def test_the_callers_nodes_are_left_alone(folder: Path, index: VectorStoreIndex) -> None:
    """SentenceTransformerRerank writes its scores into the nodes it is given; ours into none."""
    given = index.as_retriever(similarity_top_k=5).retrieve(QUERY)
    before = [each.score for each in given]
    reranker = SentenceTransformerRerank(model=str(folder), top_n=2, device="cpu")
    reranker.postprocess_nodes(given, query_str=QUERY)
    assert [each.score for each in given] != before
    fresh = index.as_retriever(similarity_top_k=5).retrieve(QUERY)
    ours = li.CascadePostprocessor(cascade=sw.Cascade([sw.CrossEncoder(str(folder), k=2)]))
    assert ours.postprocess_nodes(fresh, query_str=QUERY)
    assert [each.score for each in fresh] == before


def test_scores_are_plain_numbers(folder: Path, index: VectorStoreIndex) -> None:
    """SentenceTransformerRerank leaves a numpy number, which JSON refuses; ours is a float."""
    given = index.as_retriever(similarity_top_k=5).retrieve(QUERY)
    reranker = SentenceTransformerRerank(model=str(folder), top_n=2, device="cpu")
    with pytest.raises(TypeError, match="not JSON serializable"):
        json.dumps(reranker.postprocess_nodes(given, query_str=QUERY)[0].score)
    ours = li.CascadePostprocessor(cascade=sw.Cascade([sw.CrossEncoder(str(folder), k=2)]))
    json.dumps(ours.postprocess_nodes(given, query_str=QUERY)[0].score)


def test_each_arms_score_is_kept(arms: list[Any]) -> None:
    """QueryFusionRetriever overwrites what its arms scored; here both columns stay on the node."""
    vectors = {each.node_id: each.score for each in arms[0].retrieve(QUERY)}
    fused = _fusion(arms, "relative_score").retrieve(QUERY)
    assert not any(each.score == vectors.get(each.node_id) for each in fused)
    ours = li.CascadeRetriever(sw.Cascade([_hybrid(arms)]), k=40).retrieve(QUERY)
    kept = {each.node_id: each.node.metadata["stepwell"]["scores"].get("0") for each in ours}
    for id, score in vectors.items():
        assert kept[id] == pytest.approx(score)


def test_weights_count_in_reciprocal_ranks(arms: list[Any]) -> None:
    """QueryFusionRetriever takes weights and ignores them in this mode; here they count."""
    heavy, light = ([0.95, 0.05], [0.05, 0.95])
    theirs = [_fusion(arms, "reciprocal_rerank", retriever_weights=w) for w in (heavy, light)]
    assert _ids(theirs[0].retrieve(QUERY)) == _ids(theirs[1].retrieve(QUERY))
    ours = [sw.Cascade([_hybrid(arms, fusion="rrf", weights=w)]) for w in (heavy, light)]
    assert ours[0].search(QUERY).ids != ours[1].search(QUERY).ids


def test_no_language_model_is_looked_up(arms: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """QueryFusionRetriever resolves Settings.llm, OpenAI's by default, for one query too."""

    class LookedUpError(Exception):
        pass

    def look(_: Any) -> Any:
        raise LookedUpError

    monkeypatch.setattr(type(Settings), "llm", property(look))
    with pytest.raises(LookedUpError):
        QueryFusionRetriever(arms, num_queries=1)
    assert li.CascadeRetriever(sw.Cascade([_hybrid(arms)]), k=3).retrieve(QUERY)


def _given(found: Document) -> Document:
    return next(each for each in documents() if each.id == found.id)


def _ids(nodes: Sequence[NodeWithScore]) -> list[str]:
    return [each.node_id for each in nodes]
