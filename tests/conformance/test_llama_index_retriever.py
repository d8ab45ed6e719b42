"""`CascadeRetriever` over its own corpus: what was indexed comes back whole: points 23, 26, 28."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import SummaryIndex, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.node_parser import TokenTextSplitter
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageNode,
    IndexNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeRelationship,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)

from stepwell import (
    BM25,
    Cascade,
    ConfigurationError,
    Corpus,
    InputError,
)
from stepwell import Document as Plain
from stepwell.llama_index import CascadeQuery, CascadeRetriever
from stepwell.llama_index.keeping import packed, unpacked
from tests.conformance.llama_index_parts import (
    QUESTION,
    PackagedEmbedding,
    nodes,
    vector_index,
)


@pytest.fixture(scope="module")
def retriever() -> Iterator[CascadeRetriever]:
    made = CascadeRetriever.from_documents(nodes(), k=5, detail_key=None)
    yield made
    assert made.corpus is not None
    made.corpus.close()


def one_of_each() -> list[BaseNode]:
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="book", metadata={"year": 1})}
    return [
        TextNode(
            id_="text",
            text="split a string \n",
            metadata={"lang": "en", "tags": ["a", "b"]},
            excluded_embed_metadata_keys=["tags"],
            excluded_llm_metadata_keys=["lang"],
            relationships=source,
            start_char_idx=3,
            end_char_idx=9,
            metadata_template="{key}={value}",
            text_template="{content} [{metadata_str}]",
        ),
        Document(id_="document", text="join strings", metadata={"lang": "en"}),
        Node(id_="multi", text_resource=MediaResource(text="strip a string"), metadata={"n": 1}),
        Node(id_="bare", image_resource=MediaResource(path=Path("a.png"))),
        ImageNode(id_="image", text="a caption", image_path="a.png", metadata={"ref_doc_id": "x"}),
        IndexNode(id_="index", text="an index of strings", index_id="elsewhere"),
        TextNode(id_="empty", text="", relationships=source),
        TextNode(id_="blank", text=" \n "),
    ]


def test_23_it_is_a_retriever_whose_callback_manager_can_be_assigned(
    retriever: CascadeRetriever,
) -> None:
    """The class is in LlamaIndex's tree; an engine may put its own callback manager in."""
    assert isinstance(retriever, BaseRetriever)
    twin, manager = copy.copy(retriever), CallbackManager()
    twin.callback_manager = manager
    assert twin.callback_manager is manager
    assert retriever.get_prompts() == {}


@pytest.mark.parametrize("options", [{"k": 0}, {"k": 2.5}, {"cascade": "default"}])
def test_23_what_is_built_wrong_is_refused(options: dict[str, Any]) -> None:
    """A bad depth, or what is no cascade, is a ConfigurationError."""
    with pytest.raises(ConfigurationError):
        CascadeRetriever(**{"cascade": Cascade([BM25()]), **options})


@pytest.mark.parametrize("mode", list(MetadataMode))
def test_26_every_node_comes_back_as_it_was_indexed(mode: MetadataMode) -> None:
    """Class, text, metadata, relationships, exclusions, templates and hash survive the corpus."""
    given = one_of_each()
    before = copy.deepcopy(given)
    made = CascadeRetriever.from_documents(given, metadata_mode=mode, k=None, detail_key=None)
    assert given == before
    assert made.corpus is not None
    with made.corpus as corpus:
        found = {each.node_id: each.node for each in made.retrieve("split a string")}
        assert {document.id: document.text for document in corpus} == {
            node.node_id: node.get_content(mode) for node in given
        }
    assert {type(node) for node in found.values()} == {type(node) for node in given}
    for node in given:
        assert found[node.node_id] == node
        assert found[node.node_id].hash == node.hash


@pytest.mark.parametrize("node", one_of_each(), ids=lambda node: str(node.node_id))
@pytest.mark.parametrize("mode", list(MetadataMode))
def test_26_packing_loses_nothing(node: BaseNode, mode: MetadataMode) -> None:
    """A node packed into a document and made again is equal, with equal text in every mode."""
    again = unpacked(packed(node, mode))
    assert again == node
    assert [again.get_content(each) for each in MetadataMode] == [
        node.get_content(each) for each in MetadataMode
    ]


def test_26_a_node_that_a_corpus_would_cripple_is_refused() -> None:
    """A class LlamaIndex does not know, or metadata that JSON cannot hold, is an InputError."""

    class Mine(TextNode):
        extra: str = "lost"

    with pytest.raises(InputError, match="as_stage"):
        CascadeRetriever.from_documents([Mine(text="x")])
    odd = TextNode(id_="odd", text="x", metadata={"when": {1, 2}})
    with pytest.raises(InputError, match="odd"):
        CascadeRetriever.from_documents([odd])


def test_26_a_corpus_without_nodes_answers_text_nodes() -> None:
    """Documents that never were nodes come as text nodes with their id, text and metadata."""
    with Corpus.temporary(encoder=None) as corpus:
        corpus.add([Plain("a", "rotate the logs", {"team": "sre"})])
        (found,) = CascadeRetriever(Cascade([BM25(corpus)])).retrieve("logs")
    assert (found.node_id, found.node.get_content()) == ("a", "rotate the logs")
    assert type(found.node) is TextNode
    assert found.node.metadata["team"] == "sre"


async def test_it_answers_the_same_both_ways(retriever: CascadeRetriever) -> None:
    """retrieve and aretrieve give equal nodes and scores, best first, plain floats."""
    found = retriever.retrieve(QUESTION)
    assert found == await retriever.aretrieve(QueryBundle(QUESTION))
    assert found[0].node_id in ("str.split", "str.rsplit")
    assert len(found) == 5
    scores = [each.score for each in found]
    assert {type(score) for score in scores} == {float}
    assert scores == sorted(scores, reverse=True)


def test_a_call_may_ask_for_more_or_fewer(retriever: CascadeRetriever) -> None:
    """A query's own k counts, also beyond what the last stage kept."""
    assert len(retriever.retrieve(CascadeQuery(QUESTION, k=1))) == 1
    assert len(retriever.retrieve(CascadeQuery(QUESTION, k=30))) == 30
    with pytest.raises(InputError, match="k must be"):
        retriever.retrieve(CascadeQuery(QUESTION, k=0))


def test_a_deadline_is_kept_and_told(retriever: CascadeRetriever) -> None:
    """A query's own deadline leaves later stages out, and the answer says that it is degraded."""
    mine = copy.copy(retriever)
    mine.detail_key = "told"
    found = mine.retrieve(CascadeQuery(QUESTION, deadline=1e-6))
    assert found[0].node.metadata["told"]["degraded"] is True


async def test_09_blank_and_empty_are_nothing(retriever: CascadeRetriever) -> None:
    """A blank query, and a corpus or an index without documents, are answered with nothing."""
    for blank in ("", "  ", "\n\t"):
        assert retriever.retrieve(blank) == await retriever.aretrieve(blank) == []
    empty = VectorStoreIndex([], embed_model=PackagedEmbedding())
    for made in (
        CascadeRetriever.from_documents([]),
        CascadeRetriever.from_retriever(empty),
        CascadeRetriever.from_retriever(SummaryIndex([])),
    ):
        assert made.retrieve(QUESTION) == await made.aretrieve(QUESTION) == []


def test_documents_can_be_split_first() -> None:
    """Transformations run before indexing; what is answered are their nodes, with their source."""
    text = " ".join(f"Sentence {at} is about topic {at}." for at in range(40))
    splitter = TokenTextSplitter(chunk_size=64, chunk_overlap=0)
    document = Document(id_="long", text=text)
    made = CascadeRetriever.from_documents([document], k=1, transformations=[splitter])
    assert made.corpus is not None
    with made.corpus as corpus:
        assert len(corpus) > 3
        (found,) = made.retrieve("topic 31")
    assert "topic 31" in found.node.get_content()
    assert found.node.ref_doc_id == "long"


def test_a_corpus_on_disk_is_kept_and_grows(tmp_path: Path) -> None:
    """A second retriever over the same path finds the first one's nodes; a same id is replaced."""
    first = CascadeRetriever.from_documents(nodes()[:3], tmp_path / "corpus")
    assert first.corpus is not None
    first.corpus.close()
    changed = TextNode(id_=nodes()[0].node_id, text="entirely different words")
    again = CascadeRetriever.from_documents([changed, nodes()[5]], tmp_path / "corpus", k=9)
    assert again.corpus is not None
    assert len(again.corpus) == 4
    found = {each.node_id: each.node.get_content() for each in again.retrieve("different words")}
    assert found[changed.node_id] == "entirely different words"
    again.corpus.close()


async def test_25_the_bundle_is_left_as_it_was(retriever: CascadeRetriever) -> None:
    """Over a corpus and over an index, called and awaited, the caller's bundle stays the same."""
    bundle = QueryBundle(QUESTION, image_path="a.png", custom_embedding_strs=["x"])
    before = copy.deepcopy(bundle)
    for made in (retriever, CascadeRetriever.from_retriever(vector_index())):
        assert made.retrieve(bundle) == await made.aretrieve(bundle)
        assert bundle == before


def test_28_an_indexed_index_node_finds_its_object_again() -> None:
    """Objects of index nodes given to `from_documents` take their place in the answer."""
    child = TextNode(id_="child", text="the child's own text")
    given = [IndexNode(id_="a", text="about logs", index_id="i", obj=child), *nodes()[:3]]
    made = CascadeRetriever.from_documents(given, k=1)
    (found,) = made.retrieve("logs")
    assert found.node is child
    assert made.corpus is not None
    made.corpus.close()


@pytest.mark.parametrize("query", [None, 5, b"text", QueryBundle(None), QueryBundle(5)])  # type: ignore[arg-type]
async def test_25_a_query_that_is_no_text_is_a_typed_error(query: Any) -> None:
    """The retriever refuses what is no text as an InputError, before anything is told or run."""
    retriever = CascadeRetriever.from_documents(nodes(("str",)))
    with pytest.raises(InputError, match="must be a string"):
        retriever.retrieve(query)
    with pytest.raises(InputError, match="must be a string"):
        await retriever.aretrieve(query)
