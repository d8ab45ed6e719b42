"""A rerank API's requests, seen by httpx's own instrumentation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from stepwell import Cascade, CrossEncoder
from stepwell.stages.guarded import Guarded
from tests.remote.server import QUERY, TEXTS, serving
from tests.telemetry.conftest import Kept

pytest.importorskip("tenacity", reason="the extra remote is not installed")
instrumentation = pytest.importorskip(
    "opentelemetry.instrumentation.httpx", reason="httpx's instrumentation is not installed"
)
from stepwell.remote import RemoteReranker  # noqa: E402

WAYS: dict[str, Callable[[Cascade], Any]] = {
    "rank": lambda cascade: cascade.rank(QUERY, TEXTS),
    "arank": lambda cascade: asyncio.run(cascade.arank(QUERY, TEXTS)),
}


@pytest.fixture
def httpx_seen(sdk: Kept) -> Iterator[Kept]:
    instrumentor = instrumentation.HTTPXClientInstrumentor()
    instrumentor.instrument()
    yield sdk
    instrumentor.uninstrument()


def parent(kept: Kept, span: ReadableSpan) -> ReadableSpan:
    assert span.parent is not None
    (found,) = [
        each for each in kept.spans if each.get_span_context().span_id == span.parent.span_id
    ]
    return found


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("guarded", [False, True])
def test_each_request_lies_below_the_stage(httpx_seen: Kept, way: str, guarded: bool) -> None:
    """Two failures and an answer are three requests below the stage's span, and two retries."""
    with serving("tei", 503, 503) as server:
        stage: Any = CrossEncoder(RemoteReranker("tei", url=server.url), name="remote")
        result = WAYS[way](Cascade([Guarded(stage) if guarded else stage]))
    assert not result.degraded
    requests = httpx_seen.named("POST")
    assert len(requests) == 3
    for request in requests:
        assert parent(httpx_seen, request).name == "stepwell.stage remote"
    assert httpx_seen.total("stepwell.remote.retries", remote_api="tei") == 2


@pytest.mark.parametrize(
    ("fault", "told"),
    [(401, "RemoteError 4xx"), (500, "RemoteError 5xx"), (b"[", "RemoteError 2xx")],
)
def test_a_metric_has_the_class_of_the_status(sdk: Kept, fault: Any, told: str) -> None:
    """Of which there are few; not the server's words."""
    with serving("tei", fault) as server:
        server.words = "the basilisk is away"
        stage = CrossEncoder(RemoteReranker("tei", url=server.url, attempts=1))
        assert Cascade([stage]).rank(QUERY, TEXTS).degraded
    assert sdk.total("stepwell.stage.degraded", stage_reason=told) == 1
    assert "basilisk" not in sdk.reader.get_metrics_data().to_json()  # type: ignore[union-attr]


def test_a_server_that_is_not_there_has_no_status(sdk: Kept) -> None:
    """Its reason is the error's type alone."""
    stage = CrossEncoder(RemoteReranker("tei", url="http://127.0.0.1:9", attempts=1))
    assert Cascade([stage]).rank(QUERY, TEXTS).degraded
    assert sdk.total("stepwell.stage.degraded", stage_reason="RemoteError") == 1
