"""The report as a page, in a real browser."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepwell import BM25, Candidates, Cascade, Corpus, CrossEncoder, Document, stage
from stepwell.evaluate import Dataset, evaluate
from stepwell.evaluate.charts import deltas
from stepwell.evaluate.markdown import report_markdown
from stepwell.evaluate.page import report_page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
ODD = '<b onclick="x">&'


def odd_report(**options: Any):
    """A report with a funnel, a baseline, and an id that is no HTML."""

    @stage(name=ODD, decides=False)
    def shuffled(candidates: Candidates) -> Candidates:
        values = [float(hash_of(id)) for id in candidates.ids]
        return candidates.scored(ODD, np.array(values)).top(15)

    with Corpus.temporary(encoder=None) as corpus:
        corpus.add(Document(f"d{n}", f"logs part {n}") for n in range(40))
        queries = {**{f"q{n}": f"logs {n}" for n in range(20)}, ODD: "logs 21"}
        qrels = {id: {f"d{at}": 1, f"d{at + 9}": 2} for at, id in enumerate(queries)}
        dataset = Dataset("set", queries, qrels)
        before = evaluate(Cascade([BM25(corpus, 30)]), dataset, preset=f"before {ODD}")
        read = CrossEncoder(lambda query, texts: [len(t) for t in texts], k=5, name="read")
        cascade = Cascade([BM25(corpus, 30), shuffled, read])
        return evaluate(cascade, dataset, with_funnel=True, baseline=before, **options)


def hash_of(id: str) -> int:
    return (int(id[1:]) * 7919) % 101


def test_the_page_stands_alone() -> None:
    """It names no address, has no script, and shows what is no HTML as text."""
    text = report_page(odd_report())
    assert "<script" not in text
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\(", text)
    assert ODD not in text
    assert "&lt;b onclick=&quot;x&quot;&gt;&amp;" in text


def test_the_markdown_is_tables() -> None:
    """Every table has as many cells in each row, whatever an id holds."""
    text = report_markdown(odd_report(preset="a|b"))
    assert text.startswith("# set, a\\|b, 21 queries\n")
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        rows = table.strip().splitlines()
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1


def test_ten_thousand_queries_make_a_small_plot() -> None:
    """A plot of each query's change stays small, and keeps the ends."""
    plot = deltas("changes", np.linspace(-0.5, 0.25, 10_000).tolist())
    assert plot.count("<rect") == 500
    assert "at most 0.50 either way" in plot


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with api.sync_playwright() as play:
        # Root, as in containers, has no sandbox.
        started = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 400)])
def test_the_page_in_a_browser(browser, tmp_path: Path, scheme: str, width: int) -> None:
    """It asks for nothing, fits a phone, is readable in light and dark, and draws its plots."""
    (tmp_path / "r.html").write_text(report_page(odd_report()))
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda said: asked.append(said.text))
    page.goto((tmp_path / "r.html").as_uri())
    assert len(asked) == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    titles = page.locator("svg > title").all_text_contents()
    assert any("after each stage" in title for title in titles)
    assert any("dropped, by their place" in title for title in titles)
    assert page.locator("svg rect").count() > 30
    flat = "el => el.getBoundingClientRect().width"
    assert min(page.locator("svg").evaluate_all(f"all => all.map({flat})")) > 300
    colours = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    ink, back = (sum(map(int, re.findall(r"\d+", each)[:3])) for each in colours)
    assert (ink < back) == (scheme == "light")
    assert abs(ink - back) > 450
    # No label of a plot runs into the next one.
    overlaps = page.evaluate(OVERLAPS)
    assert overlaps == []
    page.close()


OVERLAPS = """
[...document.querySelectorAll('svg')].flatMap(svg => {
  const boxes = [...svg.querySelectorAll('text')].map(
    t => [t.getBoundingClientRect(), t.textContent]);
  return boxes.flatMap(([a, x], i) => boxes.slice(i + 1)
    .filter(([b]) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1
                     && b.top < a.bottom - 1)
    .map(([b, y]) => x + ' / ' + y));
})
"""
