"""A depth as a value: written, read, refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import stepwell as sw
from stepwell.depth import Depth
from stepwell.tune.depth import calibrate_depth, with_depth
from tests.depth.formulas import MOST, QUESTIONS, K, cascade, found, reads


def test_a_saved_depth_is_the_same(depth: Depth, tmp_path: Path) -> None:
    """Written and read again, every field is what it was, and so are the answers."""
    depth.save(tmp_path / "depth.json")
    again = Depth.load(tmp_path / "depth.json")
    assert again.to_dict() == depth.to_dict()
    for query in QUESTIONS[:10]:
        assert cascade(again).search(query).ids == cascade(depth).search(query).ids


def test_a_cascade_file_holds_the_depth(tmp_path: Path) -> None:
    """Saved with its cascade and loaded, it reads the same; another recall is refused."""
    documents = [sw.Document(f"d{at}", f"{'log ' * (at % 7)}passage {at}") for at in range(80)]
    corpus = sw.Corpus.temporary(encoder=None)
    corpus.add(documents)
    stages = [sw.BM25(corpus, 40), sw.CrossEncoder("embedded", 3, blend=0.5, depth="auto")]
    queries = [f"log passage {at}" for at in range(40)]
    short = sw.Cascade(stages)
    made = calibrate_depth(
        short, queries, most=12, step=3, error_rate=0.2, confidence=0.7, audit=0.0
    )
    bounded = with_depth(short, made)
    bounded.save(tmp_path / "bounded.toml")
    again = sw.Cascade.load(tmp_path / "bounded.toml", corpus)
    for query in queries[:5]:
        one, two = bounded.search(query), again.search(query)
        assert one.ids == two.ids
        assert one.trace.records[1].notes == two.trace.records[1].notes
    text = (tmp_path / "bounded.toml").read_text()
    (tmp_path / "bounded.toml").write_text(text.replace("k = 40", "k = 41"))
    with pytest.raises(sw.ConfigurationError, match=r"bm25\.k is 41 and was 40"):
        sw.Cascade.load(tmp_path / "bounded.toml", corpus)
    corpus.close()


@pytest.mark.parametrize(
    "spoil",
    [
        {"version": 9},
        {"curves": "no base64"},
        {"curves": "AAAA"},
        {"step": 0},
        {"extra": 1},
        {"audit": 7},
        {"on_drift": "panic"},
    ],
)
def test_a_damaged_depth_is_refused(depth: Depth, spoil: dict[str, object]) -> None:
    """Whatever is wrong with a file is a ConfigurationError."""
    with pytest.raises(sw.ConfigurationError):
        Depth.of({**depth.to_dict(), **spoil})


def test_a_file_that_is_no_depth_is_named(tmp_path: Path) -> None:
    """A missing file, one of something else and one that lacks a field are told by name."""
    (tmp_path / "list.json").write_text(json.dumps([1]))
    (tmp_path / "text.json").write_text("no JSON")
    for name in ("missing.json", "list.json", "text.json"):
        with pytest.raises(sw.ConfigurationError, match=name):
            Depth.load(tmp_path / name)
    with pytest.raises(sw.ConfigurationError, match="damaged"):
        Depth.of({"version": 1})


def test_only_a_cascade_with_one_cross_encoder_that_cuts_is_calibrated() -> None:
    """None, two, and one that keeps all are refused before anything is read."""
    reader = sw.CrossEncoder(reads, None, depth="auto")
    for stages in ([found], [found, reader, sw.CrossEncoder(reads, K, name="again")]):
        with pytest.raises(sw.ConfigurationError, match="one CrossEncoder"):
            calibrate_depth(sw.Cascade(stages), QUESTIONS)
    with pytest.raises(sw.ConfigurationError, match="keeps all"):
        calibrate_depth(sw.Cascade([found, reader]), QUESTIONS)


def test_an_interrupted_calibration_reads_no_pair_twice(tmp_path: Path) -> None:
    """With a file of pairs, a second calibration asks the model nothing."""
    asked: list[str] = []

    def counts(query: str, passages: list[str]) -> list[float]:
        asked.append(query)
        return reads(query, passages)

    made = sw.Cascade([found, sw.CrossEncoder(counts, K, depth="auto", blend=0.5)])
    options = {"error_rate": 0.1, "most": MOST, "pairs": tmp_path / "pairs.sqlite"}
    one = calibrate_depth(made, QUESTIONS[:60], **options)  # type: ignore[arg-type]
    before = len(asked)
    two = calibrate_depth(made, QUESTIONS[:60], **options)  # type: ignore[arg-type]
    assert before == 60
    assert len(asked) == before
    assert one.to_dict() == two.to_dict()


def test_a_depth_speaks_without_its_numbers(depth: Depth) -> None:
    """In words it says what is promised, and its repr is short."""
    assert "at most 0.1 of distinct queries" in str(depth)
    assert len(repr(depth)) < 400
    assert replace(depth, audit=0.5).audit == 0.5
