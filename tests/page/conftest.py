from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import stepwell as sw

TOPICS = ["logs", "keys", "kitchen", "holidays", "servers", "backups"]
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.fixture(scope="session")
def corpus() -> Iterator[sw.Corpus]:
    with sw.Corpus.temporary() as made:
        made.add(
            sw.Document(
                f"d{at}",
                f"How {topic} are rotated, part {at}. " + f"The {topic} are old. " * (at % 4),
            )
            for at in range(36)
            for topic in [TOPICS[at % len(TOPICS)]]
        )
        yield made


@pytest.fixture(scope="session")
def cascade(corpus: sw.Corpus) -> sw.Cascade:
    """Reads every candidate, so that every setting can be computed from what is recorded."""
    stages = [
        sw.Hybrid([sw.BM25(corpus, 36), sw.Dense(corpus, 36)], 36),
        sw.BiEncoder(corpus, k=36, blend=0.2),
        sw.CrossEncoder(k=6, blend=0.5),
    ]
    return sw.Cascade(stages)


# Not longer than a module: while it runs, it has an event loop in this thread.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with api.sync_playwright() as play:
        # Root, as in containers, has no sandbox.
        started = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens a page of HTML, and fails when it asks for anything else or its script complains."""
    wrong: list[str] = []
    contexts: list[Any] = []

    def open_(html: str, **options: Any) -> Any:
        path = tmp_path / "page.html"
        path.write_text(html, encoding="utf-8")
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("console", lambda said: wrong.append(f"console: {said.text}"))
        page.on(
            "request",
            lambda asked: (
                asked.url.startswith(("file:", "data:")) or wrong.append(f"asked {asked.url}")
            ),
        )
        page.goto(path.as_uri())
        return page

    yield open_
    for context in contexts:
        context.close()
    assert wrong == []
