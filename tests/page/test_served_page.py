"""The page at the root of `stepwell serve`, in a real browser over a real server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from tests.server.serving import command, small_corpus

KEY = "sk-a-key-of-the-page"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_corpus(tmp_path_factory.mktemp("pages"))


@pytest.fixture(scope="module")
def served(pages: Path) -> Iterator[str]:
    with command(pages) as told:
        told.ready()
        yield told.url


@pytest.fixture(scope="module")
def locked(pages: Path) -> Iterator[str]:
    with command(pages, STEPWELL_SERVE_KEY=KEY) as told:
        told.ready()
        yield told.url


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context()
    made = context.new_page()
    made.set_default_timeout(30_000)
    yield made
    context.close()


def test_a_search_from_the_box_shows_what_search_finds(served: str, page: Any) -> None:
    """Typing a question and Enter shows the hits of `/search`, in its order, and the stages."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(served)
    page.fill("#query", "how are old logs removed")
    page.press("#query", "Enter")
    page.wait_for_selector("#answer li")
    found = httpx.post(served + "/search", json={"query": "how are old logs removed"}).json()
    ids = [each["id"] for each in found["documents"]]
    assert page.locator("#answer > li > button").all_inner_texts() == ids
    assert page.locator("#stages tbody tr").count() >= 3
    assert all(url.startswith((served, "data:")) for url in asked)


def test_a_second_search_replaces_the_first(served: str, page: Any) -> None:
    """Answers, drawing and what was told are the last question's."""
    page.goto(served)
    for query in ("logs", "keys"):
        page.fill("#query", query)
        page.press("#query", "Enter")
        page.wait_for_function("(query) => view !== null && view.query === query", arg=query)
    assert page.inner_text("#asked") == "keys"
    assert page.inner_text("#told") == ""


def test_a_locked_server_asks_for_its_key(locked: str, page: Any) -> None:
    """The page is open, the search is not: a field for the key appears, and the key opens it."""
    page.goto(locked)
    page.fill("#query", "logs")
    page.press("#query", "Enter")
    page.wait_for_selector("#key:visible")
    assert "send the key" in page.inner_text("#state")
    assert not page.locator("#main").is_visible()
    page.fill("#key", KEY)
    page.press("#key", "Enter")
    page.wait_for_selector("#answer li")
    assert KEY not in page.content()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("key", ["", KEY])
def test_a_server_that_only_reranks_says_how_to_ask_it(page: Any, key: str) -> None:
    """There is no search box, and the command on the page, run as it stands, gets a ranking."""
    env = {"STEPWELL_SERVE_KEY": key} if key else {}
    with command(**env) as told:
        told.ready()
        page.goto(told.url)
        assert not page.locator("#ask").is_visible()
        assert "reranks" in page.inner_text("#reranks")
        line = page.inner_text("#example")
        assert ("Authorization" in line) == bool(key)
        done = subprocess.run(
            ["bash", "-c", line], capture_output=True, check=True, env={**os.environ, **env}
        )
    assert [each["index"] for each in json.loads(done.stdout)["results"]] == [1, 0]


@pytest.mark.parametrize("width", [375, 1280])
def test_each_field_of_the_form_is_beside_its_label(served: str, page: Any, width: int) -> None:
    """Label and box are on one line, and inside the screen."""
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(served)
    for name in ("query", "wanted", "deadline"):
        label = page.locator(f'label[for="{name}"]').bounding_box()
        box = page.locator(f"#{name}").bounding_box()
        assert label["y"] < box["y"] + box["height"] / 2 < label["y"] + label["height"]
        assert label["x"] + label["width"] <= box["x"]
        assert box["x"] + box["width"] <= width


def test_what_the_server_refuses_is_said(served: str, page: Any) -> None:
    """A question that is too long gives the server's words, and no answer."""
    page.goto(served)
    page.fill("#query", "long " * 20_000)
    page.press("#query", "Enter")
    page.wait_for_function("document.getElementById('state').textContent.startsWith('No answer')")
    assert not page.locator("#main").is_visible()


def test_trace_holds_every_candidate(served: str) -> None:
    """`POST /trace` has the order of each stage by place in `ids`, and the texts of the answer."""
    found = httpx.post(served + "/trace", json={"query": "logs", "k": 2}).json()
    assert len(found["answered"]) == 2
    for stage in found["stages"]:
        assert len(stage["out"]) == len(stage["score"]) == stage["n_out"]
        assert all(0 <= at < len(found["ids"]) for at in stage["out"])
    assert set(found["documents"]) == {str(at) for at in found["answered"]}
