"""The command line takes the file or the URL of a Milvus where it takes a corpus."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from stepwell import Corpus, Document, MilvusCorpus
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
