"""Bad input through LlamaIndex: a typed error or the documented pass-through, in every way."""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import SummaryIndex
from llama_index.core.schema import (
    ImageNode,
    MediaResource,
    Node,
    NodeWithScore,
    QueryBundle,
    TextNode,
)
from llama_index.core.vector_stores.types import FilterOperator, MetadataFilter, MetadataFilters

from stepwell import Cascade, ConfigurationError, Corpus, CrossEncoder, Hybrid, InputError
from stepwell.llama_index import CascadePostprocessor, CascadeQuery, CascadeRetriever, as_stage
from tests.conformance.llama_index_parts import QUESTION, listening, nodes, scored, vector_index

Ask = Callable[..., Awaitable[Any]]


@pytest.fixture(scope="module")
def over_corpus() -> Iterator[CascadeRetriever]:
    made = CascadeRetriever.from_documents(nodes(("str",)))
    yield made
    assert made.corpus is not None
    made.corpus.close()


@pytest.fixture(scope="module")
def over_index() -> CascadeRetriever:
    return CascadeRetriever.from_retriever(vector_index())


@pytest.fixture(params=["over_corpus", "over_index"])
def retriever(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


async def retrieved(retriever: Any, query: Any) -> Any:
    return retriever.retrieve(query)


async def aretrieved(retriever: Any, query: Any) -> Any:
    return await retriever.aretrieve(query)


async def processed(given: Any, *query: Any, **options: Any) -> Any:
    return CascadePostprocessor(3).postprocess_nodes(given, *query, **options)


async def aprocessed(given: Any, *query: Any, **options: Any) -> Any:
    return await CascadePostprocessor(3).apostprocess_nodes(given, *query, **options)


both_ways = pytest.mark.parametrize("ask", [retrieved, aretrieved])
either = pytest.mark.parametrize("rank", [processed, aprocessed])


@both_ways
@pytest.mark.parametrize("query", [None, 5, b"text", ["text"], QueryBundle(None), QueryBundle(5)])  # type: ignore[arg-type]
async def test_bad_query(ask: Ask, retriever: Any, query: Any) -> None:
    """What is no text is an InputError before anything is told or run."""
    with listening() as ears, pytest.raises(InputError, match="must be a string"):
        await ask(retriever, query)
    assert not ears.named("RetrievalStartEvent")


@either
@pytest.mark.parametrize("query", [5, b"text", QueryBundle(None), QueryBundle(5)])  # type: ignore[arg-type]
async def test_bad_query_of_the_postprocessor(rank: Ask, query: Any) -> None:
    """The same of the postprocessor, as a bundle and as a string that is none."""
    given = scored(nodes()[:4], score=0.5)
    with pytest.raises(InputError, match=r"must be a string|expected a QueryBundle"):
        await rank(given, query)
    if not isinstance(query, QueryBundle):
        with pytest.raises(InputError, match="must be a string"):
            await rank(given, query_str=query)


@either
async def test_bad_bundle_of_the_postprocessor(rank: Ask) -> None:
    """A string in the place of the bundle is refused by name."""
    with pytest.raises(InputError, match="expected a QueryBundle, not str"):
        await rank(scored(nodes()[:4]), "split a string")


@either
async def test_25_a_missing_bundle_passes_through(rank: Ask) -> None:
    """Without a query the first top_n come back unscored: no order is made up."""
    given = scored(nodes()[:5])
    given[2].score = 0.25
    for kept in (await rank(given), await rank(given, None), await rank(given, query_str=None)):
        assert [(each.node_id, each.score) for each in kept] == [
            (each.node_id, each.score) for each in given[:3]
        ]
        assert all(each.node is source.node for each, source in zip(kept, given))
        assert not {id(each) for each in kept} & {id(each) for each in given}


@either
async def test_25_two_queries_are_refused(rank: Ask) -> None:
    """A bundle and a string at once is LlamaIndex's ValueError, awaited too."""
    with pytest.raises(ValueError, match="Cannot specify both"):
        await rank(scored(nodes()[:2]), query_bundle=QueryBundle("a"), query_str="b")


@either
@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (None, "nodes must be a list"),
        ("text", "nodes must be a list"),
        (["text"], "list of NodeWithScore, not of str"),
        ([NodeWithScore(node=TextNode(text="a")), TextNode(text="b")], "not of TextNode"),
    ],
)
async def test_bad_nodes_of_the_postprocessor(rank: Ask, given: Any, fault: str) -> None:
    """What is no list of scored nodes is an InputError, with a query, a blank one and without."""
    for query in ([QueryBundle(QUESTION)], [QueryBundle(" ")], []):
        with pytest.raises(InputError, match=fault):
            await rank(given, *query)


def unsupported() -> list[Any]:
    """Filters that nobody can honour."""
    text_match = MetadataFilter(key="owner", operator=FilterOperator.TEXT_MATCH, value="s")
    deep = MetadataFilters(filters=[MetadataFilters(filters=[text_match])])
    return [MetadataFilters(filters=[text_match]), deep, {"owner": {"$near": 1}}, ["owner"], "a=1"]


@both_ways
@pytest.mark.parametrize("filters", unsupported(), ids=range(5))
async def test_31_a_filter_nobody_supports(ask: Ask, retriever: Any, filters: Any) -> None:
    """It is an InputError in a call and when the retriever is made, never no filter."""
    with pytest.raises(InputError):
        await ask(retriever, CascadeQuery(QUESTION, filters=filters))
    with pytest.raises(InputError):
        CascadeRetriever(retriever.cascade, filters=filters)


@either
@pytest.mark.parametrize("filters", unsupported(), ids=range(5))
async def test_31_a_filter_nobody_supports_in_the_postprocessor(rank: Ask, filters: Any) -> None:
    """The postprocessor neither ranks nor passes on what it cannot filter."""
    for text in (QUESTION, " "):
        with pytest.raises(InputError):
            await rank(scored(nodes()[:4]), CascadeQuery(text, filters=filters))


@both_ways
async def test_31_an_arm_that_cannot_filter_stops_all(ask: Ask) -> None:
    """One arm of a hybrid that cannot filter makes the call an InputError, not an answer."""
    arms = [as_stage(vector_index()), as_stage(SummaryIndex(nodes()[:9]))]
    made = CascadeRetriever(Cascade([Hybrid(arms)]))
    assert len(await ask(made, QUESTION)) == 5
    with pytest.raises(InputError, match="SummaryIndexRetriever cannot filter"):
        await ask(made, CascadeQuery(QUESTION, filters={"owner": "str"}))


@both_ways
@pytest.mark.parametrize("wrong", [{"k": 0}, {"k": "3"}, {"deadline": -1}, {"deadline": "x"}])
async def test_bad_limits_of_a_call(ask: Ask, retriever: Any, wrong: dict[str, Any]) -> None:
    """A depth or a deadline that is none is an InputError that names it."""
    with pytest.raises(InputError, match=next(iter(wrong))):
        await ask(retriever, CascadeQuery(QUESTION, **wrong))


@either
@pytest.mark.parametrize("wrong", [{"k": 0}, {"k": "3"}, {"deadline": -1}, {"deadline": "x"}])
@pytest.mark.parametrize("text", [QUESTION, " "])
async def test_bad_limits_of_the_postprocessor(rank: Ask, text: str, wrong: dict[str, Any]) -> None:
    """The same of the postprocessor, for a blank query too."""
    with pytest.raises(InputError, match=next(iter(wrong))):
        await rank(scored(nodes()[:4]), CascadeQuery(text, **wrong))


def without_text() -> list[Any]:
    return [
        ImageNode(id_="image", image_path="a.png"),
        TextNode(id_="empty", text=""),
        TextNode(id_="blank", text=" \n"),
        Node(id_="bare"),
        Node(id_="media", image_resource=MediaResource(path=Path("a.png"))),
        nodes()[0],
    ]


@both_ways
async def test_nodes_without_text_are_retrieved(ask: Ask) -> None:
    """Index, corpus and summary answer with them, each of its own class, after what matches."""
    given = without_text()
    corpus = CascadeRetriever.from_documents(given, k=None)
    stages = [as_stage(SummaryIndex(given)), CrossEncoder(blend=1.0)]
    for made in (corpus, CascadeRetriever(Cascade(stages), k=None)):
        found = await ask(made, nodes()[0].text)
        assert {each.node_id: type(each.node) for each in found} == {
            node.node_id: type(node) for node in given
        }
        assert found[0].node_id == nodes()[0].node_id
        assert {type(each.score) for each in found} == {float}
    assert corpus.corpus is not None
    corpus.corpus.close()


@either
async def test_nodes_without_text_are_ranked(rank: Ask) -> None:
    """The postprocessor reads them as empty, so that what matches comes first."""
    found = await rank(scored(without_text()), query_str=nodes()[0].text)
    assert len(found) == 3
    assert found[0].node_id == nodes()[0].node_id
    assert {type(each.score) for each in found} == {float}


@either
async def test_a_node_without_an_id(rank: Ask) -> None:
    """It is an InputError where nodes are ranked, and where they are retrieved or indexed."""
    nameless = TextNode(id_="", text="split a string")
    with pytest.raises(InputError, match="non-empty string"):
        await rank(scored([nameless, *nodes()[:2]]), query_str=QUESTION)
    made = CascadeRetriever(Cascade([as_stage(SummaryIndex([nameless]))]))
    with pytest.raises(InputError, match="non-empty string"):
        made.retrieve(QUESTION)
    with pytest.raises(InputError, match="non-empty string"):
        await made.aretrieve(QUESTION)
    with pytest.raises(InputError, match="non-empty string"):
        CascadeRetriever.from_documents([nameless])


ODD: list[dict[str, Any]] = [
    {"when": datetime.date(2024, 5, 1)},
    {"seen": {1, 2}},
    {"raw": b"bytes"},
    {"self": object()},
]


@pytest.mark.parametrize("metadata", ODD, ids=lambda each: next(iter(each)))
async def test_metadata_that_is_no_json(metadata: dict[str, Any]) -> None:
    """Nodes that are ranked keep it as it is; a corpus that would lose it refuses it."""
    odd = TextNode(id_="odd", text="split a string", metadata=metadata)
    made = CascadeRetriever(Cascade([as_stage(SummaryIndex([odd])), CrossEncoder()]))
    for found in (
        *await processed(scored([odd]), query_str=QUESTION),
        *await aprocessed(scored([odd]), query_str=QUESTION),
        *made.retrieve(QUESTION),
        *await made.aretrieve(QUESTION),
    ):
        assert metadata.items() <= found.node.metadata.items()
    with pytest.raises(InputError, match="odd"):
        CascadeRetriever.from_documents([odd])


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [(None, "must be a list"), ("text", "must be a list"), (["text"], "nodes or documents")],
)
def test_indexing_what_is_no_node(wrong: Any, fault: str) -> None:
    """What is no list of nodes is an InputError, and nothing is indexed."""
    with pytest.raises(InputError, match=fault):
        CascadeRetriever.from_documents(wrong)


@pytest.mark.parametrize("k", [0, "3", 2.5])
def test_a_bad_depth_is_refused_before_indexing(k: Any, tmp_path: Path) -> None:
    """A depth that is none is a ConfigurationError, and no corpus is made."""
    with pytest.raises(ConfigurationError, match="k must be"):
        CascadeRetriever.from_documents(nodes()[:2], tmp_path / "corpus", k)
    assert not (tmp_path / "corpus").exists()
    with pytest.raises(ConfigurationError, match="k must be"):
        CascadeRetriever.from_retriever(vector_index(), k)


def test_a_bad_argument_leaves_no_open_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An argument that is refused is refused before indexing, and the corpus is closed again."""
    closed: list[Path] = []
    own = Corpus.close
    monkeypatch.setattr(Corpus, "close", lambda self: closed.append(self.path) or own(self))
    with pytest.raises(TypeError, match="topn"):
        CascadeRetriever.from_documents(nodes()[:2], tmp_path / "corpus", topn=3)
    assert closed == [tmp_path / "corpus"]
    with Corpus.open(tmp_path / "corpus") as corpus:
        assert len(corpus) == 0
