"""A search that an agent asks for, below the span of its call."""

from __future__ import annotations

import pytest

from stepwell import Cascade
from stepwell.documents import InMemory
from tests.telemetry.cascades import DOCUMENTS, Recall
from tests.telemetry.conftest import Kept

mcp = pytest.importorskip("mcp", reason="the extra mcp is not installed")


async def test_below_the_call_of_the_tool(sdk: Kept) -> None:
    """The SDK's own span of the tool's call is the parent of the cascade's."""
    from stepwell.mcp import create_server

    server = create_server(Cascade([Recall()]), InMemory(DOCUMENTS))
    async with mcp.Client(server) as client:
        await client.call_tool("search", {"query": "q"})
    own = sdk.one("stepwell.cascade")
    assert own.parent is not None
    (above,) = [span for span in sdk.spans if span.get_span_context().span_id == own.parent.span_id]
    assert (above.attributes or {})["gen_ai.tool.name"] == "search"
