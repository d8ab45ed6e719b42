"""The command line takes the file or the URL of a Milvus where it takes a corpus."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stepwell import Corpus, CorpusError, Document, InputError, MilvusCorpus
from stepwell.cli import app
from stepwell.corpus.anywhere import existing
from stepwell.server import Service


def test_search_asks_a_file_of_milvus(tmp_path: Path) -> None:
    """`stepwell search FILE.db QUERY` answers from it, filters and all."""
    path = tmp_path / "a.db"
    with MilvusCorpus(path) as corpus:
        corpus.add(Document(f"d{n}", f"rotate log {n}", {"n": n}) for n in range(5))
    given = ["search", str(path), "rotate log 3", "--filter", '{"n": {"$lt": 4}}', "-k", "2"]
    done = CliRunner().invoke(app, [*given, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["hits"][0]["id"] == "d3"
    assert len(found["hits"]) == 2


def test_a_server_opens_a_file_of_milvus(milvus_file: Path) -> None:
    """What `stepwell serve FILE.db` opens searches it."""
    with MilvusCorpus(milvus_file) as corpus:
        corpus.upsert([Document("served", "rotate the logs")])
    service = Service.open(milvus_file)
    assert isinstance(service.corpus, MilvusCorpus)
    assert service.corpus.repaired == ()
    service.corpus.close()


def test_a_url_that_answers_nothing_is_one_line_without_credentials() -> None:
    """The error of the command line names the server, and hides the token of the URL."""
    done = CliRunner().invoke(app, ["search", "ftp://root:horse@nowhere", "x"])
    assert done.exit_code != 0
    done = CliRunner().invoke(app, ["search", "http://root:battery-horse@127.0.0.1:1", "x"])
    assert done.exit_code != 0
    assert "http://127.0.0.1:1" in done.output
    assert "battery" not in done.output


def test_a_folder_that_ends_alike_is_still_a_folder(tmp_path: Path) -> None:
    """A corpus of one's own in a folder named x.db is opened as what it is."""
    Corpus.open(tmp_path / "x.db", encoder=None).close()
    with existing(tmp_path / "x.db", encoder=None) as corpus:
        assert isinstance(corpus, Corpus)


def test_index_keeps_a_file_of_milvus_in_step(tmp_path: Path) -> None:
    """`stepwell index` loads it, and again what has changed; what vanished is deleted."""
    docs, path = tmp_path / "docs", tmp_path / "a.db"
    docs.mkdir()
    for name in ("logs", "cats"):
        (docs / f"{name}.txt").write_text(f"All about {name}.")
    for counts in ("2 added; 2 documents", "0 added, 1 changed, 1 removed; 1 documents"):
        given = ["index", str(docs), "--to", str(path), "--encoder", "none"]
        done = CliRunner().invoke(app, given)
        assert done.exit_code == 0, done.output
        assert f"{path}: {counts} in all" in done.stdout
        (docs / "cats.txt").unlink(missing_ok=True)
        (docs / "logs.txt").write_text("Logs, again.")
    with existing(path, encoder=None) as corpus:
        assert isinstance(corpus, MilvusCorpus)
        assert [document.text for document in corpus] == ["Logs, again."]


def test_a_url_is_never_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever lies at a path that reads alike, a URL is asked; to index makes no folder of it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    url = "http://127.0.0.1:1"
    done = CliRunner().invoke(app, ["index", "a.txt", "--to", url, "--encoder", "none"])
    assert done.exit_code == 1
    assert "cannot be reached" in done.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]
    with pytest.raises(InputError, match="MilvusCorpus"):
        Corpus.open(url, encoder=None)
    Corpus.open("c", encoder=None).close()
    Path("http:").mkdir()
    Path("c").rename(Path(url))
    with pytest.raises(CorpusError, match="cannot be reached"):
        existing(url, encoder=None)


def test_to_search_makes_no_file(tmp_path: Path) -> None:
    """A file that is not there is named, and not there afterwards."""
    done = CliRunner().invoke(app, ["search", str(tmp_path / "a.db"), "x"])
    assert done.exit_code == 1
    assert "there is no corpus at" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["verify", "rebuild", "compact"])
def test_what_is_for_folders_says_so(tmp_path: Path, command: str) -> None:
    """Of a corpus in Milvus they say whose it is, without credentials."""
    for place in (str(tmp_path / "a.db"), "http://root:battery-horse@127.0.0.1:1"):
        done = CliRunner().invoke(app, ["corpus", command, place])
        assert done.exit_code == 2
        assert "names a corpus in Milvus" in done.stderr
        assert "battery" not in done.stderr


def test_a_file_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    """What Milvus Lite logs of it is not printed, so that a program can read the JSON."""
    (tmp_path / "a.db").write_text("text")
    command = [sys.executable, "-m", "stepwell", "search", str(tmp_path / "a.db"), "x", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert json.loads(done.stderr)["error"]["type"] == "CorpusError"
