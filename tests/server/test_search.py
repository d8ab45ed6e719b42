from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from blockbuster import blockbuster_ctx

import stepwell as sw
from stepwell.models import load_scorer
from stepwell.server import Service
from tests.server.serving import QUERY, TEXTS, post, running


def test_search_is_the_cascade(served: str, pages: Path) -> None:
    """The answer is what `Cascade.default` finds, with scores and ranks by stage and the trace."""
    with sw.Corpus.open(pages) as corpus:
        local = sw.Cascade.default(corpus).search(QUERY, k=3)
    answer = post(served, "/search", {"query": QUERY, "k": 3}).json()
    for found, hit in zip(answer["documents"], local.hits, strict=True):
        assert found["id"] == hit.id
        assert found["text"] == hit.document.text
        assert found["metadata"] == dict(hit.document.metadata)
        assert found["score"] == pytest.approx(hit.score, rel=1e-6)
        assert found["scores"] == pytest.approx(dict(hit.scores), rel=1e-6)
        assert found["ranks"] == dict(hit.ranks)
    assert answer["degraded"] is False
    stages = [each["name"] for each in answer["trace"]["stages"]]
    assert stages == ["hybrid", "bi-encoder", "cross-encoder"]
    assert not any(found["text"] in str(answer["trace"]) for found in answer["documents"])


def test_filter_and_blank(served: str) -> None:
    """Only what the filter allows is answered; a blank query and k beyond the corpus are fine."""
    asked = {"query": "logs", "filter": {"team": "office"}, "k": 100}
    assert [each["id"] for each in post(served, "/search", asked).json()["documents"]] == ["d0"]
    several = {"$and": [{"page": {"$gte": 1, "$lt": 4}}, {"$not": {"page": {"$in": [3]}}}]}
    found = post(served, "/search", {"query": "logs", "filter": several}).json()["documents"]
    assert [each["id"] for each in found] == ["d1"]
    assert post(served, "/search", {"query": " "}).json()["documents"] == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"query": "q", "filter": {"a": {"$like": 1}}}, "unknown filter operator '$like'"),
        ({"query": "q", "filter": {"a": [1]}}, "a string, number, boolean or date"),
        ({"query": "q", "filter": "a"}, "filter: must be an object"),
        ({"query": "q", "k": 0}, "k: must be at least 1"),
        ({"query": "q", "k": 2.5}, "k: must be a whole number"),
        ({"query": "q", "k": "3"}, "k: must be a whole number"),
        ({"query": "q", "deadline": 0}, "deadline: must be at least 0.001"),
        ({"query": "q", "deadline": 601}, "deadline: must be at most 600"),
        ({"query": "q", "deadline": "1s"}, "deadline: must be a number"),
        ({"query": None}, "query: must be a string"),
        ({}, "query: is missing"),
        ({"query": "q", "filters": {"team": "sre"}}, "'filters'; did you mean 'filter'?"),
        ({"query": "q", "deadline_ms": 500}, "'deadline_ms'; did you mean 'deadline'?"),
        ({"query": "q", "kk": 3}, "'kk'; did you mean 'k'?"),
        ({"query": "q", "top": 3}, "no field 'top'; there are: query, k, filter, deadline"),
        ([], "the body is no object; send a JSON object"),
    ],
)
def test_what_cannot_be_searched(served: str, body: Any, message: str) -> None:
    """A request that cannot be honoured is a 422 that names what is wrong, unknown fields too."""
    for path in ("/search", "/trace"):
        answer = post(served, path, body)
        assert answer.status_code == 422
        assert answer.json()["type"] == "invalid"
        assert message in answer.json()["message"]


def test_a_deadline_that_is_over_degrades_the_answer(served: str) -> None:
    """Recall answers, what was to re-score it is skipped, and the answer says so."""
    answer = post(served, "/search", {"query": "logs at night", "deadline": 0.001}).json()
    assert answer["degraded"] is True
    assert answer["documents"]
    statuses = {each["name"]: each["status"] for each in answer["trace"]["stages"]}
    assert statuses["cross-encoder"] == "skipped"


def test_the_servers_own_deadline(pages: Path) -> None:
    """A search that names none gets the server's, and none gets more than that."""
    with running(Service.open(pages, deadline=60)) as url:
        for asked, allowed in (
            ({}, 60_000),
            ({"deadline": 30}, 30_000),
            ({"deadline": 90}, 60_000),
        ):
            answer = post(url, "/search", {"query": "logs", **asked}).json()
            assert answer["trace"]["deadline_ms"] == allowed
    with running(Service.open(pages, deadline=1e-5)) as url:
        assert post(url, "/search", {"query": "logs"}).json()["degraded"] is True


def test_without_a_corpus(pages: Path) -> None:
    """A server that only reranks says how to start one that searches."""
    with running(Service(load_scorer())) as url:
        answer = post(url, "/search", {"query": "logs"})
        assert (answer.status_code, answer.json()["type"]) == (404, "no_corpus")
        assert post(url, "/v2/rerank", {"query": "q", "documents": ["a"]}).is_success


def test_a_change_is_searched(tmp_path: Path) -> None:
    """What another process adds to the corpus is found without a restart."""
    place = tmp_path / "growing.stepwell"
    sw.Corpus.open(place).close()
    with running(Service.open(place)) as url:
        assert post(url, "/search", {"query": "zebra"}).json()["documents"] == []
        with sw.Corpus.open(place) as corpus:
            corpus.add([sw.Document("z", "A zebra has stripes.")])
        found = post(url, "/search", {"query": "zebra"}).json()["documents"]
        assert [each["id"] for each in found] == ["z"]


def test_search_and_rerank_share_the_model(pages: Path) -> None:
    """`model` is what both read with."""

    def length(query: str, passages: list[str]) -> list[float]:
        return [float(len(each)) for each in passages]

    with running(Service.open(pages, model=length)) as url:
        found = post(url, "/search", {"query": "logs"}).json()["documents"]
        assert all(each["scores"]["cross-encoder"] == len(each["text"]) for each in found)
        ranks = post(url, "/rerank", {"query": "q", "texts": ["abc"], "raw_scores": True}).json()
        assert ranks == [{"index": 0, "score": 3.0}]


def test_nothing_blocks_the_loop(pages: Path) -> None:
    """No request reads a file, waits for a lock or sleeps where others are answered."""
    with blockbuster_ctx(), running(Service.open(pages)) as url:
        for path, body in (
            ("/search", {"query": QUERY, "filter": {"team": "sre"}}),
            ("/v2/rerank", {"query": QUERY, "documents": TEXTS}),
            ("/rerank", {"query": QUERY, "texts": TEXTS}),
            ("/search", {"query": QUERY, "filter": {"$no": 1}}),
        ):
            assert post(url, path, body).status_code == (422 if "$no" in str(body) else 200), path
        assert httpx.get(f"{url}/metrics").is_success
