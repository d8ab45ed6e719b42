"""A vector store's own vectors serve `BiEncoder` and `MMR`; nothing is embedded twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import uuid4

import chromadb
import numpy as np
import pytest
from langchain_chroma import Chroma
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore
from llama_index.core import StorageContext, SummaryIndex, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import MetadataMode
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.vector_stores.chroma import ChromaVectorStore

import stepwell as sw
import stepwell.langchain as lc
import stepwell.llama_index as li
from stepwell.llama_index.embeddings import StepwellEmbedding
from stepwell.models import load_encoder
from stepwell.testing import WordEncoder
from tests.conformance.langchain_parts import QUERY, documents
from tests.conformance.llama_index_parts import QUESTION, nodes


class Counted(Embeddings):
    """The packaged encoder, which remembers what it was given."""

    def __init__(self) -> None:
        self.passages: list[str] = []
        self.queries: list[str] = []

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.passages += texts
        return load_encoder().encode(texts).tolist()

    def embed_query(self, text: str) -> list[float]:
        self.queries.append(text)
        return load_encoder().encode([text], kind="query")[0].tolist()


class Elsewhere(VectorStore):
    """A store of which nothing is known but LangChain's own methods."""

    def __init__(self, embeddings: Embeddings) -> None:
        self.inner = InMemoryVectorStore(embeddings)

    @property
    def embeddings(self) -> Embeddings:
        return self.inner.embedding

    @classmethod
    def from_texts(cls, *_: Any, **__: Any) -> Elsewhere:
        raise NotImplementedError

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> Any:
        return self.inner.similarity_search(query, k, **kwargs)

    def similarity_search_with_score(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner.similarity_search_with_score(*args, **kwargs)


@pytest.fixture
def chroma() -> Iterator[VectorStore]:
    yield (store := Chroma("vectors", embedding_function=Counted()))
    store.delete_collection()


@pytest.fixture
def memory() -> VectorStore:
    return InMemoryVectorStore(Counted())


@pytest.mark.parametrize("kind", ["memory", "chroma"])
def test_langchain_vectors_are_read(kind: str, request: pytest.FixtureRequest) -> None:
    """Candidates of a store are scored by the vectors it holds, with not one passage embedded."""
    store: VectorStore = request.getfixturevalue(kind)
    store.add_documents(list(documents()))
    embeddings: Any = store.embeddings
    embeddings.passages.clear()
    recall = lc.as_stage(store, k=20)
    found = sw.Cascade([recall, sw.BiEncoder(recall, k=10, blend=1.0)]).search(QUERY)
    assert len(found.hits) == 10
    assert embeddings.passages == []
    for hit in found.hits:
        assert hit.scores["bi-encoder"] == pytest.approx(
            _cosine(QUERY, hit.document.text), abs=1e-5
        )


def test_another_arms_documents_are_looked_up_by_id_and_text(memory: VectorStore) -> None:
    """What another arm brought takes the store's vector only where id and text are the store's."""
    store, embeddings = memory, memory.embeddings
    assert isinstance(embeddings, Counted)
    store.add_documents(list(documents()))
    embeddings.passages.clear()
    first, second = documents()[:2]
    brought = [
        sw.Document(str(first.id), first.page_content),
        sw.Document(str(second.id), "tea with lemon"),
        sw.Document("new", "a tree of folders"),
    ]
    stage = sw.BiEncoder(lc.as_stage(store), blend=1.0)
    ranked = sw.Cascade([stage]).rank(QUERY, brought)
    assert sorted(embeddings.passages) == ["a tree of folders", "tea with lemon"]
    for hit in ranked.hits:
        assert hit.score == pytest.approx(_cosine(QUERY, hit.document.text), abs=1e-5)


def test_elsewhere_each_passage_is_embedded_once() -> None:
    """A store that gives no vectors costs one embedding a passage, not one a query."""
    store = Elsewhere(Counted())
    store.inner.add_documents(list(documents()))
    embeddings: Any = store.embeddings
    embeddings.passages.clear()
    recall = lc.as_stage(store, k=len(documents()), score="similarity")
    cascade = sw.Cascade([recall, sw.BiEncoder(recall)])
    for query in (QUERY, "sort a heap", QUERY):
        cascade.search(query)
    assert sorted(embeddings.passages) == sorted({each.page_content for each in documents()})


def test_mmr_reads_them_too(memory: VectorStore) -> None:
    """MMR compares passages by the store's vectors; only the dimension is asked for."""
    memory.add_documents(list(documents()))
    embeddings: Any = memory.embeddings
    embeddings.passages.clear()
    recall = lc.as_stage(memory, k=20)
    assert len(sw.Cascade([recall, sw.MMR(recall, k=5)]).search(QUERY).hits) == 5
    assert embeddings.passages == ["dimension"]


def test_a_store_without_embeddings_is_refused() -> None:
    """A store that names no embeddings cannot embed a query, which is said when it is built."""

    class Bare(InMemoryVectorStore):
        embeddings = None  # type: ignore[assignment]

    with pytest.raises(sw.ConfigurationError, match="names no embeddings"):
        sw.BiEncoder(lc.as_stage(Bare(Counted())))


class CountedEmbedding(StepwellEmbedding):
    """The packaged encoder, which remembers what it was given."""

    def __init__(self) -> None:
        super().__init__(load_encoder())
        self._passages: list[str] = []

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        self._passages += texts
        return super()._get_text_embeddings(texts)


def _index(kind: str) -> VectorStoreIndex:
    context = None
    if kind == "chroma":
        client = chromadb.EphemeralClient()
        collection = client.create_collection(f"nodes-{uuid4()}")
        store = ChromaVectorStore(chroma_collection=collection)
        context = StorageContext.from_defaults(vector_store=store)
    return VectorStoreIndex(nodes(), embed_model=CountedEmbedding(), storage_context=context)


@pytest.mark.parametrize("kind", ["simple", "chroma"])
def test_llama_index_vectors_are_read(kind: str) -> None:
    """Nodes of an index are scored by the vectors its store holds, with not one node embedded."""
    index = _index(kind)
    embedding: Any = index._embed_model
    embedding._passages.clear()
    recall = li.as_stage(index, k=20)
    found = sw.Cascade([recall, sw.BiEncoder(recall, k=10, blend=1.0)]).search(QUESTION)
    assert len(found.hits) == 10
    assert embedding._passages == []
    for hit in found.hits:
        assert hit.scores["bi-encoder"] == pytest.approx(
            _cosine(QUESTION, hit.document.text), abs=1e-5
        )


def test_of_another_llama_index_store_each_node_is_embedded_once() -> None:
    """A store that gives no vectors costs one embedding a node, not one a query."""

    class Postgres(SimpleVectorStore):
        @classmethod
        def class_name(cls) -> str:
            return "Postgres"

    context = StorageContext.from_defaults(vector_store=Postgres())
    index = VectorStoreIndex(nodes(), embed_model=CountedEmbedding(), storage_context=context)
    embedding: Any = index._embed_model
    embedding._passages.clear()
    recall = li.as_stage(index, k=len(nodes()))
    cascade = sw.Cascade([recall, sw.BiEncoder(recall)])
    for query in (QUESTION, "another question", QUESTION):
        cascade.search(query)
    assert sorted(embedding._passages) == sorted(
        {each.get_content(MetadataMode.EMBED) for each in nodes()}
    )


def test_nodes_that_the_store_lacks_are_embedded_once() -> None:
    """A node that the index does not hold is embedded at the first query, and not again."""
    index = _index("simple")
    embedding: Any = index._embed_model
    embedding._passages.clear()
    recall = li.as_stage(index)
    cascade = sw.Cascade([sw.BiEncoder(recall)])
    held = next(node for node in nodes() if node.node_id == "str.split")
    new = [
        sw.Document("new", "cut a text into words"),
        sw.Document("str.split", held.get_content()),
        sw.Document("str.join", "newer than the index"),
    ]
    for query in (QUESTION, "another question", QUESTION):
        assert len(cascade.rank(query, new).hits) == 3
    assert sorted(embedding._passages) == ["cut a text into words", "newer than the index"]


@pytest.mark.parametrize("kind", ["simple", "chroma"])
def test_one_id_for_two_texts_gets_no_vector_of_the_other(kind: str) -> None:
    """Documents that carry each other's ids are scored by their own texts."""
    index = _index(kind)
    one, two = nodes()[:2]
    swapped = [
        sw.Document(one.node_id, two.get_content()),
        sw.Document(two.node_id, one.get_content()),
    ]
    stage = sw.BiEncoder(li.as_stage(index), blend=1.0)
    for hit in sw.Cascade([stage]).rank(QUESTION, swapped).hits:
        assert hit.score == pytest.approx(_cosine(QUESTION, hit.document.text), abs=1e-5)


def test_encoders_of_two_models_have_two_names() -> None:
    """An encoder that went through a framework keeps its name, so no corpus mixes two."""
    word = WordEncoder()
    assert lc.as_encoder(lc.as_embeddings(word)).name == word.name
    assert li.as_encoder(li.as_embedding(word)).name == word.name

    class Azure(Counted):
        model, deployment = "ada", "three"

    other = Azure()
    other.deployment = "small"
    assert lc.as_encoder(Azure()).name != lc.as_encoder(other).name


def test_an_embedding_comes_back_from_a_dictionary() -> None:
    """LlamaIndex's own way to store a component works for the packaged embedding."""
    embedding = li.as_embedding()
    again = StepwellEmbedding.from_dict(embedding.to_dict())
    assert again.get_text_embedding("tea") == embedding.get_text_embedding("tea")


def test_a_retriever_without_vectors_is_refused() -> None:
    """What stores no vectors is refused when the stage is built, not at the first query."""
    stage = li.as_stage(SummaryIndex(nodes()))
    with pytest.raises(sw.ConfigurationError, match="stores no vectors"):
        sw.BiEncoder(stage)
    with pytest.raises(sw.ConfigurationError, match="as_stage"):
        sw.BiEncoder(lc.as_stage(memory_retriever()))  # type: ignore[arg-type]


def memory_retriever() -> Any:
    return InMemoryVectorStore(Counted()).as_retriever(search_type="mmr")


async def test_the_packaged_encoder_as_an_embedding() -> None:
    """Every method of LlamaIndex's embedding gives the encoder's own vectors, awaited or not."""
    embedding = li.as_embedding()
    assert isinstance(embedding, BaseEmbedding)
    expected = load_encoder().encode(["a cup of tea"])[0]
    given: Sequence[Any] = [
        embedding.get_text_embedding("a cup of tea"),
        await embedding.aget_text_embedding("a cup of tea"),
        (await embedding.aget_text_embedding_batch(["a cup of tea"]))[0],
        li.as_encoder(embedding).encode(["a cup of tea"])[0],
    ]
    for vector in given:
        np.testing.assert_allclose(vector, expected, atol=1e-6)
    query = load_encoder().encode(["tea"], kind="query")[0]
    np.testing.assert_allclose(await embedding.aget_query_embedding("tea"), query, atol=1e-6)


def test_as_encoder_refuses_what_is_no_embedding() -> None:
    """Something else than an embedding is refused with what was expected."""
    with pytest.raises(sw.ConfigurationError, match="BaseEmbedding, not a str"):
        li.as_encoder("minilm")  # type: ignore[arg-type]


def test_a_corpus_over_a_llama_index_embedding() -> None:
    """A corpus made with a LlamaIndex embedding answers by that embedding's vectors."""
    encoder = li.as_encoder(li.as_embedding())
    assert encoder.encode([]).shape == (0, 384)
    with sw.Corpus.temporary(encoder=encoder) as corpus:
        corpus.add([sw.Document("tea", "a cup of tea"), sw.Document("oak", "an old tree")])
        assert sw.Cascade([sw.Dense(corpus)]).search("green tea").hits[0].id == "tea"


def _cosine(query: str, text: str) -> float:
    encoder = load_encoder()
    asked, held = encoder.encode([query], kind="query")[0], encoder.encode([text])[0]
    return float(asked @ held)
