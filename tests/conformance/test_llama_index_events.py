"""What handlers are told: balanced, complete, and under one parent: point 29."""

from __future__ import annotations

import time
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.span.base import BaseSpan
from llama_index.core.instrumentation.span_handlers import BaseSpanHandler
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from stepwell import (
    BiEncoder,
    Candidates,
    Cascade,
    CrossEncoder,
    Hybrid,
    MinScore,
    StageError,
    TopK,
)
from stepwell.llama_index import CascadePostprocessor, CascadeQuery, CascadeRetriever, as_stage
from tests.conformance.llama_index_parts import (
    QUESTION,
    Callbacks,
    Ears,
    listening,
    nodes,
    scored,
    vector_index,
)


class Broken:
    """A re-scoring stage that fails."""

    name = "broken"

    def run(self, candidates: Candidates, /) -> Candidates:
        raise RuntimeError("no memory left")


def three(index: VectorStoreIndex) -> Cascade:
    return Cascade([as_stage(index), BiEncoder(k=20), CrossEncoder(k=5), TopK(4)])


@pytest.fixture(scope="module")
def index() -> VectorStoreIndex:
    return vector_index()


def reranks(ears: Ears) -> list[tuple[str, Any]]:
    return [
        (event.class_name(), getattr(event, "model_name", len(event.nodes)))
        for event in ears.events
        if event.class_name().startswith("ReRank")
    ]


async def test_29_one_pair_for_each_rescoring_stage(index: VectorStoreIndex) -> None:
    """Recall and cuts are silent; each re-scoring starts and ends, in order, also awaited."""
    retriever = CascadeRetriever(three(index), k=3)
    with listening() as ears:
        retriever.retrieve(QUESTION)
    with listening() as awaited:
        await retriever.aretrieve(QUESTION)
    kinds = [kind for kind, _ in reranks(ears)]
    assert kinds == ["ReRankStartEvent", "ReRankEndEvent"] * 2
    assert reranks(awaited) == reranks(ears)
    assert [n for kind, n in reranks(ears) if kind == "ReRankEndEvent"] == [20, 5]


def test_29_the_start_says_what_is_asked_of_what(index: VectorStoreIndex) -> None:
    """Query, model, depth and the nodes it is given are those of the stage."""
    first, second = BiEncoder(k=20), CrossEncoder(k=5)
    retriever = CascadeRetriever(Cascade([as_stage(index, k=30), first, second]), k=2)
    with listening() as ears:
        retriever.retrieve(QUESTION)
    starts = ears.named("ReRankStartEvent")
    assert [start.query for start in starts] == [QueryBundle(QUESTION)] * 2
    assert [start.model_name for start in starts] == [first.encoder.name, second.scorer.name]
    assert [start.top_n for start in starts] == [20, 5]
    assert [len(start.nodes) for start in starts] == [30, 20]
    assert {type(node) for start in starts for node in start.nodes} == {NodeWithScore}


async def test_29_one_retrieval_for_each_retriever(index: VectorStoreIndex) -> None:
    """The cascade's retrieval and that of the retriever inside it start and end once each."""
    for awaited in (False, True):
        made = CascadeRetriever(three(index))
        with listening() as ears:
            found = await made.aretrieve(QUESTION) if awaited else made.retrieve(QUESTION)
        assert len(ears.named("RetrievalStartEvent")) == 2
        assert len(ears.named("RetrievalEndEvent")) == 2
        assert ears.named("RetrievalEndEvent")[-1].nodes == found


async def test_29_exactly_one_retrieval_over_a_corpus() -> None:
    """Over its own corpus there is one start with the query and one end with the answer."""
    made = CascadeRetriever.from_documents(nodes(("json",)))
    assert made.corpus is not None
    for awaited in (False, True):
        with listening() as ears:
            found = await made.aretrieve(QUESTION) if awaited else made.retrieve(QUESTION)
        (start,), (end,) = ears.named("RetrievalStartEvent"), ears.named("RetrievalEndEvent")
        assert start.str_or_query_bundle == QUESTION
        assert end.nodes == found
    made.corpus.close()


def test_29_the_trace_is_an_event_without_text(index: VectorStoreIndex) -> None:
    """At the end one event holds every stage's record, and no word of a query or a node."""
    with listening() as ears:
        CascadeRetriever(three(index)).retrieve(QUESTION)
    (event,) = ears.named("CascadeEvent")
    assert not event.degraded
    assert [stage["name"] for stage in event.trace["stages"]][1:] == [
        "bi-encoder",
        "cross-encoder",
        "top-k",
    ]
    assert "string" not in event.model_dump_json()


async def test_29_balanced_when_there_is_nothing(index: VectorStoreIndex) -> None:
    """No nodes, no query or a blank one: as many starts as ends."""
    made = CascadePostprocessor()
    with listening() as ears:
        assert made.postprocess_nodes([], query_str=QUESTION) == []
        made.postprocess_nodes(scored(nodes()))
        made.postprocess_nodes(scored(nodes()), query_str="")
        await made.apostprocess_nodes([], query_str=QUESTION)
        await made.apostprocess_nodes(scored(nodes()))
        CascadeRetriever(three(index)).retrieve("")
        await CascadeRetriever(three(index)).aretrieve("")
        nothing = CascadeQuery(QUESTION, filters={"owner": "nobody"})
        assert CascadeRetriever(three(index)).retrieve(nothing) == []
        assert made.postprocess_nodes(scored(nodes()), nothing) == []
    assert len(ears.named("ReRankStartEvent")) == len(ears.named("ReRankEndEvent"))


@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("policy", ["raise", "skip"])
async def test_29_balanced_when_a_stage_fails(policy: Any, awaited: bool) -> None:
    """A failing stage ends too, with the nodes it was given, raised or not."""
    cascade = Cascade([Broken()], on_failure={"broken": policy})
    manager = CallbackManager([heard := Callbacks()])
    made = CascadePostprocessor(3, cascade, callback_manager=manager)

    async def ask() -> list[NodeWithScore]:
        given = scored(nodes())
        if awaited:
            return await made.apostprocess_nodes(given, query_str=QUESTION)
        return made.postprocess_nodes(given, query_str=QUESTION)

    with listening() as ears:
        if policy == "raise":
            with pytest.raises(StageError, match="no memory left"):
                await ask()
        else:
            kept = await ask()
            assert kept[0].node.metadata["stepwell"]["degraded"] is True
            assert ears.named("CascadeEvent")[0].degraded is True
    assert reranks(ears) == [("ReRankStartEvent", "broken"), ("ReRankEndEvent", len(nodes()))]
    assert [kind for kind, _ in heard.started] == [CBEventType.RERANKING]
    assert [kind for kind, _ in heard.ended] == [CBEventType.RERANKING]


def test_29_the_older_callbacks_hear_it_too() -> None:
    """A callback handler gets the same pairs, with nodes, model, query and depth."""
    manager = CallbackManager([heard := Callbacks()])
    stage = CrossEncoder(lambda query, passages: [0.0] * len(passages), k=2, name="x")
    model = stage.scorer
    made = CascadePostprocessor(2, Cascade([stage]), callback_manager=manager)
    made.postprocess_nodes(scored(nodes()), query_str=QUESTION)
    ((kind, payload),) = heard.started
    assert kind == CBEventType.RERANKING
    assert payload[EventPayload.QUERY_STR] == QUESTION
    assert payload[EventPayload.TOP_K] == 2
    assert payload[EventPayload.MODEL_NAME] == model.name
    assert len(payload[EventPayload.NODES]) == len(nodes())
    ((_, ended),) = heard.ended
    assert len(ended[EventPayload.NODES]) == 2


def test_29_nobody_listening_costs_no_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without handlers no node is fetched for events."""
    monkeypatch.setattr(get_dispatcher(), "event_handlers", [])
    monkeypatch.setattr("stepwell.llama_index.events._nodes", pytest.fail)
    CascadePostprocessor(2).postprocess_nodes(scored(nodes()[:4]), query_str=QUESTION)


def test_29_listening_changes_no_answer() -> None:
    """A threshold guards the answer past the deadline, heard or not."""

    class Late(CrossEncoder):
        def run(self, candidates: Candidates, /) -> Candidates:
            time.sleep(0.05)
            return super().run(candidates)

    stages = [Late(lambda query, passages: [float(len(each)) for each in passages]), MinScore(0.5)]
    made = CascadePostprocessor(50, Cascade(stages), deadline=0.04, detail_key=None)
    unheard = made.postprocess_nodes(scored(nodes()), query_str=QUESTION)
    with listening() as ears:
        heard = made.postprocess_nodes(scored(nodes()), query_str=QUESTION)
    assert heard == unheard
    assert ears.named("CascadeEvent")[0].trace["stages"][-1]["status"] == "ok"


class Spans(BaseSpanHandler[BaseSpan]):
    """Keeps each span's id and its parent's."""

    _parents: dict[str, str | None] = PrivateAttr(default_factory=dict)

    def new_span(self, id_: str, *args: Any, **kwargs: Any) -> BaseSpan:
        self._parents[id_] = kwargs.get("parent_span_id")
        return BaseSpan(id_=id_, parent_id=kwargs.get("parent_span_id"))

    def prepare_to_exit_span(self, *args: Any, **kwargs: Any) -> None: ...

    def prepare_to_drop_span(self, *args: Any, **kwargs: Any) -> None: ...


@pytest.mark.parametrize("awaited", [False, True])
async def test_29_spans_of_worker_threads_have_one_root(
    index: VectorStoreIndex, awaited: bool
) -> None:
    """Two retrievers side by side in threads are spans under the cascade's own."""
    arms = [as_stage(index, name="one"), as_stage(index, name="two")]
    retriever = CascadeRetriever(Cascade([Hybrid(arms), CrossEncoder(k=3)]))
    root, spans = get_dispatcher(), Spans()
    before = list(root.span_handlers)
    root.add_span_handler(spans)
    try:
        with listening() as ears:
            if awaited:
                await retriever.aretrieve(QUESTION)
            else:
                retriever.retrieve(QUESTION)
    finally:
        root.span_handlers = before
    roots = [id for id, parent in spans._parents.items() if parent is None]
    assert len(roots) == 1
    assert roots[0].startswith("CascadeRetriever")
    assert sum(id.startswith("VectorIndexRetriever") for id in spans._parents) == 2
    entry = "CascadeRetriever.aretrieve-" if awaited else "CascadeRetriever.retrieve-"
    assert sum(id.startswith(entry) for id in spans._parents) == 1
    assert all(event.span_id in spans._parents for event in ears.events)


def test_text_nodes_of_ones_own_class_survive_the_events() -> None:
    """Events carry the caller's nodes, not copies made from documents."""

    class Mine(TextNode):
        extra: str = ""

    given = Mine(id_="a", text="x", extra="kept")
    with listening() as ears:
        CascadePostprocessor(1).postprocess_nodes([NodeWithScore(node=given)], query_str="q")
    assert all(event.nodes[0].node is given for event in ears.named("ReRankEndEvent"))
