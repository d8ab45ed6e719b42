import json
from pathlib import Path

import pytest

import stepwell
from stepwell import Corpus


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["search", "{tmp}/nothing", "x"], 1, "there is no corpus at"),
        (["search", "{corpus}", "x", "--k", "0"], 2, "k must be an integer of at least 1"),
        (["search", "{corpus}", "x", "--k", "-3"], 2, "k must be an integer of at least 1"),
        (["search", "{corpus}", "x", "--preset", "best"], 2, "no preset is named 'best'"),
        (["search", "{corpus}", "x", "--preset", "dense"], 2, "encoder"),
        (["search", "{corpus}", "x", "--filter", "{{"], 2, "--filter is not JSON"),
        (["search", "{corpus}", "x", "--filter", "[1]"], 2, "a filter must be a mapping"),
        (["search", "{corpus}", "x", "--filter", '{{"a": {{"$like": 1}}}}'], 2, "$like"),
        (["search", "{corpus}", "x", "--deadline", "-1"], 2, "deadline must be a positive"),
        (["index", "{tmp}/nothing", "--to", "{tmp}/c"], 2, "there is no file or folder"),
        (["index", "{docs}", "--to", "{docs}"], 1, "is a folder of other things"),
        (["index", "{docs}", "--to", "{docs}/logs.txt"], 1, "is a file, not a corpus"),
        (["index", "{docs}", "--to", "{tmp}/c", "--analyzer", "elvish"], 2, "unknown analyzer"),
        (["index", "{docs}", "--to", "{tmp}/c", "--encoder", "no/such"], 2, "'no/such'"),
        (["index", "{docs}", "--to", "{tmp}/c", "--glob", "*.md"], 2, "holds no file that"),
        (["eval", "{docs}"], 2, "is no data set"),
        (["eval", "{beir}", "--split", "dev"], 2, "no split 'dev'; there are test"),
        (["eval", "{beir}", "--preset", "best"], 2, "no preset is named 'best'"),
        (["eval", "{beir}", "--queries", "0"], 2, "at least 1"),
        (["eval"], 2, "name a DATASET folder"),
        (["eval", "{beir}", "--run", "x", "--qrels", "y"], 2, "take no DATASET"),
        (["eval", "--run", "x"], 2, "go together"),
        (["eval", "--run", "{tmp}/x", "--qrels", "{tmp}/y"], 2, "cannot be read"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    run, corpus: Path, folder: Path, beir: Path, tmp_path: Path, args, code: int, message: str
) -> None:
    """A mistake is answered with one line that names the thing; 2 for a wrong call, 1 otherwise."""
    places = {"tmp": tmp_path, "corpus": corpus, "docs": folder, "beir": beir}
    said = run(*(arg.format(**places) for arg in args))
    last = said.err.splitlines()[-1]
    assert (said.code, said.out) == (code, "")
    assert last.startswith("stepwell: ")
    assert message in last
    assert not (tmp_path / "c").exists()
    assert not (tmp_path / "nothing").exists()


def test_a_filter_nested_without_end_is_one_line(run, corpus: Path) -> None:
    """However deep the brackets of a filter, the answer is one line; so for a long faulty one."""
    for text in ("[" * 100_000, '{"$and":[' * 5000 + "{}" + "]}" * 5000, "x" * 100_000):
        said = run("search", corpus, "x", "--filter", text)
        assert (said.code, said.out) == (2, "")
        assert len(said.err) < 400
        assert said.err.startswith("stepwell: --filter is n")


def test_with_json_an_error_is_json_on_standard_error(run, tmp_path: Path) -> None:
    """A program reads type and message from standard error; standard output stays empty."""
    said = run("search", tmp_path / "nothing", "x", "--json")
    assert (said.code, said.out) == (1, "")
    error = json.loads(said.err)["error"]
    assert error["type"] == "CorpusError"
    assert "nothing" in error["message"]


def test_debug_shows_where_an_error_comes_from(run, tmp_path: Path) -> None:
    """With --debug the exception is not caught."""
    with pytest.raises(stepwell.CorpusError):
        run("search", tmp_path / "nothing", "x", "--debug")


def test_usage_errors_exit_with_2(run) -> None:
    """A command, an option or an argument that does not exist is a usage error."""
    for args in (["frobnicate"], ["search"], ["search", "a", "b", "--what"], ["search", "-k", "x"]):
        said = run(*args)
        assert (said.code, said.out) == (2, "")
        assert "Usage: stepwell" in said.err


def test_a_damaged_index_is_rebuilt_and_said(run, corpus: Path) -> None:
    """A damaged term index is made again from the record; the search answers and says so."""
    lexical = next(path for path in corpus.iterdir() if path.name.startswith("lexical"))
    for file in lexical.glob("*"):
        if file.is_file():
            file.write_bytes(b"nonsense")
    said = run("search", corpus, "logs", "--json")
    assert said.code == 0
    assert len(said.json["hits"]) == 2
    assert said.err.startswith("repaired: ")


def test_an_empty_corpus_answers_nothing(run, tmp_path: Path) -> None:
    """Searching a corpus without documents is no error."""
    Corpus.open(tmp_path / "c", encoder=None).close()
    assert run("search", tmp_path / "c", "x", "--json").json["hits"] == []
