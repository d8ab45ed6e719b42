from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

# In a process of its own: a tracer provider is set once for all.
CODE = """if True:
    import json, sys
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    from stepwell.server import Service
    from tests.server.serving import post, running

    with running(Service.open(sys.argv[1], model=lambda query, texts: [0.0] * len(texts))) as url:
        spans.clear()
        sent = {"traceparent": "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"}
        assert post(url, "/search", {"query": "sesame logs"}, headers=sent).is_success
        assert post(url, "/v2/rerank", {"query": "sesame"}, headers=sent).status_code == 422
    print("[" + ",".join(each.to_json() for each in spans.get_finished_spans()) + "]")
"""


def test_a_request_is_a_span_and_the_cascades_are_below_it(pages: Path) -> None:
    """They belong to the caller's trace, and none of them holds a text."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, pages],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=True,
    )
    spans = json.loads(done.stdout)
    by_id = {span["context"]["span_id"]: span for span in spans}
    assert {span["context"]["trace_id"] for span in spans} == {"0x" + "ab" * 16}
    for span in spans:
        top = span
        while top["parent_id"] in by_id:
            top = by_id[top["parent_id"]]
        assert top["name"] in ("POST /search", "POST /v2/rerank")
    assert len(spans) > 4
    assert "sesame" not in done.stdout
    assert "logrotate" not in done.stdout
