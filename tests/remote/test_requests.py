"""How passages go in requests: how large, how many at a time, and what a failure costs."""

from __future__ import annotations

import math
import socket
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import stepwell as sw
from stepwell.models.pair_cache import CachedScorer
from stepwell.remote import RemoteReranker
from stepwell.remote.passages import BYTES_PER_TOKEN, parts
from stepwell.remote.shapes import SHAPES
from tests.remote.server import QUERY, SECRET, TEXTS, expected, serving

MANY = [f"rotate number {at}" if at % 3 else f"the logs {at}" for at in range(12)]
DOCUMENTS = [sw.Document(str(at), text) for at, text in enumerate(MANY)]


def _unscored(values: Any) -> list[int]:
    return np.flatnonzero(np.isnan(values)).tolist()


@pytest.mark.parametrize("concurrency", [1, 3])
def test_requests_of_one_call_go_side_by_side(concurrency: int) -> None:
    """As many requests as allowed are under way at a time, no more, and each score is in place."""
    with serving("tei") as server:
        server.fault_of = lambda _: 0.1
        scorer = RemoteReranker("tei", url=server.url, batch=1, concurrency=concurrency)
        made = scorer.score(QUERY, MANY[:7])
    assert made.values.tolist() == pytest.approx(expected(MANY[:7]), abs=1e-4)
    assert server.most == concurrency


def test_a_busy_server_is_asked_one_at_a_time() -> None:
    """After one 429 no two requests of the call are begun side by side."""
    with serving("tei", 429) as server:
        scorer = RemoteReranker("tei", url=server.url, batch=1)
        begun: list[int] = []

        def slow(_: Any) -> Any:
            begun.append(server.under_way)
            return 429 if len(begun) == 1 else 0.05

        server.fault_of = slow
        assert not _unscored(scorer.score(QUERY, MANY).values)
    assert len(begun) == len(MANY) + 1
    assert begun[6:] == [1] * (len(MANY) - 5)


def test_stop_is_asked_before_each_request() -> None:
    """Told to stop after two, it sends two, keeps their scores and leaves the rest."""
    asked: list[bool] = []

    def stop() -> bool:
        asked.append(len(asked) >= 2)
        return asked[-1]

    with serving("tei") as server:
        made = RemoteReranker("tei", url=server.url, batch=3, concurrency=1).score(
            QUERY, MANY, stop=stop
        )
    assert len(server.requests) == 2
    assert _unscored(made.values) == list(range(6, 12))
    assert made.failure is None


def _fails_at(text: str, status: int) -> Any:
    return lambda body: status if text in body["texts"] else None


@pytest.mark.parametrize("concurrency", [1, 4])
def test_what_came_before_a_failure_is_kept(concurrency: int) -> None:
    """Scores up to the request that failed stay, none after it, and the failure is told."""
    with serving("tei") as server:
        server.fault_of = _fails_at(MANY[4], 400)
        scorer = RemoteReranker("tei", url=server.url, batch=3, concurrency=concurrency)
        made = scorer.score(QUERY, MANY)
        assert _unscored(made.values) == list(range(3, 12))
        assert made.failure is not None
        assert made.failure.status == 400
        server.fault_of = _fails_at(MANY[1], 400)
        with pytest.raises(sw.RemoteError, match="answered 400"):
            scorer.score(QUERY, MANY)


@pytest.mark.parametrize("cache", [False, True])
def test_a_cascade_goes_on_with_what_was_scored(cache: bool) -> None:
    """The scored come first, the rest follows in its order, and the trace says why."""
    with serving("tei") as server:
        server.fault_of = _fails_at(MANY[7], 400)
        scorer = RemoteReranker("tei", url=server.url, batch=6)
        stage = sw.CrossEncoder(scorer, k=None, blend=1.0, cache=cache)
        assert isinstance(stage.scorer, CachedScorer) is cache
        result = sw.Cascade([stage]).rank(QUERY, DOCUMENTS)
        assert sorted(result.ids[:6]) == ["0", "1", "2", "3", "4", "5"]
        assert result.ids[6:] == ["6", "7", "8", "9", "10", "11"]
        scores = [hit.score for hit in result.hits]
        assert scores == sorted(scores, reverse=True)
        (record,) = result.trace.records
        assert result.degraded
        assert record.status == "partial"
        assert record.reason.startswith("RemoteError: tei at http")
        assert "answered 400: " in record.reason
        assert record.reason.endswith("; 6 not scored")
        assert isinstance(record.error, sw.RemoteError)
        assert record.notes["unscored"] == 6


def test_a_part_of_the_scores_is_a_failure_for_who_wants_all() -> None:
    """A policy to raise raises, a fallback takes over, a breaker opens: the part is not passed."""
    with serving("tei") as server:
        server.fault_of = _fails_at(MANY[7], 400)
        stage = sw.CrossEncoder(RemoteReranker("tei", url=server.url, batch=6), name="remote")
        with pytest.raises(sw.RemoteError, match="answered 400"):
            sw.Cascade([stage], on_failure={"remote": "raise"}).rank(QUERY, DOCUMENTS)
        fallback = sw.CrossEncoder(lambda _, texts: [1.0] * len(texts), name="local")
        result = sw.Cascade([sw.Guarded(stage, fallback)]).rank(QUERY, DOCUMENTS)
        assert set(result.hits[0].scores) == {"local"}
        guarded = sw.Guarded(stage, failures=1, rest=60.0)
        sw.Cascade([guarded]).rank(QUERY, DOCUMENTS)
        asked = len(server.requests)
        sw.Cascade([guarded]).rank(QUERY, DOCUMENTS)
        assert len(server.requests) == asked


REFUSALS = {
    "vllm": (
        400,
        "This model's maximum context length is 512 tokens. However, you requested 1203 tokens in "
        "the input for score. Please reduce the length of the input.",
    ),
    "llama.cpp": (
        500,
        "input (700 tokens) is too large to process. increase the physical batch size "
        "(current batch size: 512)",
    ),
}


@pytest.mark.parametrize("api", list(REFUSALS))
def test_a_passage_that_is_too_long_for_the_server_spoils_no_other(api: str) -> None:
    """Where a server refuses a request for one long text, it is cut until it fits, and counted."""
    status, words = REFUSALS[api]
    texts = ["the logs " * 400, *TEXTS]

    with serving(api) as server:
        server.words = words
        server.fault_of = lambda body: status if max(map(len, body["documents"])) > 1000 else None
        scorer = RemoteReranker(api, url=server.url)
        documents = [sw.Document(str(at), text) for at, text in enumerate(texts)]
        result = sw.Cascade([sw.CrossEncoder(scorer, blend=1.0)]).rank(QUERY, documents)
        sent = server.requests[-1]["documents"]
    assert [len(text) for text in sent[1:]] == [len(text) for text in TEXTS]
    assert 450 < len(sent[0]) <= 1000
    assert texts[0].startswith(sent[0])
    (record,) = result.trace.records
    assert (record.status, record.notes["truncated"]) == ("ok", 1)
    assert len(server.requests) == 3


def test_a_server_that_finds_everything_too_long_is_asked_few_times() -> None:
    """Where cutting does not help, the server's words come as an error after a few requests."""
    with serving("llama.cpp") as server:
        server.words = REFUSALS["llama.cpp"][1]
        server.fault_of = lambda _: 500
        with pytest.raises(sw.RemoteError, match="too large to process") as e:
            RemoteReranker("llama.cpp", url=server.url).score(QUERY, ["x " * 50_000])
        assert e.value.status == 500
        assert len(server.requests) < 10


@given(
    texts=st.lists(st.text(max_size=40), max_size=30),
    query=st.text(max_size=20),
    most=st.integers(1, 9),
    tokens=st.integers(1, 60) | st.none(),
)
def test_parts_hold_what_a_request_may(
    texts: list[str], query: str, most: int, tokens: int | None
) -> None:
    """Every passage is in one part, in order, and no part but a lone one is above the limits."""
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    query = query.encode("utf-8", "replace").decode()
    told = list(range(len(texts)))
    made = list(parts(query, texts, told, most=most, tokens=tokens))
    assert [at for part in made for at in part] == told
    for part in made:
        assert 1 <= len(part) <= most
        size = sum(len((query + texts[at]).encode()) // BYTES_PER_TOKEN for at in part)
        assert len(part) == 1 or tokens is None or size <= tokens


def test_voyage_gets_no_more_tokens_than_it_takes() -> None:
    """A hundred long passages go to Voyage in several requests below its limit of tokens."""
    assert SHAPES["voyage"].tokens == 300_000
    texts = ["word " * 3000] * 100
    with serving("voyage") as server:
        values = RemoteReranker("voyage", url=server.url, key=SECRET).score(QUERY, texts).values
    assert not _unscored(values)
    sizes = [sum(map(len, each["documents"])) for each in server.requests]
    assert len(sizes) == 2
    assert max(sizes) <= 300_000 * BYTES_PER_TOKEN


def _cosines(answer: Any) -> Any:
    results = [each | {"relevance_score": -0.25} for each in answer["results"]]
    return answer | {"results": results}


def test_cosines_are_a_kind_of_their_own() -> None:
    """Jina's v3 is known to answer cosines, any server can be said to, and beyond 1 is refused."""
    with serving("jina", _cosines) as server:
        scorer = RemoteReranker("jina", "jina-reranker-v3", url=server.url, key=SECRET)
        assert scorer.kind == "similarity"
        assert scorer.score(QUERY, TEXTS).values.tolist() == [-0.25] * 4
        server.faults += [_cosines]
        with pytest.raises(sw.ModelError, match=r"outside 0 to 1.*'similarity'"):
            RemoteReranker("jina", url=server.url, key=SECRET).score(QUERY, TEXTS)
        server.fault_of = lambda _: (
            lambda answer: (
                answer
                | {"results": [each | {"relevance_score": -1.5} for each in answer["results"]]}
            )
        )
        with pytest.raises(sw.ModelError, match="outside -1 to 1"):
            RemoteReranker("jina", url=server.url, key=SECRET, kind="similarity").score(
                QUERY, TEXTS
            )
        logits = RemoteReranker("jina", "jina-reranker-v3", url=server.url, key="k", kind="logit")
        assert logits.score(QUERY, TEXTS).values.tolist() == [-1.5] * 4


def test_nothing_is_asked_after_the_deadline() -> None:
    """A deadline that is over before the first request sends none."""

    class Over:
        deadline = time.monotonic() - 1

        def __call__(self) -> bool:
            return False

    with serving("tei") as server:
        made = RemoteReranker("tei", url=server.url).score(QUERY, TEXTS, stop=Over())
    assert all(math.isnan(value) for value in made.values)
    assert server.requests == []


def test_a_warm_reranker_has_its_connection_before_the_first_query() -> None:
    """It is opened without the key and without a request that ranks, and the query uses it."""
    with serving("cohere") as server:
        scorer = RemoteReranker("cohere", url=server.url, key=SECRET, headers={"X-Gate": "gate-1"})
        scorer.warm()
        assert (server.connections, server.requests) == (1, [])
        (greeting,) = server.greeted
        assert not {"Authorization", "X-Gate"} & greeting.keys()
        assert scorer.score(QUERY, TEXTS).values.tolist() == pytest.approx(expected())
        assert server.connections == 1
        scorer.close()


def test_a_server_that_is_away_is_not_missed_before_the_first_query() -> None:
    """Warming what does not answer, or not in time, raises nothing."""
    RemoteReranker("tei", url="http://127.0.0.1:9").warm()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        RemoteReranker("tei", url=url, timeout=0.2).warm()
