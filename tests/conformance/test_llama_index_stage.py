"""`as_stage` over LlamaIndex retrievers and indices: scores kept, recursion first (point 28)."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core import SummaryIndex, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import CustomQueryEngine
from llama_index.core.schema import IndexNode, MetadataMode, NodeWithScore, QueryBundle, TextNode

from stepwell import Cascade, ConfigurationError, CrossEncoder, TopK
from stepwell.llama_index import CascadeRetriever, as_stage
from tests.conformance.llama_index_parts import QUESTION, nodes, scored, vector_index


class Fixed(BaseRetriever):
    """Returns what it was made with."""

    def __init__(self, found: list[NodeWithScore], **options: Any) -> None:
        super().__init__(**options)
        self.found = found
        self.asked: list[QueryBundle] = []

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        self.asked.append(query_bundle)
        return list(self.found)


class Answering(CustomQueryEngine):
    """A query engine as an index node's object."""

    def custom_query(self, query_str: str) -> str:
        return f"an answer to {query_str}"


def answered(found: list[NodeWithScore], **options: Any) -> list[tuple[str, float]]:
    retriever = CascadeRetriever(Cascade([as_stage(Fixed(found), **options)]), k=50)
    return [(each.node_id, each.get_score()) for each in retriever.retrieve("q")]


@pytest.fixture(scope="module")
def index() -> VectorStoreIndex:
    return vector_index()


def test_an_index_gives_its_own_scores(index: VectorStoreIndex) -> None:
    """The cascade over an index alone answers what its retriever answers, scores kept."""
    own = index.as_retriever(similarity_top_k=7).retrieve(QUESTION)
    mine = CascadeRetriever(Cascade([as_stage(index, k=7, name="mine")]), k=7).retrieve(QUESTION)
    assert [(each.node_id, each.score) for each in mine] == [
        (each.node_id, each.score) for each in own
    ]
    assert mine[0].node.metadata["stepwell"]["scores"]["mine"] == own[0].score


def test_a_retriever_is_asked_for_more_and_not_changed(index: VectorStoreIndex) -> None:
    """Recall goes deeper than the retriever's own top k, on a copy."""
    existing = index.as_retriever(similarity_top_k=2)
    result = Cascade([as_stage(existing)]).search(QUESTION)
    assert len(result) == min(100, len(nodes()))
    assert existing.similarity_top_k == 2


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("similarity", [("b", 2.0), ("c", 1.0), ("a", 0.0)]),
        ("distance", [("a", 0.0), ("c", -1.0), ("b", -2.0)]),
        ("rank", [("a", 3.0), ("b", 2.0), ("c", 1.0)]),
    ],
)
def test_the_direction_of_a_score_is_declared(kind: str, expected: list[Any]) -> None:
    """Higher is better, or lower is, or only the order counts."""
    values = {"a": 0.0, "b": 2.0, "c": 1.0}
    found = [NodeWithScore(node=TextNode(id_=id), score=score) for id, score in values.items()]
    assert answered(found, score=kind) == expected


def test_none_follows_zero() -> None:
    """A node without a score comes after one with 0.0, and its stage score is absent."""
    found = [
        NodeWithScore(node=TextNode(id_="none")),
        NodeWithScore(node=TextNode(id_="nan"), score=float("nan")),
        NodeWithScore(node=TextNode(id_="zero"), score=0.0),
    ]
    retriever = CascadeRetriever(Cascade([as_stage(Fixed(found), name="own")]))
    kept = retriever.retrieve("q")
    assert [each.node_id for each in kept] == ["zero", "none", "nan"]
    assert [each.node.metadata["stepwell"]["scores"] for each in kept] == [{"own": 0.0}, {}, {}]


@pytest.mark.parametrize("source", [None, "index", MockLLM(), 3])
def test_what_is_no_retriever_is_refused(source: Any) -> None:
    """The error names what was given and what would do."""
    with pytest.raises(ConfigurationError, match="retriever or index"):
        as_stage(source)


@pytest.mark.parametrize("options", [{"k": 0}, {"score": "cosine"}, {"filter": "before"}])
def test_a_bad_option_is_refused(options: dict[str, Any]) -> None:
    """A depth below 1 or an unknown word is a ConfigurationError."""
    with pytest.raises(ConfigurationError):
        as_stage(Fixed([]), **options)


def test_a_blank_query_recalls_nothing() -> None:
    """The retriever is not even asked."""
    fixed = Fixed(scored(nodes()))
    assert CascadeRetriever(Cascade([as_stage(fixed)])).retrieve(" \n") == []
    assert fixed.asked == []


def test_25_the_bundle_reaches_the_retriever_whole(index: VectorStoreIndex) -> None:
    """Embedding strings, image path and vector reach it; the caller's bundle stays as it was."""
    fixed = Fixed(scored(nodes()[:1]))
    bundle = QueryBundle("q", image_path="a.png", custom_embedding_strs=["x"], embedding=[0.5])
    CascadeRetriever(Cascade([as_stage(fixed)])).retrieve(bundle)
    (asked,) = fixed.asked
    assert asked == bundle
    assert asked is not bundle
    plain = QueryBundle(QUESTION)
    CascadeRetriever(Cascade([as_stage(index)])).retrieve(plain)
    assert plain.embedding is None


def test_27_the_stage_reads_in_the_mode_it_was_given() -> None:
    """`metadata_mode` decides what later stages read of a retrieved node."""
    seen: list[str] = []

    def score(query: str, passages: list[str]) -> list[float]:
        seen.extend(passages)
        return [0.0] * len(passages)

    stage = as_stage(Fixed(scored(nodes()[:1])), metadata_mode=MetadataMode.NONE)
    CascadeRetriever(Cascade([stage, CrossEncoder(score)])).retrieve("q")
    assert seen == [nodes()[0].text]


def indexed(index_id: str, obj: Any, score: float | None) -> NodeWithScore:
    node = IndexNode(id_=f"index-{index_id}", text="a summary", index_id=index_id, obj=obj)
    return NodeWithScore(node=node, score=score)


def test_28_index_nodes_are_resolved_before_they_are_read() -> None:
    """A node, a retriever, a query engine take their index node's place; a missing one stays."""
    inner = Fixed([NodeWithScore(node=TextNode(id_="nested", text="nested text"), score=0.4)])
    found = [
        indexed("node", TextNode(id_="child", text="child text"), 0.9),
        indexed("retriever", inner, 0.8),
        indexed("engine", Answering(), 0.7),
        indexed("missing", None, 0.6),
    ]
    seen: list[str] = []

    def score(query: str, passages: list[str]) -> list[float]:
        seen.extend(passages)
        return [float(len(each)) for each in passages]

    cascade = Cascade([as_stage(Fixed(found)), CrossEncoder(score)])
    kept = CascadeRetriever(cascade).retrieve("q")
    assert sorted(seen) == ["a summary", "an answer to q", "child text", "nested text"]
    assert {"child", "nested", "index-missing"} < {each.node_id for each in kept}


@pytest.mark.parametrize("native", [False, True])
async def test_28_every_object_is_resolved_before_it_is_read_awaited(native: bool) -> None:
    """Node, retriever, query engine and missing object awaited, by a thread and natively."""
    inner = Fixed([NodeWithScore(node=TextNode(id_="nested", text="nested text"), score=0.4)])
    found = [
        indexed("node", TextNode(id_="child", text="child text"), 0.9),
        indexed("retriever", inner, 0.8),
        indexed("engine", Answering(), 0.7),
        indexed("missing", None, 0.0),
    ]
    seen: list[str] = []

    def score(query: str, passages: list[str]) -> list[float]:
        seen.extend(passages)
        return [float(len(each)) for each in passages]

    stage = as_stage(Fixed(found), native_async=native, name="own")
    kept = await CascadeRetriever(Cascade([stage, CrossEncoder(score)])).aretrieve("q")
    assert sorted(seen) == ["a summary", "an answer to q", "child text", "nested text"]
    own = {
        each.node.get_content(): each.node.metadata["stepwell"]["scores"]["own"] for each in kept
    }
    assert own == {
        "child text": 0.9,
        "nested text": 0.4,
        "an answer to q": 0.7,
        "a summary": 0.0,
    }


async def test_28_index_nodes_are_resolved_when_awaited() -> None:
    """The same through the retriever's own asynchronous methods."""
    inner = Fixed([NodeWithScore(node=TextNode(id_="nested"), score=0.4)])
    found = [indexed("a", TextNode(id_="child"), 0.9), indexed("b", inner, 0.8)]
    for native in (False, True):
        stage = as_stage(Fixed(found), native_async=native)
        kept = await CascadeRetriever(Cascade([stage])).aretrieve("q")
        assert [(each.node_id, each.score) for each in kept] == [("child", 0.9), ("nested", 0.4)]


def test_28_an_object_map_resolves_too() -> None:
    """An object that only the existing retriever knows is found there."""
    fixed = Fixed([indexed("a", None, 0.5)], object_map={"a": TextNode(id_="child")})
    kept = CascadeRetriever(Cascade([as_stage(fixed)])).retrieve("q")
    assert [(each.node_id, each.score) for each in kept] == [("child", 0.5)]


@pytest.mark.parametrize("score", [0.0, -1.0, 0.25])
def test_28_a_score_of_zero_stays_zero(score: float) -> None:
    """Resolving an index node keeps its score, where LlamaIndex itself would make 0.0 a 1.0."""
    assert answered([indexed("a", TextNode(id_="child"), score)]) == [("child", score)]


def test_28_a_resolved_node_is_not_resolved_again() -> None:
    """An object that is itself an index node is answered, not followed."""
    second = IndexNode(id_="second", index_id="x", obj=TextNode(id_="third"))
    assert answered([indexed("a", second, 0.5)]) == [("second", 0.5)]


def test_28_nodes_that_meet_after_resolving_count_once() -> None:
    """Two ways to one node are one candidate, the first found."""
    child = TextNode(id_="child")
    found = [indexed("a", child, 0.9), NodeWithScore(node=child, score=0.2)]
    assert answered(found) == [("child", 0.9)]


def test_28_objects_of_the_cascade_retriever_are_resolved_last() -> None:
    """Its own objects take their index node's place and score in the answer, each node once."""
    x, y = TextNode(id_="x", text="x"), TextNode(id_="y", text="y")
    inner = Fixed(scored([x, y], score=9.0))
    found = [indexed("a", None, 0.5), NodeWithScore(node=y, score=0.0)]
    cascade = Cascade([as_stage(Fixed(found)), TopK(5)])
    retriever = CascadeRetriever(cascade, object_map={"a": inner})
    kept = [(each.node_id, each.score) for each in retriever.retrieve("q")]
    assert kept == [("x", 0.5), ("y", 0.5)]


def test_a_summary_index_is_a_stage_too() -> None:
    """An index without scores recalls all its nodes in order."""
    kept = CascadeRetriever(Cascade([as_stage(SummaryIndex(nodes()[:3]))])).retrieve("q")
    assert [each.node_id for each in kept] == [node.node_id for node in nodes()[:3]]
