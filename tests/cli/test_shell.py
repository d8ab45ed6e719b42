import shlex
from pathlib import Path

import stepwell


def test_python_dash_m_and_the_version(shell) -> None:
    """`python -m stepwell --version` prints one line."""
    said = shell("stepwell --version")
    assert (said.code, said.out, said.err) == (0, f"stepwell {stepwell.__version__}\n", "")


def test_a_closed_pipe_is_quiet(shell, corpus: Path) -> None:
    """When the reader of a pipe goes away, nothing is printed about it."""
    said = shell(f"stepwell search {shlex.quote(str(corpus))} the --k 100 --json | true")
    assert said.err == ""


def test_no_escape_codes_in_a_pipe(shell, corpus: Path, tmp_path: Path) -> None:
    """What goes to a file or a pipe holds no colour codes, errors included."""
    place = shlex.quote(str(corpus))
    said = shell(f"stepwell search {place} logs --trace; stepwell search {place}/nothing x")
    assert "\x1b" not in said.out + said.err
    assert "stepwell: " in said.err


def test_a_lone_byte_in_a_query_is_no_error(shell, corpus: Path) -> None:
    """A query with bytes that are not UTF-8 is searched for, the bytes replaced."""
    said = shell(
        f"stepwell search {shlex.quote(str(corpus))} $'logs \\xff' --json", LC_ALL="C.UTF-8"
    )
    assert said.code == 0
    assert said.json["query"] == "logs ?"


def test_a_character_that_the_terminal_lacks_is_replaced(run, shell, tmp_path: Path) -> None:
    """Text in any script is printed where only ASCII can be, with question marks."""
    (tmp_path / "a.txt").write_text("logs \u4e16\u754c", encoding="utf-8")
    run("index", tmp_path / "a.txt", "--to", tmp_path / "c", "--encoder", "none")
    said = shell(f"stepwell search {tmp_path / 'c'} logs --trace", PYTHONIOENCODING="ascii")
    assert said.code == 0
    assert "logs ??" in said.out
