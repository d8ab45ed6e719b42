"""The command line of `stepwell serve`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import stepwell as sw
from stepwell.cli import app
from tests.server.serving import command, post


def refused(*args: object) -> tuple[int, str]:
    """Exit code and last line of a command that cannot serve."""
    done = CliRunner().invoke(app, ["serve", *map(str, args)], prog_name="stepwell")
    assert done.stdout == ""
    return done.exit_code, done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["{tmp}/nothing"], 1, "there is no corpus at"),
        (["{pages}", "--preset", "best"], 2, "no preset is named 'best'"),
        (["{pages}", "--cascade", "{tmp}/none.toml"], 2, "none.toml cannot be read: No such file"),
        (["{pages}", "--cascade", "{tmp}/x", "--preset", "bm25"], 2, "exclude each other"),
        (["{pages}", "--deadline", "-1"], 2, "deadline"),
        (["--backend", "tpu"], 2, "--backend is torch, onnx, openvino or auto, not 'tpu'"),
        (["--host", "nowhere.invalid"], 2, "--host 'nowhere.invalid' is no address"),
        (["--host", "192.0.2.1"], 2, "cannot listen at 192.0.2.1 port"),
        (["--max-k", "0"], 2, "the limit 'k' must be an integer of at least 1"),
        (["--key-file", "{tmp}/none"], 2, "cannot be read: No such file"),
        (["--key-file", "{tmp}/blank"], 2, "must be a line of printable ASCII, and not empty"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path,
    pages: Path,
    args: list[str],
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What cannot be served is said in one line, with the exit code of the other commands."""
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "blank").write_text("\n")
    ended, line = refused(*(arg.format(tmp=tmp_path, pages=pages) for arg in args), "--port", 0)
    assert ended == code
    assert line.startswith("stepwell: ")
    assert message in line


def test_a_cascade_file_is_what_searches_run(pages: Path, tmp_path: Path) -> None:
    """With `--cascade` the stages of `/search` are those of the file."""
    file = tmp_path / "made.toml"
    sw.Cascade([sw.BM25(k=7, name="words"), sw.TopK(3, name="few")]).save(file)
    with command(pages, "--cascade", file) as told:
        told.ready()
        answer = post(told.url, "/search", {"query": "logs"}).json()
    assert [stage["name"] for stage in answer["trace"]["stages"]] == ["words", "few"]


def test_a_port_in_use() -> None:
    """Who else has the port is not said, but that it is taken and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, line = refused("--port", port)
    assert code == 2
    assert line == f"stepwell: port {port} of 127.0.0.1 is in use; choose another with --port"


def test_without_the_extra(tmp_path: Path) -> None:
    """Where FastAPI is missing, the line names the extra."""
    (tmp_path / "fastapi.py").write_text("raise ModuleNotFoundError(name='fastapi')")
    done = subprocess.run(
        [sys.executable, "-m", "stepwell", "serve"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "160", "PYTHONPATH": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert line == "stepwell: 'fastapi' is not installed; run: pip install 'stepwell[serve]'"


def test_a_key_from_a_file(tmp_path: Path) -> None:
    """The file's line is the key; it is not told to anybody, nor is a warning needed."""
    (tmp_path / "key").write_text("sk-in-a-file\n")
    with command("--host", "0.0.0.0", "--key-file", tmp_path / "key") as told:
        told.ready()
        url = told.url.replace("0.0.0.0", "127.0.0.1")
        asked = {"query": "q", "documents": ["a"]}
        assert post(url, "/v2/rerank", asked).status_code == 401
        headers = {"Authorization": "Bearer sk-in-a-file"}
        assert post(url, "/v2/rerank", asked, headers=headers).is_success
    assert "anybody" not in told.said
    assert "sk-in-a-file" not in told.said


def test_a_warning_where_anybody_can_ask() -> None:
    """Bound elsewhere than to this machine without a key, it says so; here it is silent."""
    with command("--host", "0.0.0.0") as told:
        assert "anybody who reaches 0.0.0.0 can ask: set a key (--key-file)" in told.said
    with command() as told:
        assert "anybody" not in told.said


def test_a_model_that_cannot_be_loaded_ends_it() -> None:
    """What is found out only when the model is read ends the server with that error."""
    code = """if True:
        from stepwell import CorpusError
        from stepwell.models import load_scorer
        from stepwell.server import Service
        from stepwell.server.running import bound, run

        def broken(query, passages):
            raise CorpusError("the weights are damaged")

        run(Service(load_scorer(broken)), bound("127.0.0.1", 0), drain=600)
    """
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "the model could not be loaded: CorpusError"
    assert done.stderr.splitlines()[-1].endswith("CorpusError: the weights are damaged")
