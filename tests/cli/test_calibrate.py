"""`stepwell calibrate`: a file with probabilities, and what is said where there can be none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

import stepwell as sw

pytest.importorskip("ir_measures", reason="needs the extra eval, which is not installed")

CASCADE = 'version = 1\n\n[[stage]]\ntype = "bm25"\nk = 10\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Questions of words of their document and of one other; two splits."""
    place = tmp_path / "made"
    (place / "qrels").mkdir(parents=True)
    chance, words = Random(0), [f"w{at}" for at in range(40)]
    texts = [" ".join(chance.sample(words, 8)) for _ in range(60)]
    asked = [" ".join([*texts[at].split()[:3], chance.choice(words)]) for at in range(40)]
    rows = [{"_id": f"d{at}", "title": "", "text": text} for at, text in enumerate(texts)]
    questions = [{"_id": f"q{at}", "text": text} for at, text in enumerate(asked)]
    for name, lines in (("corpus", rows), ("queries", questions)):
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    for split, part in (("dev", range(20)), ("test", range(20, 40))):
        judged = "".join(f"q{at}\td{at}\t1\n" for at in part)
        (place / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    return place


@pytest.fixture
def cascade(tmp_path: Path) -> Path:
    file = tmp_path / "bm25.toml"
    file.write_text(CASCADE)
    return file


def test_a_cascade_is_calibrated_checked_and_measured(
    run: Callable[..., Any], folder: Path, cascade: Path, tmp_path: Path
) -> None:
    """Fitted on one split, checked on the other; the file searches, and eval has its error."""
    out, page = tmp_path / "calibrated.toml", tmp_path / "page.html"
    options = ("--encoder", "none", "--cascade")
    said = run(
        "calibrate", folder, *options, cascade, "--out", out, "--html", page, "--at-least", 0.3
    )
    assert said.code == 0, said.err
    assert "made, 20 queries, bm25, a lexical, " in said.out
    assert "(chosen)" in said.out
    assert "one probability for all" in said.out
    assert "candidates that nobody judged count as not relevant" in said.err
    assert "<circle" in page.read_text()
    checked = run("calibrate", folder, *options, out, "--check", "--json")
    assert checked.code == 0, checked.err
    assert checked.json["queries"] == 20
    assert checked.json["folds"] == 0
    assert checked.json["calibrator"]["dataset"] == "made"
    measured = run("eval", folder, *options, out, "--json")
    assert measured.code == 0, measured.err
    assert measured.json["calibration"]["ece"] == checked.json["after"]["ece"]
    with sw.Corpus.temporary(encoder=None) as corpus:
        corpus.add(sw.Document(f"d{at}", "w1 w2") for at in range(5))
        found = sw.Cascade.load(out, corpus).search("w1 nothing")
        assert not found.hits
        assert found.empty_because.startswith("nothing relevant: probability below 0.3")


def test_questions_without_an_answer_are_measured(
    run: Callable[..., Any], folder: Path, cascade: Path
) -> None:
    """With --hide half of the questions have none; the table says how thresholds do."""
    options = ("--encoder", "none", "--cascade", cascade, "--hide", 0.5)
    said = run("calibrate", folder, *options, "--json")
    assert said.code == 0, said.err
    found = said.json["abstaining"]
    assert (found["queries"], found["unanswerable"]) == (20, 10)
    assert found["auc"] > 0.6


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--check"], "--check takes the --cascade that was calibrated"),
        (["--preset", "bm25", "--cascade", "FILE"], "exclude each other"),
        (["--preset", "bm25", "--hide", "0.5", "--corpus", "FILE"], "leave --corpus out"),
        (["--cascade", "FILE", "--hide", "1"], "above 0 and below 1"),
        (["--cascade", "FILE", "--check"], "not calibrated"),
        (["--cascade", "FILE", "--stage", "dense"], "no stage is named 'dense'"),
        (["--cascade", "FILE", "--at-least", "2"], "must be a probability"),
        (["--cascade", "FILE", "--judged-only"], "leave judged-only off"),
        (["--cascade", "FILE", "--queries", "1"], "it takes two"),
        (["--cascade", "FILE", "--out", "nowhere/x.toml"], "cannot be written"),
    ],
)
def test_what_cannot_be_honoured_is_refused(
    run: Callable[..., Any], folder: Path, cascade: Path, options: list[str], said: str
) -> None:
    """In one line, with exit code 2."""
    given = [str(cascade) if each == "FILE" else each for each in options]
    found = run("calibrate", folder, "--encoder", "none", *given)
    assert found.code == 2
    assert said in found.err
