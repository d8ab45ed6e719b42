"""`stepwell tune`: a cascade file, a plot and tables, and what is said where it cannot be."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import stepwell as sw
from stepwell.ingest import python_docs
from stepwell.tune import Recording

pytest.importorskip("ir_measures", reason="needs the extra eval, which is not installed")
pytest.importorskip("uniplot", reason="needs the extra eval, which is not installed")


tune_module: Any = import_module("stepwell.cli.tune")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Functions of the standard library, each to be found by a part of its text."""
    place = tmp_path_factory.mktemp("data") / "functions"
    (place / "qrels").mkdir(parents=True)
    modules = ("statistics", "timeit", "textwrap")
    found = [d for d in python_docs(["function"]) if d.metadata["module"] in modules][:24]
    rows = [{"_id": d.id, "title": "", "text": d.text[:120]} for d in found]
    asked = [{"_id": f"q{at}", "text": d.text[40:80]} for at, d in enumerate(found[:12])]
    for name, lines in (("corpus", rows), ("queries", asked)):
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    judged = "".join(f"q{at}\t{d.id}\t1\n" for at, d in enumerate(found[:12]))
    for split in ("dev", "test"):
        (place / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    return place


def test_a_cascade_is_tuned_and_written(
    run: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    """The answer is a plot and tables on standard output; the file loads as a cascade."""
    out = tmp_path / "best.toml"
    said = run("tune", folder, "--preset", "bm25", "--out", out, "--measure", "MRR@10")
    assert said.code == 0
    assert "functions, bm25, 12 queries, 2 settings" in said.out
    assert "MRR@10 by predicted ms" in said.out
    assert "PP present" in said.out
    assert "held-out queries: MRR@10" in said.out
    assert "run on 12 of the queries" in said.out
    assert "\x1b" not in said.out
    assert f"wrote {out}" in said.err
    text = out.read_text()
    assert text.startswith(f"# stepwell tune {folder} --preset bm25 --measure MRR@10 --out {out}\n")
    with sw.Corpus.temporary(encoder=None) as corpus:
        assert sw.Cascade.load(out, corpus).stages[0].name == "bm25"


def test_json_has_all_of_it(run: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    """Three stages, at random settings: the front, the verdict, and a real run that agrees."""
    out = tmp_path / "best.toml"
    some = ("--settings", 60, "--queries", 8, "--deepest", 10)
    said = run("tune", folder, *some, "--out", out, "--json")
    assert said.code == 0, said.err
    found = said.json
    assert (found["dataset"], found["queries"], found["settings"]) == ("functions", 8, 60)
    assert found["verdict"] in ("better", "not better")
    assert found["verified"]["run"] == pytest.approx(found["verified"]["replayed"], abs=1e-6)
    assert found["recommended"] in (found["best"], found["present"])
    assert len(found["present"]["steps"]) == 2
    assert found["front"][-1]["value"] == found["best"]["value"]
    assert tomllib.loads(out.read_text())["version"] == 1

    again = run("tune", folder, "--cascade", out, *some, "--json")
    assert again.json["present"]["steps"] == found["recommended"]["steps"]


def test_a_recording_is_kept(
    run: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another measure or budget needs no second recording; without the cache none is kept."""
    seen: list[tuple[Path, set[int]]] = []
    record = tune_module.record

    def watched(*args: Any, **options: Any) -> Recording:
        made = record(*args, **options)
        seen.append((made.folder, {file.stat().st_mtime_ns for file in made.folder.iterdir()}))
        return made

    monkeypatch.setattr(tune_module, "record", watched)
    assert run("tune", folder, "--preset", "bm25").code == 0
    assert run("tune", folder, "--preset", "bm25", "--measure", "R@5").code == 0
    assert seen[0] == seen[1]
    assert run("tune", folder, "--preset", "bm25", "--no-cache").code == 0
    assert seen[2][0] != seen[0][0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--measure", "AP"], "tuned for nDCG@k, MRR@k or R@k, not 'AP'"),
        (["--budget-ms", 0.00001], "no setting answers 95% of the queries within 1e-05 ms"),
        (["--budget-ms", -1], "the budget must be above 0"),
        (["--queries", 1], "5 folds, which 1 judged queries do not fill"),
        (["--settings", 0], "number of settings must be at least 1"),
        (["--deepest", 0], "deepest must be an integer of at least 1"),
        (["--split", "nowhere"], "has no split 'nowhere'"),
        (["--out", "nowhere/best.toml"], "cannot be written"),
        (["--preset", "bm24"], "no preset is named 'bm24'"),
        (["--cascade", "x.toml"], "--preset and --cascade exclude each other"),
    ],
)
def test_what_is_wrong_is_said(
    run: Callable[..., Any], folder: Path, options: list[object], message: str
) -> None:
    """One line, exit code 2, and no number."""
    preset = [] if "--preset" in options else ["--preset", "bm25"]
    said = run("tune", folder, *preset, *options)
    assert said.code == 2
    assert message in said.err
    assert said.out == ""


def test_a_cascade_that_cannot_be_replayed_is_said(
    run: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    """Which stage it is, and what to do."""
    file = tmp_path / "cut.toml"
    file.write_text('version = 1\n[[stage]]\ntype = "bm25"\n[[stage]]\ntype = "top-k"\nk = 3\n')
    said = run("tune", folder, "--cascade", file)
    assert said.code == 2
    assert "stage 'top-k' cannot be tuned" in said.err


def test_an_interrupted_recording_says_how_to_go_on(
    run: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command, which then records only what is missing."""
    record, done = tune_module.record, []

    def interrupted(*args: Any, progress: Callable[[int, int], None], **options: Any) -> Recording:
        def stop(at: int, total: int) -> None:
            done.append(at)
            if at == 3:
                raise KeyboardInterrupt

        return record(*args, progress=stop, **options)

    monkeypatch.setattr(tune_module, "record", interrupted)
    said = run("tune", folder, "--preset", "bm25")
    assert said.code != 0
    assert "interrupted; the same command goes on where it was" in said.err
    assert done == [1, 2, 3]
    monkeypatch.setattr(tune_module, "record", record)
    assert run("tune", folder, "--preset", "bm25").code == 0
