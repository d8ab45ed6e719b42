from __future__ import annotations

import re
import subprocess
import sys

import httpx

from stepwell.models import load_scorer
from stepwell.server import Service
from tests.server.serving import post, running

REQUEST = re.compile(r"^http_server_request_duration_seconds_count\{(.*)\} (\S+)$", re.MULTILINE)


def counted(page: str) -> dict[tuple[str, str, str], float]:
    """How often each method, route and status was answered."""
    found: dict[tuple[str, str, str], float] = {}
    for labels, value in REQUEST.findall(page):
        read = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        key = (
            read["http_request_method"],
            read.get("http_route", ""),
            read["http_response_status_code"],
        )
        found[key] = found.get(key, 0.0) + float(value)
    return found


def test_requests_are_counted_by_route_and_status() -> None:
    """Each answer is in a histogram of seconds under its route, refusals included, no text is."""
    with running(Service(load_scorer())) as url:
        for _ in range(2):
            post(url, "/v2/rerank", {"query": "sesame", "documents": ["poppy"]})
        post(url, "/v2/rerank", {"query": "sesame"})
        post(url, "/search", {"query": "sesame"})
        httpx.get(f"{url}/sesame")
        answer = httpx.get(f"{url}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = counted(answer.text)
    assert found["POST", "/v2/rerank", "200"] == 2
    assert found["POST", "/v2/rerank", "422"] == 1
    assert found["POST", "/search", "404"] == 1
    assert found["GET", "", "404"] == 1
    assert 'le="0.005"' in answer.text
    assert "sesame" not in answer.text
    assert "poppy" not in answer.text


def test_two_servers_count_apart() -> None:
    """Each application has a registry of its own."""
    with running(Service(load_scorer())) as one, running(Service(load_scorer())) as other:
        post(one, "/v2/rerank", {"query": "q", "documents": []})
        assert ("POST", "/v2/rerank", "200") in counted(httpx.get(f"{one}/metrics").text)
        assert ("POST", "/v2/rerank", "200") not in counted(httpx.get(f"{other}/metrics").text)


def test_the_command_shows_what_the_cascade_counts(served: str) -> None:
    """Stepwell's own measures of stages and models are on the page of `stepwell serve`."""
    post(served, "/search", {"query": "logs"})
    page = httpx.get(f"{served}/metrics").text
    assert re.search(r"^stepwell_\w+_seconds_count\{", page, re.MULTILINE)


def test_the_command_line_loads_no_server() -> None:
    """`stepwell --help` imports neither FastAPI nor an SDK."""
    code = (
        "import sys, stepwell.cli; print([m for m in ('fastapi', 'uvicorn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
