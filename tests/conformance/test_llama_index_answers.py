"""What `CascadeRetriever` answers in LlamaIndex, called and awaited: points 9, 10, 26, 32."""

from __future__ import annotations

import copy
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle

from stepwell import BM25, Cascade, CrossEncoder, Dedupe, Hybrid
from stepwell.llama_index import CascadeRetriever, as_stage
from stepwell.models import load_scorer
from tests.conformance.llama_index_parts import QUESTION, nodes, scored, vector_index


async def test_09_no_fill() -> None:
    """Words that no node has are not answered with arbitrary nodes by BM25."""
    corpus = CascadeRetriever.from_documents(nodes()[:9]).corpus
    assert corpus is not None
    made = CascadeRetriever(Cascade([BM25(corpus), CrossEncoder()]))
    assert made.retrieve("zxqv wvutz") == await made.aretrieve("zxqv wvutz") == []
    assert len(made.retrieve("string")) > 0
    corpus.close()


async def test_10_two_arms_that_find_one_node() -> None:
    """One node from two arms is one candidate with both scores; twins by text go by Dedupe."""
    twin = nodes()[0].model_copy(update={"id_": "twin"})
    corpus = CascadeRetriever.from_documents([*nodes()[:5], twin]).corpus
    assert corpus is not None
    arms = [as_stage(vector_index(), name="index", k=200), BM25(corpus)]
    for stages, n in (([Hybrid(arms)], 2), ([Hybrid(arms), Dedupe()], 1)):
        made = CascadeRetriever(Cascade(stages), k=None)
        for found in (made.retrieve(nodes()[0].text), await made.aretrieve(nodes()[0].text)):
            ids = [each.node_id for each in found]
            assert len(ids) == len(set(ids))
            both = {nodes()[0].node_id, "twin"} & set(ids)
            assert len(both) == n
            first = next(each for each in found if each.node_id in both)
            assert "bm25" in first.node.metadata["stepwell"]["scores"]
    corpus.close()


async def test_26_what_an_index_holds_is_not_changed() -> None:
    """Nodes of an index keep object, metadata, hash and texts; answers are new, scores floats."""
    held = scored(nodes()[:9])
    before = copy.deepcopy(held)
    hashes = [each.node.hash for each in held]
    made = CascadeRetriever(Cascade([as_stage(Holding(held)), CrossEncoder()]), k=9, trace=True)
    for found in (made.retrieve(QUESTION), await made.aretrieve(QUESTION)):
        assert len(found) == 9
        assert {type(each.score) for each in found} == {float}
        assert not {id(each) for each in found} & {id(each) for each in held}
        found[0].node.metadata["mine"] = 1
    assert held == before
    assert [each.node.hash for each in held] == hashes


class Holding(BaseRetriever):
    """A retriever that answers with its own objects each time."""

    def __init__(self, held: list[NodeWithScore]) -> None:
        super().__init__()
        self.held = held

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return list(self.held)


async def test_32_scores_and_order_agree_when_only_the_head_was_read() -> None:
    """Sorted again by score, as BeirEvaluator's tool does, the answer keeps its order."""

    def below_zero(query: str, passages: list[str]) -> Any:
        # As the logits of many models are, where the similarities behind them are not.
        return load_scorer().score(query, passages).values - 50.0

    for depth in (1, 3, 8):
        read = CrossEncoder(below_zero, k=None, depth=depth, blend=1.0)
        stages = [as_stage(vector_index(), k=30), read]
        made = CascadeRetriever(Cascade(stages), k=20)
        for found in (made.retrieve(QUESTION), await made.aretrieve(QUESTION)):
            scores = {each.node_id: each.get_score(raise_error=True) for each in found}
            assert len(scores) == 20
            assert sorted(scores, key=lambda each: -scores[each]) == [
                each.node_id for each in found
            ]
            assert len(set(scores.values())) > depth
