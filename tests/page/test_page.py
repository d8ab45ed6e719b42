from __future__ import annotations

import html
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import stepwell as sw
from stepwell.page import page_of

Opened = Callable[..., Any]
QUERY = "how are old logs rotated"


@pytest.fixture(scope="module")
def result(cascade: sw.Cascade) -> sw.Result:
    return cascade.search(QUERY)


def test_a_page_shows_question_stages_and_answer(result: sw.Result, opened: Opened) -> None:
    """Question, every stage with its counts, every hit with its text, and matched terms marked."""
    page = opened(result.to_html())
    assert page.inner_text("#asked") == QUERY
    rows = page.locator("#stages tbody tr").all_inner_texts()
    assert [row.split("\t")[0] for row in rows] == [
        "hybrid",
        "bm25",
        "dense",
        "bi-encoder",
        "cross-encoder",
    ]
    assert page.locator("#answer > li > button").all_inner_texts() == result.ids
    for item, hit in zip(page.locator("#answer > li").all(), result.hits, strict=True):
        assert hit.document.text[:25] in item.inner_text()
    marks = {text.lower() for text in page.locator("mark").all_inner_texts()}
    assert marks == {"rotated", "logs", "old"}


def test_a_trace_alone_makes_a_page_without_any_text(result: sw.Result, opened: Opened) -> None:
    """`trace.to_html` holds neither the question nor a passage, only ids."""
    made = result.trace.to_html()
    assert QUERY not in made
    assert "are rotated, part" not in made
    page = opened(made)
    assert page.locator("#answer > li > button").all_inner_texts() == result.ids


def test_sliders_compute_what_a_cascade_with_these_settings_answers(
    corpus: sw.Corpus, result: sw.Result, opened: Opened
) -> None:
    """For random depths and blends the page's order and scores are those of a real run."""
    page = opened(result.to_html())
    chance = random.Random(7)
    for _ in range(12):
        depths = [chance.randint(1, 36), chance.randint(1, 36), chance.randint(1, 12)]
        blends = [round(chance.random(), 2), chance.choice([0.0, round(chance.random(), 2), 1.0])]
        real = sw.Cascade(
            [
                sw.Hybrid([sw.BM25(corpus, 36), sw.Dense(corpus, 36)], depths[0]),
                sw.BiEncoder(corpus, depths[1], blend=blends[0]),
                sw.CrossEncoder(k=depths[2], blend=blends[1]),
            ]
        ).search(QUERY)
        settings = [{"k": depths[0]}, *({"k": k, "blend": b} for k, b in zip(depths[1:], blends))]
        run = page.evaluate("(settings) => replay(settings)", settings)
        ids = page.evaluate("view.ids")
        assert [ids[doc] for doc in run[-1]["out"]] == real.ids
        assert run[-1]["score"] == pytest.approx([hit.score for hit in real.hits], abs=1e-9)


def test_what_a_stage_did_not_read_stays_below_as_it_did(corpus: sw.Corpus, opened: Opened) -> None:
    """With the recorded settings the page gets the recorded scores and drops, of a stage too that
    read only its best candidates."""
    stages = [sw.BM25(corpus, 36), sw.CrossEncoder(k=15, depth=8, blend=1.0)]
    result = sw.Cascade([*stages, sw.TopK(12)]).search(QUERY)
    page = opened(result.to_html())
    run = page.evaluate("replay(settings)")
    ids = page.evaluate("view.ids")
    for column, record in zip(run, result.trace.records, strict=True):
        assert [ids[doc] for doc in column["out"]] == record.ids.tolist()
        assert column["score"] == pytest.approx(record.score.tolist(), abs=1e-9)
    for id in ids:
        told = page.evaluate("(id) => why(view.ids.indexOf(id), replay(settings))", id)
        assert told.rstrip(".") == str(result.trace.why(id))


def test_a_slider_is_turned_by_keyboard(result: sw.Result, opened: Opened) -> None:
    """Arrow keys on a focused slider change the answer, and a button brings the old one back."""
    page = opened(result.to_html())
    page.focus('input[data-stage="cross-encoder"][data-option="k"]')
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#answer > li").count() == 4
    assert page.inner_text("#turned").startswith("In: none. Out: ")
    page.get_by_role("button", name="As it was").press("Enter")
    assert page.locator("#answer > li > button").all_inner_texts() == result.ids


def test_why_says_what_the_trace_says(result: sw.Result, opened: Opened) -> None:
    """For each document of the corpus the page tells the same fate as `trace.why`."""
    page = opened(result.to_html())
    for at in range(36):
        page.fill("#id", f"d{at}")
        page.press("#id", "Enter")
        said = page.inner_text("#told")
        fate = result.trace.why(f"d{at}")
        if fate.outcome == "not recalled":
            assert "was not recalled" in said
        else:
            assert said.rstrip(".") == str(fate)


def test_a_chosen_document_is_drawn_and_explained(result: sw.Result, opened: Opened) -> None:
    """Enter on a hit marks its line and tells its rank."""
    page = opened(result.to_html())
    page.locator("#answer button").nth(2).press("Enter")
    assert page.locator("#flow .shown").count() == 1
    assert page.inner_text("#tip") == f"{result.ids[2]} is in the answer, at rank 3."


def test_pointing_at_a_line_chooses_it(result: sw.Result, opened: Opened) -> None:
    """The pointer over the drawing picks the nearest line."""
    page = opened(result.to_html())
    box = page.locator("#flow").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.09)
    assert page.inner_text("#tip").endswith("is in the answer, at rank 1.")


HOSTILE = '</script><script>window.broken = 1</script><img src=x onerror="window.broken=1">\u2028"&'


def test_ids_texts_and_names_are_never_read_as_html(opened: Opened) -> None:
    """Markup in a question, an id, a passage or a stage's name is shown, not run."""
    documents = [sw.Document(HOSTILE, HOSTILE + " logs"), sw.Document("b", "keys")]
    cascade = sw.Cascade([sw.TopK(2, name=HOSTILE)])
    page = opened(cascade.rank(HOSTILE + " logs", documents).to_html())
    assert page.evaluate("window.broken") is None
    assert page.locator("img").count() == 0
    assert page.locator("#answer button").first.inner_text() == HOSTILE.replace("\u2028", "\u2028")
    assert "<script>" in page.inner_text("#asked")


def test_half_a_character_is_a_question_mark(tmp_path: Path, opened: Opened) -> None:
    """A lone surrogate in an id, a text, metadata or the question can be written and shown."""
    odd = [sw.Document("a\ud800", "logs \udfff", {"by": "\ud800"}), sw.Document("b", "keys")]
    result = sw.Cascade([sw.TopK(1)]).rank("logs \ud800", odd)
    for made in (result, result.trace):
        assert made.to_html(tmp_path / "made.html").encode()
        assert made._repr_html_().encode()
    page = opened(result.to_html(tmp_path / "made.html"))
    assert page.inner_text("#answer button") == "a?"
    assert page.inner_text("#answer p") == "logs ?"


def test_what_is_written_from_right_to_left_is_shown_so(opened: Opened) -> None:
    """The question, ids and passages have their own direction, and sentences about them theirs."""
    texts = [sw.Document("יומן-1", "איך מחליפים את היומנים"), sw.Document("logs-2", "Rotate logs.")]
    page = opened(sw.Cascade([sw.TopK(2)]).rank("איך מחליפים", texts).to_html())

    def directions(of: str) -> list[str]:
        script = "found => found.map(each => getComputedStyle(each).direction)"
        return page.locator(of).evaluate_all(script)  # type: ignore[no-any-return]

    assert directions("#asked") == ["rtl"]
    assert directions("#answer button") == directions("#answer p") == ["rtl", "ltr"]
    page.fill("#id", "יומן-1")
    assert directions("#id") == ["rtl"]
    page.press("#id", "Enter")
    assert (
        page.inner_text("#told")
        == page.inner_text("#tip")
        == page.inner_text("#told bdi") + (" is in the answer, at rank 1.")
    )
    assert directions("#told, #tip") == ["ltr", "ltr"]
    assert directions("#told bdi, #tip bdi") == ["rtl", "rtl"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_follows_the_system_s_colours(result: sw.Result, opened: Opened, scheme: str) -> None:
    """Paper and ink change places in a dark system."""
    page = opened(result.to_html(), color_scheme=scheme)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light = sum(map(int, re.findall(r"\d+", paper))) > 380
    assert light == (scheme == "light")


PHONE = {"viewport": {"width": 375, "height": 812}, "has_touch": True, "is_mobile": True}
WIDTHS = [375, 768, 1280]


@pytest.mark.parametrize("width", [360, *WIDTHS])
def test_nothing_is_wider_than_the_screen(result: sw.Result, opened: Opened, width: int) -> None:
    """Whatever the screen, the page does not scroll sideways, and no cell of the table is cut."""
    page = opened(result.to_html(), viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == width
    ends = page.evaluate(
        "[...document.querySelectorAll('#stages td, #stages th[scope=row], #flow')]"
        ".map((each) => each.getBoundingClientRect().right)"
    )
    assert max(ends) <= width
    assert page.locator("#stages .bar").count() == 5
    bars = page.evaluate("[...document.querySelectorAll('.bar')].map((each) => each.offsetWidth)")
    assert min(bars) > 90


@pytest.mark.parametrize("width", WIDTHS)
def test_letters_of_the_drawing_can_be_read(result: sw.Result, opened: Opened, width: int) -> None:
    """On every screen they are 12 pixels or more, none is drawn over, and no two names overlap."""
    page = opened(result.to_html(), viewport={"width": width, "height": 800})
    least = page.evaluate(
        "Math.min(...[...document.querySelectorAll('#flow text')].map((each) =>"
        " parseFloat(getComputedStyle(each).fontSize) * each.getScreenCTM().a))"
    )
    assert least >= 12
    kinds = page.evaluate("[...document.querySelectorAll('#flow > *')].map((each) => each.tagName)")
    assert set(kinds[kinds.index("text") :]) == {"text"}
    names = page.evaluate(
        "[...document.querySelectorAll('#flow .name')].map((each) => each.getBoundingClientRect())"
        ".map((box) => [box.left, box.top, box.right, box.bottom])"
    )
    assert len(names) == 5
    for at, (left, top, right, bottom) in enumerate(names):
        for other in names[at + 1 :]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_a_phone_has_the_answer_first(result: sw.Result, opened: Opened) -> None:
    """The first hit is on the first screen, links lead to the other parts, and choosing a hit
    brings its line on the screen."""
    page = opened(result.to_html(), **PHONE)
    button = page.locator("#answer button").first
    assert button.bounding_box()["y"] < 500
    assert button.bounding_box()["y"] < page.locator("#stages").bounding_box()["y"]
    for link in page.locator("nav a").all():
        assert page.locator(link.get_attribute("href")).count() == 1
    button.tap()
    page.wait_for_function(
        "() => document.querySelector('#flow').getBoundingClientRect().bottom <= innerHeight"
    )
    assert page.locator("#flow .shown").count() == 1
    assert page.locator("#answer li.chosen").count() == 1


def test_a_phone_s_table_says_what_is_what(result: sw.Result, opened: Opened) -> None:
    """Where the head of the table is out of sight, each number has its name, and a reader of the
    page still hears rows and cells."""
    page = opened(result.to_html(), **PHONE)
    names = page.evaluate(
        "[...document.querySelectorAll('#stages tr:nth-child(1) td.n')]"
        ".map((each) => getComputedStyle(each, '::before').content)"
    )
    assert names == ['"in "', '"out "', '"ms "']
    assert page.get_by_role("row").count() == 6
    assert page.get_by_role("columnheader").count() == 7
    assert page.get_by_role("rowheader", name="bi-encoder").count() == 1


def test_a_long_passage_is_shown_whole_when_asked(opened: Opened) -> None:
    """Its first lines, and all of it by keyboard; a short one has no button."""
    documents = [sw.Document("long", "logs " * 400), sw.Document("short", "logs")]
    page = opened(sw.Cascade([sw.TopK(2)]).rank("logs", documents).to_html())
    button = page.get_by_role("button", name="More")
    passage = page.locator("#answer p").first
    clipped = passage.bounding_box()["height"]
    button.press("Enter")
    assert passage.bounding_box()["height"] > 2 * clipped
    page.get_by_role("button", name="Less").press("Enter")
    assert passage.bounding_box()["height"] == clipped


def test_terms_are_marked_as_a_search_matches_them(opened: Opened) -> None:
    """Endings do not count, short words do, and those that every text has do not."""
    text = "IT rotates the old log, rotating what it is: a rotation of Ök."
    made = sw.Cascade([sw.TopK(1)]).rank("Is the IT to rotate old logs in Ök?", [text])
    page = opened(made.to_html())
    marks = page.locator("mark").all_inner_texts()
    assert marks == ["IT", "rotates", "old", "log", "rotating", "it", "Ök"]


def test_the_drawing_follows_the_window(result: sw.Result, opened: Opened) -> None:
    """When a phone is turned, the drawing has the new width."""
    page = opened(result.to_html(), viewport={"width": 375, "height": 812})
    before = page.locator("#flow").bounding_box()["width"]
    page.set_viewport_size({"width": 812, "height": 375})
    page.wait_for_function(
        "(before) => document.querySelector('#flow').clientWidth > before + 300", arg=before
    )
    assert page.evaluate("document.documentElement.scrollWidth") == 812


def test_a_thousand_candidates_are_drawn(opened: Opened) -> None:
    """Each candidate of a wide recall has its line, and the answered ones stand out."""
    documents = [sw.Document(str(at), f"logs {at} " + "old " * (at % 7)) for at in range(1500)]
    cascade = sw.Cascade([sw.BM25(documents, 1000, backend="rank-bm25"), sw.TopK(10)])
    page = opened(cascade.search("old logs").to_html())
    assert page.evaluate("lines.filter((each) => each.paths.length).length") == 1000
    assert page.locator("#flow .hit").count() == 10
    assert page.locator("#flow .end").count() == 990


def test_a_degraded_answer_says_so(opened: Opened) -> None:
    """A skipped stage and its reason are on the page."""

    @sw.stage
    def broken(candidates: sw.Candidates) -> sw.Candidates:
        raise OSError("no such model")

    documents = [sw.Document("a", "x"), sw.Document("b", "y")]
    result = sw.Cascade([sw.TopK(2), broken], on_failure={"broken": "skip"}).rank("q", documents)
    page = opened(result.to_html())
    assert "Degraded" in page.inner_text("#state")
    assert page.locator("td.bad").inner_text() == "failed"


def test_a_stage_that_cannot_be_computed_again_is_named(corpus: sw.Corpus, opened: Opened) -> None:
    """Behind a stage that picks by more than scores there are no sliders, and the page says why."""
    cascade = sw.Cascade([sw.BM25(corpus, 20), sw.MMR(corpus, 5)])
    page = opened(cascade.search(QUERY).to_html())
    assert page.inner_text("#turn-hint").startswith("mmr does more than score and cut")
    assert page.locator("#turn input").count() == 0


def test_an_empty_answer_is_a_page_too(corpus: sw.Corpus, opened: Opened) -> None:
    """A blank question, which recalls nothing, is shown without complaint."""
    page = opened(sw.Cascade.default(corpus).search("  ").to_html())
    assert "0 answers" in page.inner_text("#state")


def test_an_answer_that_is_empty_on_purpose_says_why(opened: Opened) -> None:
    """Where no document is relevant enough, the page tells the reason that the result tells."""
    read = sw.CrossEncoder(lambda query, texts: [0.1] * len(texts), blend=1.0)
    result = sw.Cascade([read, sw.MinScore(0.5)]).rank("logs", ["a cat", "a dog"])
    assert result.empty_because
    page = opened(result.to_html())
    assert f"Nothing is answered: {result.empty_because}." in page.inner_text("#state")
    page.fill("#id", "1")
    page.press("#id", "Enter")
    assert page.inner_text("#told").rstrip(".") == str(result.trace.why("1"))


def test_a_notebook_gets_the_page_in_a_frame(result: sw.Result, opened: Opened) -> None:
    """`_repr_html_` is a frame that holds the whole page."""
    frame = opened(result._repr_html_()).frame_locator("iframe")
    assert frame.locator("#asked").inner_text() == QUERY
    assert html.escape(QUERY) in result._repr_html_()
    assert QUERY not in result.trace._repr_html_()


def test_without_a_query_it_asks_for_one(opened: Opened) -> None:
    """The server's page begins with a search box that has the focus."""
    page = opened(page_of())
    assert page.locator("#query").is_visible()
    assert page.evaluate("document.activeElement.id") == "query"
    assert not page.locator("#main").is_visible()


def test_a_page_is_written_to_a_file(result: sw.Result, tmp_path: Any) -> None:
    """`to_html(path)` writes what it returns."""
    path = tmp_path / "made.html"
    assert result.to_html(path) == path.read_text(encoding="utf-8")
    assert result.trace.to_html(path) == path.read_text(encoding="utf-8")
