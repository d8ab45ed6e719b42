"""`CascadePostprocessor` keeps what LlamaIndex asks of a postprocessor: points 23, 25-27, 32."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core.callbacks import CallbackManager
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import (
    ImageNode,
    IndexNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeWithScore,
    QueryBundle,
    TextNode,
)

from stepwell import Cascade, ConfigurationError, CrossEncoder, InputError, TopK
from stepwell.llama_index import CascadePostprocessor, CascadeQuery
from tests.conformance.llama_index_parts import QUESTION, nodes, scored


def by_length(query: str, passages: list[str]) -> list[float]:
    return [float(len(passage)) for passage in passages]


def reading(seen: list[str]) -> Any:
    def score(query: str, passages: list[str]) -> list[float]:
        seen.extend(passages)
        return by_length(query, passages)

    return score


def only(model: Any, k: int | None = None) -> Cascade:
    return Cascade([CrossEncoder(model, k=k)])


def test_23_it_is_a_postprocessor_with_a_name_of_its_own() -> None:
    """The class is in LlamaIndex's tree and its class name is nobody else's."""
    names = [kind.__name__ for kind in CascadePostprocessor.__mro__]
    assert BaseNodePostprocessor.__name__ in names
    assert isinstance(CascadePostprocessor(), BaseNodePostprocessor)
    assert CascadePostprocessor.class_name() == "StepwellCascadePostprocessor"
    others = [kind for kind in _kinds(BaseNodePostprocessor) if kind is not CascadePostprocessor]
    assert len(others) > 5
    assert CascadePostprocessor.class_name() not in {kind.class_name() for kind in others}


def _kinds(kind: type[Any]) -> list[type[Any]]:
    return [each for sub in kind.__subclasses__() for each in (sub, *_kinds(sub))]


def test_23_a_dict_and_json_give_an_equal_one_back() -> None:
    """`from_dict(to_dict())` and `from_json(to_json())` are equal, in every setting."""
    made = CascadePostprocessor(
        3, metadata_mode=MetadataMode.LLM, deadline=2.0, detail_key=None, trace=True
    )
    assert CascadePostprocessor.from_dict(made.to_dict()) == made
    assert CascadePostprocessor.from_json(made.to_json()) == made
    assert json.loads(made.to_json())["class_name"] == made.class_name()
    assert CascadePostprocessor.from_dict(made.to_dict()) != CascadePostprocessor(3)


def test_23_a_cascade_of_ones_own_is_asked_for_again() -> None:
    """A cascade that JSON cannot hold is never silently replaced by the default one."""
    cascade = Cascade([TopK(2)])
    made = CascadePostprocessor(cascade=cascade)
    data = json.loads(made.to_json())
    with pytest.raises(ConfigurationError, match=r"from_dict\(data, cascade=...\)"):
        CascadePostprocessor.from_dict(data)
    assert CascadePostprocessor.from_dict(data, cascade=cascade) == made


def test_23_the_callback_manager_can_be_assigned() -> None:
    """A query engine may put its own callback manager in."""
    made, manager = CascadePostprocessor(), CallbackManager()
    made.callback_manager = manager
    assert made.callback_manager is manager


@pytest.mark.parametrize("top_n", [0, -1, True, 2.5, "3"])
def test_23_a_bad_top_n_is_refused_when_it_is_made(top_n: Any) -> None:
    """What is no positive integer is a ConfigurationError that names top_n."""
    with pytest.raises(ConfigurationError, match="top_n"):
        CascadePostprocessor(top_n)


def test_23_an_unknown_argument_is_refused() -> None:
    """A misspelt argument is an error, not ignored."""
    with pytest.raises(TypeError, match="topn"):
        CascadePostprocessor(topn=3)  # type: ignore[call-arg]


def test_25_without_a_query_the_first_come_back_as_they_were() -> None:
    """No query means no ranking: the first top_n, their scores as they were, None included."""
    given = scored(nodes()[:4])
    given[1].score = 0.0
    kept = CascadePostprocessor(top_n=3).postprocess_nodes(given)
    assert [(each.node_id, each.score) for each in kept] == [
        (each.node_id, each.score) for each in given[:3]
    ]
    assert kept[0].node is given[0].node
    assert kept[0] is not given[0]


def test_25_a_blank_query_keeps_the_order_but_not_what_its_filter_excludes() -> None:
    """Blank text passes through; a filter holds all the same."""
    given = scored(nodes(("str", "json")))
    bundle = CascadeQuery("  ", filters={"owner": "json"}, k=2)
    kept = CascadePostprocessor(top_n=3).postprocess_nodes(given, bundle)
    assert [each.node.metadata["owner"] for each in kept] == ["json", "json"]


def test_25_both_query_arguments_are_refused() -> None:
    """A bundle and a string at once is LlamaIndex's ValueError."""
    with pytest.raises(ValueError, match="Cannot specify both"):
        CascadePostprocessor().postprocess_nodes(
            scored(nodes()), query_bundle=QueryBundle("a"), query_str="b"
        )


@pytest.mark.parametrize("text", [None, 5])
def test_25_a_query_that_is_no_text_is_a_typed_error(text: Any) -> None:
    """A bundle around None or a number is an InputError."""
    with pytest.raises(InputError, match="must be a string"):
        CascadePostprocessor().postprocess_nodes(scored(nodes()), QueryBundle(text))


async def test_25_the_bundle_is_left_as_it_was() -> None:
    """Embedding strings, image path and vector of the caller's bundle stay what they were."""
    bundle = QueryBundle(QUESTION, image_path="a.png", custom_embedding_strs=["x"], embedding=[1.0])
    before = copy.deepcopy(bundle)
    CascadePostprocessor(2).postprocess_nodes(scored(nodes()[:9]), bundle)
    await CascadePostprocessor(2).apostprocess_nodes(scored(nodes()[:9]), bundle)
    assert bundle == before


async def test_26_what_came_in_is_not_changed() -> None:
    """The list, its objects, and each node's metadata, hash and texts are bit for bit the same."""
    given = scored(nodes(), score=0.5)
    before, order = copy.deepcopy(given), [id(each) for each in given]
    hashes = [each.node.hash for each in given]
    texts = [[each.node.get_content(mode) for mode in MetadataMode] for each in given]
    made = CascadePostprocessor(4, trace=True)
    for kept in (
        made.postprocess_nodes(given, query_str=QUESTION),
        await made.apostprocess_nodes(given, query_str=QUESTION),
    ):
        kept[0].node.metadata["mine"] = 1
    assert [id(each) for each in given] == order
    assert given == before
    assert [each.node.hash for each in given] == hashes
    assert [[each.node.get_content(mode) for mode in MetadataMode] for each in given] == texts


def test_26_answers_are_new_with_plain_float_scores() -> None:
    """Each answer is a new NodeWithScore, its score a Python float, never increasing."""
    given = scored(nodes(), score=0.5)
    given[0].score = np.float32(0.25)  # type: ignore[assignment]
    kept = CascadePostprocessor(6).postprocess_nodes(given, query_str=QUESTION)
    assert len(kept) == 6
    assert kept[0].node_id in ("str.split", "str.rsplit")
    assert {type(each.score) for each in kept} == {float}
    scores = [each.get_score(raise_error=True) for each in kept]
    assert scores == sorted(scores, reverse=True)
    assert not {id(each) for each in kept} & {id(each) for each in given}
    assert json.loads(json.dumps([each.to_dict() for each in kept]))


def test_26_the_detail_is_hidden_from_models_and_can_be_left_out() -> None:
    """Scores by stage lie under one key, in no model's text; without it the node is as given."""
    given = scored(nodes())
    for kept in CascadePostprocessor(3).postprocess_nodes(given, query_str=QUESTION):
        own = next(each.node for each in given if each.node_id == kept.node_id)
        for mode in (MetadataMode.EMBED, MetadataMode.LLM, MetadataMode.NONE):
            assert kept.node.get_content(mode) == own.get_content(mode)
        assert kept.node.relationships == own.relationships
        assert set(kept.node.metadata) == {*own.metadata, "stepwell"}
        detail = kept.node.metadata["stepwell"]
        assert set(detail) == {"scores", "kinds", "ranks", "degraded"}
        assert {"bm25", "dense", "cross-encoder"} <= set(detail["scores"])
    bare = CascadePostprocessor(3, detail_key=None).postprocess_nodes(given, query_str=QUESTION)
    assert {id(each.node) for each in bare} <= {id(each.node) for each in given}


def test_26_the_trace_comes_along_when_asked_for() -> None:
    """With trace=True the detail holds every stage's counts and times, fit for JSON."""
    made = CascadePostprocessor(1, trace=True)
    (kept,) = made.postprocess_nodes(scored(nodes()[:5]), query_str=QUESTION)
    trace = json.loads(json.dumps(kept.node.metadata["stepwell"]["trace"]))
    assert [stage["name"] for stage in trace["stages"]][-1] == "cross-encoder"
    assert all({"n_in", "n_out", "ms", "status"} <= set(stage) for stage in trace["stages"])


def test_26_a_repeated_id_is_answered_once() -> None:
    """Two entries of one node id count as the first of them."""
    node = nodes()[0]
    given = [NodeWithScore(node=node, score=0.9), NodeWithScore(node=node, score=0.1)]
    assert len(CascadePostprocessor(5).postprocess_nodes(given, query_str=QUESTION)) == 1


def test_26_what_is_no_scored_node_is_a_typed_error() -> None:
    """Bare nodes in the list are an InputError that says what was expected."""
    with pytest.raises(InputError, match="NodeWithScore"):
        CascadePostprocessor().postprocess_nodes(nodes(), query_str="x")  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", list(MetadataMode))
def test_27_the_metadata_mode_decides_what_is_read(mode: MetadataMode) -> None:
    """Stages read exactly the node's content in that mode; excluded keys never reach them."""
    seen: list[str] = []
    given = nodes()[:3]
    made = CascadePostprocessor(3, only(reading(seen)), metadata_mode=mode)
    made.postprocess_nodes(scored(given), query_str=QUESTION)
    assert sorted(seen) == sorted(node.get_content(mode) for node in given)
    assert any("length:" in text for text in seen) is (mode is MetadataMode.ALL)


def test_27_embedding_text_is_read_by_default() -> None:
    """Without an option stages read what the embedding model would."""
    seen: list[str] = []
    CascadePostprocessor(1, only(reading(seen))).postprocess_nodes(
        scored(nodes()[:1]), query_str=QUESTION
    )
    assert seen == [nodes()[0].get_content(MetadataMode.EMBED)]
    assert seen[0].startswith("owner: str")


def test_27_every_kind_of_node_is_ranked_and_kept() -> None:
    """Multimodal, image, index and empty nodes keep class and fields; a None score is fine."""
    given = [
        Node(id_="multi", text_resource=MediaResource(text="split the words")),
        Node(id_="bare"),
        ImageNode(id_="image", text="a caption", image_path="a.png"),
        IndexNode(id_="index", text="an index", index_id="elsewhere"),
        TextNode(id_="empty", text=""),
    ]
    kept = CascadePostprocessor(5).postprocess_nodes(
        [NodeWithScore(node=node) for node in given], query_str=QUESTION
    )
    assert {each.node_id: type(each.node) for each in kept} == {
        node.node_id: type(node) for node in given
    }
    image = next(each.node for each in kept if each.node_id == "image")
    assert isinstance(image, ImageNode)
    assert image.image_path == "a.png"


def test_27_a_score_of_zero_and_none_stay_apart() -> None:
    """What came in without a score has no given score; what came with 0.0 has that."""
    given = scored(nodes()[:2])
    given[1].score = 0.0
    kept = CascadePostprocessor(2, only(by_length)).postprocess_nodes(given, query_str="x")
    detail = {each.node_id: each.node.metadata["stepwell"]["scores"] for each in kept}
    assert "given" not in detail[given[0].node_id]
    assert detail[given[1].node_id]["given"] == 0.0


def test_32_the_retrievers_scores_are_what_a_blend_starts_from() -> None:
    """A model that cannot tell nodes apart leaves the order of the scores that came in."""
    given = [NodeWithScore(node=node, score=0.9 - at / 100) for at, node in enumerate(nodes()[:6])]
    blended = Cascade([CrossEncoder(lambda query, passages: [1.0] * len(passages), blend=0.5)])
    kept = CascadePostprocessor(6, blended).postprocess_nodes(given, query_str="x")
    assert [each.node_id for each in kept] == [each.node_id for each in given]
    assert len({each.score for each in kept}) == 6


@given(
    depth=st.integers(1, 12),
    n=st.integers(1, 12),
    top_n=st.integers(1, 14),
    values=st.lists(st.floats(-50, 50), min_size=12, max_size=12),
    came=st.lists(st.floats(0, 1), min_size=12, max_size=12),
    blend=st.sampled_from([0.3, 1.0]),
)
@settings(max_examples=100, deadline=None)
def test_32_sorting_by_score_again_gives_the_same_order(
    depth: int, n: int, top_n: int, values: list[float], came: list[float], blend: float
) -> None:
    """Scores never increase along the answer, also where the model read only the head."""
    table = {node.get_content(MetadataMode.EMBED): v for node, v in zip(nodes(), values)}

    def score(query: str, passages: list[str]) -> list[float]:
        return [table[passage] for passage in passages]

    cascade = Cascade([CrossEncoder(score, k=None, depth=depth, blend=blend)])
    made = CascadePostprocessor(top_n, cascade)
    given = [NodeWithScore(node=node, score=one) for node, one in zip(nodes()[:n], came)]
    kept = made.postprocess_nodes(given, query_str="x")
    scores = [each.get_score(raise_error=True) for each in kept]
    assert len(kept) == min(n, top_n)
    assert scores == sorted(scores, reverse=True)
