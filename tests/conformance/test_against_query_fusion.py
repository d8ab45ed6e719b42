"""LlamaIndex's QueryFusionRetriever beside Stepwell: one corpus, one embedding, one cross-encoder.

Where two do the same by definition they must agree; "simple" and "dist_based_score" have no
counterpart here. Where it loses something, the test says so of it as well, and fails when a new
version of it no longer does.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from llama_index.core import Settings, VectorStoreIndex
from llama_index.core.llms import MockLLM
from llama_index.core.retrievers import BaseRetriever, QueryFusionRetriever
from llama_index.core.schema import NodeWithScore, TextNode

import stepwell as sw
from stepwell.llama_index import CascadeQuery, CascadeRetriever, as_embedding, as_stage
from tests.conformance.llama_index_parts import QUESTION, QUESTIONS, nodes

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder


class Fixed(BaseRetriever):
    """A retriever that answers the same nodes each time, and notes the thread it ran in."""

    def __init__(self, found: list[NodeWithScore]) -> None:
        super().__init__()
        self.found = found
        self.threads: list[threading.Thread] = []

    def _retrieve(self, query_bundle: Any) -> list[NodeWithScore]:
        self.threads.append(threading.current_thread())
        return self.found


class Down(BaseRetriever):
    """A retriever whose server is away."""

    def _retrieve(self, query_bundle: Any) -> list[NodeWithScore]:
        raise ConnectionError("the server is away")


@pytest.fixture(scope="module")
def index() -> VectorStoreIndex:
    return VectorStoreIndex(nodes(), embed_model=as_embedding())


@pytest.fixture(scope="module")
def arms(index: VectorStoreIndex) -> Iterator[list[Any]]:
    """A retriever by vectors, and one by words that knows half of the nodes."""
    with sw.Corpus.temporary(encoder=None) as corpus:
        corpus.add([sw.Document(each.node_id, each.text) for each in nodes()[::2]])
        # The metadata of what both find must be equal, or QueryFusionRetriever counts it once.
        known = {each.node_id: each for each in nodes()}

        class Words(BaseRetriever):
            def _retrieve(self, query_bundle: Any) -> list[NodeWithScore]:
                found = corpus.search_text(query_bundle.query_str, 15)
                pairs = zip(found.ids, found.scores.tolist())
                return [NodeWithScore(node=known[id], score=score) for id, score in pairs]

        yield [index.as_retriever(similarity_top_k=15), Words()]


def fusion(arms: Sequence[Any], mode: str, **options: Any) -> QueryFusionRetriever:
    options = {"llm": MockLLM(), "num_queries": 1, "similarity_top_k": 40, **options}
    return QueryFusionRetriever(list(arms), mode=mode, use_async=False, **options)


def hybrid(arms: Sequence[Any], **options: Any) -> sw.Hybrid:
    """What stands in a QueryFusionRetriever's place."""
    stages = [as_stage(each, name=str(at), k=15) for at, each in enumerate(arms)]
    return sw.Hybrid(stages, **options)


def scores_of(found: Sequence[NodeWithScore]) -> dict[str, float]:
    return {each.node_id: each.score or 0.0 for each in found}


# -- where they agree by definition -----------------------------------------------------------


@pytest.mark.parametrize("weights", [[0.5, 0.5], [0.9, 0.1]])
@pytest.mark.parametrize("query", QUESTIONS)
def test_same_scores_as_relative_score(arms: list[Any], query: str, weights: list[float]) -> None:
    """A weighted sum of scores moved to 0 to 1 is what both mean: each score agrees."""
    theirs = fusion(arms, "relative_score", retriever_weights=weights).retrieve(query)
    ours = sw.Cascade([hybrid(arms, weights=weights)]).search(query)
    assert {hit.id: hit.score for hit in ours.hits} == pytest.approx(scores_of(theirs), abs=1e-9)


@pytest.mark.parametrize("query", QUESTIONS)
def test_same_scores_as_reciprocal_rerank(arms: list[Any], query: str) -> None:
    """They count ranks from 0 and sum, we count from 1 and take the mean: at 59 both agree."""
    theirs = fusion(arms, "reciprocal_rerank").retrieve(query)
    ours = sw.Cascade([hybrid(arms, fusion="rrf", k_rrf=59)]).search(query)
    halved = {id: score / 2 for id, score in scores_of(theirs).items()}
    assert {hit.id: hit.score for hit in ours.hits} == pytest.approx(halved, abs=1e-12)


@pytest.mark.parametrize("query", QUESTIONS)
def test_same_order_as_fusion_with_a_reranker(
    reader: CrossEncoder, reader_folder: Path, arms: list[Any], query: str
) -> None:
    """Fused recall, then the model alone: the same nodes in the same order, by the same scores."""
    from llama_index.core.postprocessor import SentenceTransformerRerank

    reranker = SentenceTransformerRerank(model=str(reader_folder), top_n=5, device="cpu")
    fused = fusion(arms, "relative_score").retrieve(query)
    theirs = reranker.postprocess_nodes(fused, query_str=query)
    last = sw.CrossEncoder(reader, k=5, blend=1.0)
    ours = sw.Cascade([hybrid(arms), last]).search(query)
    assert ours.ids == [each.node_id for each in theirs]
    logits = np.array([hit.scores["cross-encoder"] for hit in ours.hits])
    assert 1 / (1 + np.exp(-logits)) == pytest.approx([each.score for each in theirs], abs=1e-5)


# -- what it loses ----------------------------------------------------------------------------


@pytest.fixture
def given(index: VectorStoreIndex) -> list[NodeWithScore]:
    return index.as_retriever(similarity_top_k=5).retrieve(QUESTION)


def test_each_arms_score_is_kept(arms: list[Any]) -> None:
    """QueryFusionRetriever overwrites what its arms scored; here both columns stay on the node."""
    vectors = scores_of(arms[0].retrieve(QUESTION))
    for each in fusion(arms, "relative_score").retrieve(QUESTION):
        assert each.score != vectors.get(each.node_id)
        assert "score" not in str(each.node.metadata)
    ours = CascadeRetriever(sw.Cascade([hybrid(arms)]), k=40).retrieve(QUESTION)
    kept = {each.node_id: each.node.metadata["stepwell"]["scores"].get("0") for each in ours}
    assert {id: kept[id] for id in vectors} == pytest.approx(vectors)


def test_what_an_arm_keeps_is_not_written_to(given: list[NodeWithScore]) -> None:
    """QueryFusionRetriever writes its scores into the nodes that its arms keep; ours into none."""
    arm, before = Fixed(given), [each.score for each in given]
    sw.Cascade([hybrid([arm])]).search(QUESTION)
    assert [each.score for each in given] == before
    fusion([arm], "relative_score").retrieve(QUESTION)
    assert [each.score for each in given] != before


def test_weights_count_in_reciprocal_ranks(arms: list[Any]) -> None:
    """QueryFusionRetriever takes weights and ignores them in this mode; here they count."""
    heavy, light = ([0.95, 0.05], [0.05, 0.95])
    theirs = [fusion(arms, "reciprocal_rerank", retriever_weights=w) for w in (heavy, light)]
    assert scores_of(theirs[0].retrieve(QUESTION)) == scores_of(theirs[1].retrieve(QUESTION))
    ours = [sw.Cascade([hybrid(arms, fusion="rrf", weights=w)]) for w in (heavy, light)]
    assert ours[0].search(QUESTION).ids != ours[1].search(QUESTION).ids


def test_two_nodes_of_one_text_are_two() -> None:
    """QueryFusionRetriever takes equal contents for one node; here the id counts."""
    found = [NodeWithScore(node=TextNode(id_=id, text="a"), score=0.5) for id in ("mine", "yours")]
    assert len(fusion([Fixed(found)], "reciprocal_rerank").retrieve(QUESTION)) == 1
    assert sorted(sw.Cascade([hybrid([Fixed(found)])]).search(QUESTION).ids) == ["mine", "yours"]


def test_one_node_of_two_metadata_is_one() -> None:
    """QueryFusionRetriever adds up no scores where the arms' metadata differ; here both count."""
    arms = [
        Fixed([NodeWithScore(node=TextNode(id_="x", text="a", metadata={"arm": name}), score=0.5)])
        for name in ("one", "two")
    ]
    theirs = fusion(arms, "relative_score").retrieve(QUESTION)
    assert {each.score for each in theirs} == {0.5}
    (hit,) = sw.Cascade([hybrid(arms)]).search(QUESTION).hits
    assert hit.score == pytest.approx(1.0)


def test_a_node_without_a_score_is_no_crash() -> None:
    """QueryFusionRetriever fails on a score of None beside others; here that node comes last."""
    values = [0.9, None, 0.7]
    found = [
        NodeWithScore(node=each, score=score) for each, score in zip(nodes(), values, strict=False)
    ]
    ids = [each.node_id for each in found]
    assert sw.Cascade([hybrid([Fixed(found)])]).search(QUESTION).ids == [ids[0], ids[2], ids[1]]
    for mode in ("relative_score", "dist_based_score"):
        with pytest.raises(TypeError, match="NoneType"):
            fusion([Fixed(found)], mode).retrieve(QUESTION)


def test_one_arm_down_does_not_take_the_answer_down(given: list[NodeWithScore]) -> None:
    """QueryFusionRetriever raises when one arm does; here the other answers, marked degraded."""
    both = [Fixed(given), Down()]
    result = sw.Cascade([hybrid(both)]).search(QUESTION)
    assert len(result.ids) == 5
    assert result.degraded
    with pytest.raises(ConnectionError):
        fusion(both, "relative_score").retrieve(QUESTION)


async def test_an_arm_that_blocks_leaves_the_loop_free(given: list[NodeWithScore]) -> None:
    """QueryFusionRetriever runs an arm without `_aretrieve` on the event loop; here in a thread."""
    loop, arm = threading.current_thread(), Fixed(given)
    await CascadeRetriever(sw.Cascade([hybrid([arm])]), k=3).aretrieve(QUESTION)
    await fusion([arm], "simple").aretrieve(QUESTION)
    assert [thread is loop for thread in arm.threads] == [False, True]


def test_a_call_may_bring_a_filter_and_a_depth(arms: list[Any]) -> None:
    """`retrieve` of QueryFusionRetriever takes neither; here both come with the query."""
    for option in ({"filters": None}, {"similarity_top_k": 2}):
        with pytest.raises(TypeError, match="unexpected keyword"):
            fusion(arms, "simple").retrieve(QUESTION, **option)
    ours = CascadeRetriever(sw.Cascade([hybrid(arms[:1])]), k=40)
    found = ours.retrieve(CascadeQuery(QUESTION, filters={"owner": "json"}, k=2))
    assert [each.node.metadata["owner"] for each in found] == ["json", "json"]


def test_no_language_model_is_looked_up(arms: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """QueryFusionRetriever resolves Settings.llm, OpenAI's by default, for one query too."""

    class LookedUpError(Exception):
        pass

    def look(_: Any) -> Any:
        raise LookedUpError

    monkeypatch.setattr(type(Settings), "llm", property(look))
    with pytest.raises(LookedUpError):
        fusion(arms, "simple", llm=None)
    assert CascadeRetriever(sw.Cascade([hybrid(arms)]), k=3).retrieve(QUESTION)
