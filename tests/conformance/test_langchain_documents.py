"""Points 6, 7, 8: what was given comes back with scores, and is itself untouched."""

from __future__ import annotations

import copy
import datetime
import decimal
import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore

import stepwell as sw
from stepwell.langchain import CascadeCompressor, CascadeRetriever, as_embeddings, as_stage
from tests.conformance.langchain_parts import (
    QUERY,
    cascade_of,
    documents,
    over_corpus,
    over_store,
)

both = pytest.mark.parametrize("make", [over_corpus, over_store])


class Page(Document):
    """A document class of the user's own."""

    number: int = 0


def _odd() -> list[Document]:
    """Documents with what JSON cannot hold."""
    return [
        Page(id="p1", page_content="Rotate the logs with logrotate.", number=7),
        Document(
            page_content="The cat is fed at noon.",
            metadata={
                "when": datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC),
                "price": decimal.Decimal("1.50"),
                "tags": ("a", "b"),
                "seen": {1, 2},
                7: "a key that is a number",
                "big": 2**80,
                "nan": float("nan"),
                "who": {"name": "ada", "file": Path("x.txt")},
            },
        ),
        Document(
            id="s", page_content="A lone \ud800 surrogate about disks.", metadata={"t": "\ud800"}
        ),
    ]


@both
def test_06_kept(make: Any) -> None:
    """Id, text and every metadata item of the source come back."""
    given = {document.id: document for document in documents()}
    found = make().invoke(QUERY, k=10)
    for document in found:
        source = given[document.id]
        assert document.page_content == source.page_content
        assert source.metadata.items() <= document.metadata.items()
        assert document is not source


@both
def test_06_sources_untouched(make: Any) -> None:
    """Asking changes nothing of the documents that were given."""
    before = copy.deepcopy(documents())
    make().invoke(QUERY)
    make().batch([QUERY, "heap"])
    assert documents() == before


class Same(BaseRetriever):
    """A retriever that returns its own objects each time, as LangChain's BM25Retriever does."""

    found: list[Any]

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return list(self.found)


async def test_06_shared_objects_stay_as_they_are() -> None:
    """What a retriever shares, a store holds or a compressor is given is bit for bit the same."""
    given = [*_odd(), *documents()[:6]]
    store = InMemoryVectorStore.from_documents(list(documents()[:9]), as_embeddings())
    before, held = copy.deepcopy(given), copy.deepcopy(store.store)
    kept = [(id(each), id(each.metadata), list(map(id, each.metadata.values()))) for each in given]
    shared = CascadeRetriever.from_retriever(Same(found=given), k=9)
    found = [*shared.invoke("logs"), *await shared.ainvoke("cat"), *shared.batch(["disks"])[0]]
    over = CascadeRetriever.from_retriever(store)
    found += [*over.invoke("heap"), *await over.ainvoke("heap"), *over.batch(["heap"])[0]]
    found += CascadeCompressor(top_n=9).compress_documents(given, "logs")
    found += await CascadeCompressor(top_n=9).acompress_documents(given, "logs")
    for each in found:
        each.metadata["mine"] = each.metadata["relevance_score"]
    assert repr(given) == repr(before)
    assert [type(each) for each in given] == [type(each) for each in before]
    assert kept == [
        (id(each), id(each.metadata), list(map(id, each.metadata.values()))) for each in given
    ]
    assert store.store == held
    assert not {id(each) for each in found} & {id(each) for each in given}


def test_06_what_json_cannot_hold() -> None:
    """In memory, documents come back whole: class, types of metadata, odd keys, odd text."""
    given = _odd()
    retriever = CascadeRetriever.from_documents(given, k=3, score_key=None, detail_key=None)
    found = {each.page_content: each for each in retriever.invoke("logs cat surrogate disks")}
    assert len(found) == 3
    for source in given:
        back = found[source.page_content]
        assert type(back) is type(source)
        assert repr(back.metadata) == repr(source.metadata)
        assert back.metadata is not source.metadata
    assert found[given[0].page_content].number == 7
    assert found[given[0].page_content].id == "p1"
    assert found[given[1].page_content].id


@pytest.mark.parametrize(
    ("filter", "matches"),
    [
        ({"tags": "a"}, True),
        ({"seen": {"$in": [2]}}, True),
        ({"when": {"$gte": "2024-01-01"}}, True),
        ({"who.name": "ada"}, True),
        ({"price": {"$exists": True}}, False),
        ({"when": {"$lt": "2024-01-01"}}, False),
    ],
)
def test_06_filter_sees_what_is_kept(filter: dict[str, Any], matches: bool) -> None:
    """A filter finds the values of such metadata that it can compare."""
    retriever = CascadeRetriever.from_documents(_odd())
    found = retriever.invoke("cat", filter=filter)
    assert [each.page_content for each in found] == ["The cat is fed at noon."] * matches


def test_06_on_disk(tmp_path: Path) -> None:
    """A corpus on disk answers after it was closed, and indexing the same again adds nothing."""
    given = [
        Document(
            page_content="Rotate the logs.", metadata={"team": "sre", "deep": {"n": [1, 2.5]}}
        ),
        Document(page_content="Feed the cat.", id="cat"),
    ]
    first = CascadeRetriever.from_documents(given, tmp_path / "c.stepwell", k=1)
    found = first.invoke("logs")
    first.corpus.close()
    again = CascadeRetriever.from_documents(given, tmp_path / "c.stepwell", k=1)
    assert len(again.corpus) == 2
    assert again.invoke("logs") == found
    assert given[0].metadata.items() <= found[0].metadata.items()
    again.corpus.close()


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        (
            Document(id="d", page_content="x", metadata={"when": datetime.date(2024, 5, 1)}),
            "'when'",
        ),
        (Document(id="d", page_content="x", metadata={7: 1}), "key 7"),
        (Page(id="d", page_content="x"), "is a Page"),
    ],
)
def test_06_on_disk_refuses_what_would_be_lost(
    document: Document, fault: str, tmp_path: Path
) -> None:
    """On disk, what a corpus cannot give back is refused by name, and nothing is written."""
    path = tmp_path / "c.stepwell"
    with pytest.raises(sw.InputError, match=f"'d'.*{fault}"):
        CascadeRetriever.from_documents([document], path)


def test_06_same_id_twice() -> None:
    """Two documents of one id are one if they are the same, and an error if they differ."""
    one, other = (Document(id="a", page_content=text) for text in ("one", "other"))
    assert len(CascadeRetriever.from_documents([one, one]).corpus) == 1
    with pytest.raises(sw.InputError, match="two different documents have the id 'a'"):
        CascadeRetriever.from_documents([one, other])


def test_06_no_id() -> None:
    """A document without an id gets the same one each time; other metadata, another id."""
    given = [Document(page_content="log", metadata={"n": n}) for n in (1, 2)]
    first, again = (CascadeRetriever.from_documents(given).invoke("log") for _ in range(2))
    assert [each.id for each in first] == [each.id for each in again]
    assert len({each.id for each in first}) == 2
    assert all(document.id is None for document in given)


def test_06_no_id_stays_none() -> None:
    """What a retriever returned without an id, or in a class of its own, comes back so."""
    store = InMemoryVectorStore(as_embeddings())
    store.add_documents([documents()[0]])
    given = _odd()
    found = CascadeCompressor().compress_documents(given, "cat")
    assert [each.id for each in found if each.page_content.startswith("The cat")] == [None]
    assert {type(each) for each in found} == {Page, Document}
    assert repr(given) == repr(_odd())


@both
def test_07_scores(make: Any) -> None:
    """The score is a Python float that never rises along the list; all of it is JSON."""
    found = make().invoke(QUERY, k=25)
    scores = [document.metadata["relevance_score"] for document in found]
    assert {type(score) for score in scores} == {float}
    assert scores == sorted(scores, reverse=True)
    assert all(json.loads(document.model_dump_json()) for document in found)
    ranked = CascadeCompressor(top_n=9).compress_documents(list(documents()[:9]), QUERY)
    assert {type(each.metadata["relevance_score"]) for each in ranked} == {float}
    assert all(json.loads(each.model_dump_json()) for each in ranked)


def test_07_keys() -> None:
    """Both keys can be renamed or left out; a key of the source's is not in the way."""
    cascade = over_store().cascade
    renamed = CascadeRetriever(cascade=cascade, score_key="score", detail_key=None).invoke(QUERY)[0]
    assert set(renamed.metadata) == {*documents()[0].metadata, "score"}
    bare = CascadeRetriever(cascade=cascade, score_key=None, detail_key="how").invoke(QUERY)[0]
    assert set(bare.metadata) == {*documents()[0].metadata, "how"}
    stale = [each.model_copy(update={"metadata": {"relevance_score": 9.0}}) for each in documents()]
    fresh = CascadeCompressor(top_n=3).compress_documents(stale, QUERY)
    assert all(each.metadata["relevance_score"] <= 1.0 for each in fresh)


@both
def test_08_detail(make: Any) -> None:
    """Each document says its score and rank by stage; with trace=True what the stages did."""
    retriever = make().model_copy(update={"trace": True})
    detail = retriever.invoke(QUERY, k=3)[0].metadata["stepwell"]
    assert detail["degraded"] is False
    assert detail["ranks"]["cross-encoder"] == 1
    assert set(detail["scores"]) >= {"bi-encoder", "cross-encoder"}
    assert set(detail["ranks"]) >= {"hybrid", "bi-encoder", "cross-encoder"}
    for stage in detail["trace"]["stages"]:
        assert {"name", "status", "n_in", "n_out", "ms"} <= set(stage)
    assert json.loads(json.dumps(detail)) == detail
    assert "trace" not in make().invoke(QUERY)[0].metadata["stepwell"]


def test_08_nested_cascades() -> None:
    """A cascade that recalls from a retriever over another keeps both scores apart."""
    inner = over_store().model_copy(update={"k": 10})
    outer = CascadeRetriever(
        cascade=sw.Cascade([as_stage(inner, name="inner"), sw.CrossEncoder(k=3)]), k=3
    )
    found = outer.invoke(QUERY, filter={"module": "shutil"})
    assert {each.metadata["module"] for each in found} == {"shutil"}
    scores = inner.invoke(QUERY, filter={"module": "shutil"})
    by_id = {each.id: each.metadata["relevance_score"] for each in scores}
    for each in found:
        inner_score = each.metadata["stepwell"]["scores"]["inner"]
        assert inner_score == pytest.approx(by_id[each.id])


def test_10_cascade_of_three_dedupes() -> None:
    """Dedupe in a cascade keeps one of two documents with one text."""
    twins = [Document(id=id, page_content="Rotate the logs.") for id in "ab"]
    cascade = sw.Cascade([sw.Dedupe()])
    assert len(CascadeCompressor(cascade=cascade).compress_documents(twins, "logs")) == 1
    assert len(cascade_of().search(QUERY)) == len(documents())
