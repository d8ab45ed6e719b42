"""LangChain's incumbents beside Stepwell: one corpus, one embedding, one cross-encoder.

Where two do the same by definition they must agree. Where an incumbent loses something, the test
says so of the incumbent as well, and fails when a new version of it no longer does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever, EnsembleRetriever
from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
from langchain_classic.retrievers.document_compressors.cross_encoder import BaseCrossEncoder
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import ValidationError

import stepwell as sw
from stepwell.langchain import CascadeCompressor, CascadeRetriever, as_embeddings, as_stage
from tests.conformance.langchain_parts import QUERY, Recorder, documents, memory_store

if TYPE_CHECKING:
    from pathlib import Path

    from sentence_transformers import CrossEncoder

QUERIES = (
    QUERY,
    "the smallest item of a heap",
    "write an object as text to a file",
    "wrap lines to a width",
    "how much space is free on the disk",
)


class Read(BaseCrossEncoder):
    """The model as LangChain's reranker wants it; its own wrapper is in langchain-community."""

    def __init__(self, model: CrossEncoder) -> None:
        self.model = model

    def score(self, text_pairs: list[tuple[str, str]]) -> Any:
        return self.model.predict(text_pairs)


def by_vectors(k: int) -> BaseRetriever:
    return memory_store().as_retriever(search_kwargs={"k": k})


def compression(model: BaseCrossEncoder, *, n: int = 5) -> BaseRetriever:
    """Twenty by vectors, of which the model keeps n, as LangChain's documentation builds it."""
    return ContextualCompressionRetriever(
        base_compressor=CrossEncoderReranker(model=model, top_n=n), base_retriever=by_vectors(20)
    )


def reranked(model: CrossEncoder, *, n: int = 5) -> sw.Cascade:
    """The same, of Stepwell's stages."""
    recall = as_stage(memory_store(), k=20)
    return sw.Cascade([recall, sw.CrossEncoder(model, k=n, blend=1.0)])


def hybrid(retrievers: Sequence[BaseRetriever], **options: Any) -> sw.Cascade:
    """What stands in an EnsembleRetriever's place."""
    stages = [as_stage(each, name=str(at), k=15) for at, each in enumerate(retrievers)]
    return sw.Cascade([sw.Hybrid(stages, fusion="rrf", **options)])


@pytest.fixture(scope="module")
def both() -> Iterator[list[BaseRetriever]]:
    """Fifteen by vectors and fifteen by BM25, as two retrievers."""
    with sw.Corpus.temporary(encoder=None) as corpus:
        corpus.add([sw.Document(str(each.id), each.page_content) for each in documents()])
        words = CascadeRetriever(cascade=sw.Cascade([sw.BM25(corpus)]), k=15)
        yield [by_vectors(15), words]


# -- where they agree by definition -----------------------------------------------------------


@pytest.mark.parametrize("query", QUERIES)
def test_same_order_as_contextual_compression(reader: CrossEncoder, query: str) -> None:
    """Twenty recalled, the model's order alone, five kept: the same documents by equal scores."""
    theirs = compression(Read(reader)).invoke(query)
    ours = reranked(reader).search(query)
    assert ours.ids == [each.id for each in theirs]
    logits = np.array([hit.scores["cross-encoder"] for hit in ours.hits])
    given = Read(reader).score([(query, each.page_content) for each in theirs])
    assert 1 / (1 + np.exp(-logits)) == pytest.approx(given, abs=1e-5)


def test_same_order_in_the_rerankers_place(reader: CrossEncoder) -> None:
    """A CascadeCompressor where CrossEncoderReranker stood gives the same documents.

    LangChain's documents come without a score, so there is none to blend with.
    """
    cascade = sw.Cascade([sw.CrossEncoder(reader, k=5)])
    for query in QUERIES:
        ours = ContextualCompressionRetriever(
            base_compressor=CascadeCompressor(top_n=5, cascade=cascade),
            base_retriever=by_vectors(20),
        )
        theirs = compression(Read(reader)).invoke(query)
        assert [each.id for each in ours.invoke(query)] == [each.id for each in theirs]


def test_same_order_as_langchains_own_wrapper(reader: CrossEncoder, reader_folder: Path) -> None:
    """HuggingFaceCrossEncoder over the saved model, as documented, ranks as our stage does."""
    wrappers = pytest.importorskip(
        "langchain_community.cross_encoders", reason="needs langchain-community"
    )
    model = wrappers.HuggingFaceCrossEncoder(
        model_name=str(reader_folder), model_kwargs={"device": "cpu"}
    )
    for query in QUERIES:
        theirs = compression(model).invoke(query)
        assert reranked(reader).search(query).ids == [each.id for each in theirs]


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.8, 0.2)])
@pytest.mark.parametrize("query", QUERIES)
def test_same_order_as_the_ensemble(
    both: list[BaseRetriever], query: str, weights: tuple[float, float]
) -> None:
    """Weighted reciprocal ranks with 60: the same documents, in the order of our scores.

    Only documents of one score may change places: which of them is first, neither defines.
    """
    theirs = EnsembleRetriever(retrievers=both, weights=list(weights)).invoke(query)
    ours = hybrid(both, weights=weights).search(query)
    score = {hit.id: hit.score for hit in ours.hits}
    assert sorted(score) == sorted(str(each.id) for each in theirs)
    assert (np.diff([score[str(each.id)] for each in theirs]) <= 1e-12).all()


# -- what ContextualCompressionRetriever and CrossEncoderReranker lose ------------------------


def test_scores_are_kept_where_the_reranker_drops_them(reader: CrossEncoder) -> None:
    """CrossEncoderReranker returns no score; here each document has it, and that of each stage."""
    given = {each.id: each.metadata for each in documents()}
    for found in compression(Read(reader)).invoke(QUERY):
        assert found.metadata == given[found.id]
    for found in CascadeRetriever(cascade=reranked(reader)).invoke(QUERY):
        assert set(found.metadata["stepwell"]["scores"]) == {"InMemoryVectorStore", "cross-encoder"}
        assert type(found.metadata["relevance_score"]) is float


def test_the_reranking_is_seen_by_callbacks(reader: CrossEncoder) -> None:
    """There callbacks hear of two retrievers and of no reranking; here of each stage."""
    theirs, ours = Recorder(), Recorder()
    compression(Read(reader)).invoke(QUERY, {"callbacks": [theirs]})
    assert [kind for kind, _ in theirs.events] == ["start", "start", "end", "end"]
    CascadeRetriever(cascade=reranked(reader)).invoke(QUERY, {"callbacks": [ours]})
    told = [(each["data"]["name"], each["data"]["n_out"]) for each in ours.of("custom")]
    assert told == [("InMemoryVectorStore", 20), ("cross-encoder", 5)]


def test_k_of_a_call_does_not_narrow_the_recall(reader: CrossEncoder) -> None:
    """There k=2 reaches the recall, and the model reads two; here two of the twenty it read."""
    theirs, ours = compression(Read(reader)), CascadeRetriever(cascade=reranked(reader))
    best = {query: [each.id for each in theirs.invoke(query)[:2]] for query in QUERIES}
    narrowed = {query: [each.id for each in theirs.invoke(query, k=2)] for query in QUERIES}
    for query, ids in narrowed.items():
        assert set(ids) == {each.id for each in memory_store().similarity_search(query, k=2)}
    assert narrowed != best
    assert {query: [each.id for each in ours.invoke(query, k=2)] for query in QUERIES} == best


def test_the_end_of_a_long_passage_is_read(reader: CrossEncoder) -> None:
    """Their reranker reads the beginning of a passage and says nothing; ours reads on."""
    head = "a short note on folders and files. " * 40
    texts = [head + each.page_content for each in documents()[::4]]
    cascade = sw.Cascade([sw.CrossEncoder(reader, blend=1.0)])
    spread = []
    for query in QUERIES:
        assert np.ptp(Read(reader).score([(query, text) for text in texts])) < 1e-5
        result = cascade.rank(query, [sw.Document(str(at), text) for at, text in enumerate(texts)])
        spread.append(np.ptp([hit.scores["cross-encoder"] for hit in result.hits]))
        assert result.trace.records[0].notes["windows"] > len(texts)
    assert max(spread) > 1e-2


def test_a_model_that_returns_nan_orders_nothing(reader: CrossEncoder) -> None:
    """CrossEncoderReranker sorts among NaN; here the recall's order stays, or it is an error."""

    class Broken(Read):
        def score(self, text_pairs: list[tuple[str, str]]) -> Any:
            scores = super().score(text_pairs)
            scores[1::3] = np.nan
            return scores

    broken = Broken(reader)
    found = compression(broken, n=20).invoke(QUERY)
    scores = Read(reader).score([(QUERY, each.page_content) for each in found])
    whole = [each.id for each in memory_store().similarity_search(QUERY, k=20)]
    sane = [score for each, score in zip(found, scores) if whole.index(each.id) % 3 != 1]
    assert sane != sorted(sane, reverse=True)

    def read(query: str, passages: list[str]) -> Any:
        return broken.score([(query, passage) for passage in passages])

    stages = [as_stage(memory_store(), k=20), sw.CrossEncoder(read)]
    result = sw.Cascade(stages).search(QUERY, k=10)
    assert result.ids == whole[:10]
    assert result.degraded
    with pytest.raises(sw.ModelError, match="NaN"):
        sw.Cascade(stages, on_failure={"cross-encoder": "raise"}).search(QUERY)


def test_a_misspelt_argument_is_an_error(reader: CrossEncoder) -> None:
    """There an argument that does not exist is dropped without a word; here it is an error."""
    compressor = CrossEncoderReranker(model=Read(reader))
    options: dict[str, Any] = {"filters": {"module": "json"}}
    made = ContextualCompressionRetriever(
        base_compressor=compressor, base_retriever=by_vectors(20), **options
    )
    assert not hasattr(made, "filters")
    with pytest.raises(ValidationError, match="filters"):
        CascadeRetriever(cascade=reranked(reader), **options)


# -- what EnsembleRetriever loses -------------------------------------------------------------


def test_scores_and_ranks_are_kept_where_the_ensemble_drops_them(both: list[BaseRetriever]) -> None:
    """EnsembleRetriever returns no fused score; here it is there, with each arm's rank."""
    # Arms whose documents carry nothing but their own metadata.
    bare = [by_vectors(15), by_vectors(5)]
    given = {each.id: each.metadata for each in documents()}
    for found in EnsembleRetriever(retrievers=bare).invoke(QUERY):
        assert found.metadata == given[found.id]
    for each in (bare, both):
        first = CascadeRetriever(cascade=hybrid(each)).invoke(QUERY)[0]
        assert first.metadata["relevance_score"] == first.metadata["stepwell"]["scores"]["hybrid"]
        assert set(first.metadata["stepwell"]["ranks"]) == {"0", "1", "hybrid"}


def test_k_of_a_call_counts(both: list[BaseRetriever]) -> None:
    """EnsembleRetriever swallows k; a cascade answers as many as asked."""
    assert len(EnsembleRetriever(retrievers=both).invoke(QUERY, k=2)) > 2
    assert len(CascadeRetriever(cascade=hybrid(both)).invoke(QUERY, k=2)) == 2


def test_a_filter_of_a_call_holds() -> None:
    """EnsembleRetriever swallows a filter and answers what it excludes; here none of that comes."""
    stores = [by_vectors(15), by_vectors(5)]

    def only(document: Document) -> bool:
        return document.metadata["module"] == "json"

    theirs = EnsembleRetriever(retrievers=stores).invoke(QUERY, filter=only)
    assert not all(only(each) for each in theirs)
    ours = CascadeRetriever(cascade=hybrid(stores)).invoke(QUERY, filter={"module": "json"})
    assert ours
    assert all(only(each) for each in ours)


def test_two_documents_of_one_text_are_two() -> None:
    """EnsembleRetriever takes equal texts for one document and loses an id; here the id counts."""
    twins = [Document(id=id, page_content="copy a tree of folders") for id in ("mine", "yours")]
    store = InMemoryVectorStore.from_documents(twins, as_embeddings())
    assert len(EnsembleRetriever(retrievers=[store.as_retriever()]).invoke(QUERY)) == 1
    assert sorted(hybrid([store.as_retriever()]).search(QUERY).ids) == ["mine", "yours"]


class Down(BaseRetriever):
    """A retriever whose server is away."""

    def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        raise ConnectionError("the server is away")


def test_one_arm_down_does_not_take_the_answer_down() -> None:
    """EnsembleRetriever raises when one arm does; here the other answers, marked degraded."""
    arms = [by_vectors(5), Down()]
    with pytest.raises(ConnectionError):
        EnsembleRetriever(retrievers=arms).invoke(QUERY)
    result = hybrid(arms).search(QUERY, k=5)
    assert len(result.ids) == 5
    assert result.degraded
