import sys
from pathlib import Path

import pytest

from stepwell import Corpus


def test_a_folder_is_indexed_and_brought_up_to_date(run, folder: Path, tmp_path: Path) -> None:
    """A second run says what changed, and the corpus then holds what the folder holds."""
    place = tmp_path / "x" / "docs.stepwell"
    said = run("index", folder, "--to", place, "--encoder", "none")
    assert (said.code, said.out) == (0, f"{place}: 3 added; 3 documents in all\n")
    assert said.err == "indexed 3 of 3\n"
    (folder / "cats.txt").unlink()
    (folder / "disk.txt").write_text("The disk is fine.")
    said = run("index", folder, "--to", place, "--encoder", "none")
    assert said.out == f"{place}: 0 added, 1 changed, 1 unchanged, 1 removed; 2 documents in all\n"
    with Corpus.open(place) as corpus:
        assert sorted(document.id for document in corpus) == ["disk.txt#0", "logs.txt#0"]


def test_what_is_skipped_is_said_and_counted(run, folder: Path, tmp_path: Path) -> None:
    """A file that cannot be read is named on standard error, and the command succeeds."""
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    said = run("index", folder, "--to", tmp_path / "c", "--encoder", "none")
    assert said.code == 0
    assert "skipped latin.txt: it is not UTF-8 (byte 3)" in said.err
    assert "3 added, 1 skipped" in said.out


def test_json_counts(run, folder: Path, tmp_path: Path) -> None:
    """With --json the counts and the skipped files are one object on standard output."""
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    said = run("index", folder, "--to", tmp_path / "c", "--encoder", "none", "--json")
    assert said.json == {
        "corpus": str(tmp_path / "c"),
        "documents": 3,
        "added": 3,
        "changed": 0,
        "unchanged": 0,
        "removed": 0,
        "skipped": 1,
        "skipped_files": [{"where": "latin.txt", "reason": "it is not UTF-8 (byte 3)"}],
    }


def test_options_reach_the_corpus(run, folder: Path, tmp_path: Path) -> None:
    """The analyzer is recorded, the glob chooses files, and no encoder means no vectors."""
    place = tmp_path / "c"
    run("index", folder, "--to", place, "--encoder", "none", "--analyzer", "plain", "--glob", "c*")
    with Corpus.open(place) as corpus:
        assert (len(corpus), corpus.analyzer, corpus.encoder) == (1, "plain", None)


def test_a_beir_folder_is_indexed_with_its_own_ids(run, beir: Path, tmp_path: Path) -> None:
    """Documents of a data set keep their ids, title and text joined by a newline."""
    run("index", beir, "--to", tmp_path / "c", "--encoder", "none")
    with Corpus.open(tmp_path / "c") as corpus:
        assert corpus.get("cats").text == "Cats\nThe office cat is fed at noon."


def test_the_embedded_encoder_is_the_default(run, folder: Path, tmp_path: Path) -> None:
    """Without --encoder every passage has a vector, and the default search uses all stages."""
    run("index", folder, "--to", tmp_path / "c")
    said = run("search", tmp_path / "c", "how do I rotate logs?", "--json", "--trace")
    names = [stage["name"] for stage in said.json["trace"]["stages"]]
    assert names == ["hybrid", "bi-encoder", "cross-encoder"]
    assert said.json["hits"][0]["id"] == "logs.txt#0"


def test_an_interruption_says_how_to_go_on(
    run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C ends it with 130 and a line."""

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["stepwell.cli.index"], "sync", stopped)
    said = run("index", folder, "--to", tmp_path / "c", "--encoder", "none")
    assert (said.code, said.err) == (130, "interrupted; run again to go on\n")
