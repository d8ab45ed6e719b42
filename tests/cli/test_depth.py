"""`stepwell depth`: from a list of questions to a cascade file that reads as much as is needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import stepwell as sw

pytest.importorskip("scipy", reason="needs the extra eval, which is not installed")

VERBS, NOUNS = ("rotate", "delete", "restore", "read"), ("logs", "keys", "backups", "users")
OPTIONS = ("--most", 16, "--step", 4, "--k", 3, "--error-rate", 0.3)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short documents, in a corpus with vectors."""
    place = tmp_path_factory.mktemp("depth") / "manual.stepwell"
    texts = [f"how to {verb} the {noun}" for verb in VERBS for noun in NOUNS]
    with sw.Corpus.open(place, encoder="embedded") as made:
        made.add([sw.Document(f"d{at}", text) for at, text in enumerate(texts)])
    return place


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """A file of questions, one of them twice and one blank."""
    asked = [f"{verb} {noun} now" for verb in VERBS for noun in NOUNS]
    file = tmp_path / "questions.txt"
    file.write_text("\n".join([*asked, asked[0], "", "  "]))
    return file


def test_questions_alone_give_a_cascade_file(
    run: Callable[..., Any], corpus: Path, questions: Path, tmp_path: Path
) -> None:
    """What is promised is printed, the file is searched with, and the trace counts what is read."""
    out = tmp_path / "deep.toml"
    options = [*OPTIONS, "--confidence", 0.7]
    said = run("depth", questions, "--corpus", corpus, *options, "--out", out)
    assert said.code == 0, said.err
    assert "promised: at most 0.3 of distinct questions, with confidence 0.7" in said.out
    assert "16 questions:" in said.out
    assert "5.9% of the lines repeat others" in said.out
    with sw.Corpus.open(corpus, encoder="embedded") as opened:
        result = sw.Cascade.load(out, opened).search("rotate keys now")
        assert len(result) == 3
        assert result.trace.records[-1].notes["read"] <= 16
    assert run("search", corpus, "rotate keys", "--cascade", out).code == 0
    again = run("depth", questions, "--corpus", corpus, *options, "--json").json
    assert again["error_rate"] == 0.3
    assert again["repeated"] == pytest.approx(1 / 17, abs=1e-4)
    assert "curves" not in again


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--error-rate", 0.01), "cannot promise an error rate of 0.01"),
        (("--error-rate", 3), "error_rate must be between 0 and 1"),
        (("--preset", "bm25"), "one CrossEncoder"),
        (("--queries", 0), "at least 1"),
    ],
)
def test_what_cannot_be_promised_is_refused(
    run: Callable[..., Any], corpus: Path, questions: Path, more: tuple[object, ...], told: str
) -> None:
    """A call that cannot be honoured ends with code 2 and one line that says why."""
    said = run("depth", questions, "--corpus", corpus, *OPTIONS, *more)
    assert said.code == 2
    assert told in said.err


def test_questions_without_a_corpus_are_refused(run: Callable[..., Any], questions: Path) -> None:
    """A list of questions is told to name what is searched."""
    said = run("depth", questions)
    assert said.code == 2
    assert "--corpus" in said.err
