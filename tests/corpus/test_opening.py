"""What is opened is a corpus, of this version, of this encoder, and free; or the error says so."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import filelock
import pytest

from stepwell import (
    ConfigurationError,
    Corpus,
    CorpusError,
    Document,
    InputError,
    MissingExtraError,
)
from tests.corpus.encoders import BagOfWords
from tests.corpus.killing import ROOT


def _made(path: Path) -> Path:
    with Corpus.open(path, encoder=None) as corpus:
        corpus.add([Document("a", "rotate the logs")])
    return path


def test_a_file_is_no_corpus(tmp_path: Path) -> None:
    """A path that is a file is named and left alone."""
    (tmp_path / "f").write_text("mine")
    with pytest.raises(CorpusError, match="is a file"):
        Corpus.open(tmp_path / "f", encoder=None)
    assert (tmp_path / "f").read_text() == "mine"


def test_a_folder_of_other_things_is_no_corpus(tmp_path: Path) -> None:
    """A folder with anything else in it is not written to."""
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(CorpusError, match="folder of other things"):
        Corpus.open(tmp_path, encoder=None)
    assert [entry.name for entry in tmp_path.iterdir()] == ["letter.txt"]


def test_another_database_is_no_corpus(tmp_path: Path) -> None:
    """A SQLite file of that name that is not ours is named and left alone."""
    connection = sqlite3.connect(tmp_path / "record.sqlite")
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    with pytest.raises(CorpusError, match="no corpus of Stepwell"):
        Corpus.open(tmp_path, encoder=None)


def test_nothing_is_made_unless_asked(tmp_path: Path) -> None:
    """With create=False or read_only=True an absent corpus is an error and nothing appears."""
    for options in ({"create": False}, {"read_only": True}):
        with pytest.raises(CorpusError, match="no corpus at"):
            Corpus.open(tmp_path / "c", encoder=None, **options)  # type: ignore[arg-type]
    assert not (tmp_path / "c").exists()


def test_to_search_a_folder_that_is_no_corpus_says_how_to_make_one(tmp_path: Path) -> None:
    """Where nothing may be made, the remedy is the command that makes a corpus."""
    (tmp_path / "letter.txt").write_text("mine")
    for options in ({"create": False}, {"read_only": True}):
        with pytest.raises(CorpusError, match="not a corpus; make one with: stepwell index"):
            Corpus.open(tmp_path, encoder=None, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("encoder", [None, "embedded"])
def test_a_corpus_that_lost_its_record_is_not_made_anew(tmp_path: Path, encoder: Any) -> None:
    """Without its record a corpus is named as such, and its indexes are left alone."""
    with Corpus.open(tmp_path / "c", encoder=encoder) as corpus:
        corpus.add([Document("a", "rotate the logs")])
    for file in (tmp_path / "c").glob("record.sqlite*"):
        file.unlink()
    before = sorted((tmp_path / "c").rglob("*"))
    for create in (True, False):
        with pytest.raises(CorpusError, match=r"whose record .*is missing.*backup"):
            Corpus.open(tmp_path / "c", encoder=encoder, create=create)
    assert sorted((tmp_path / "c").rglob("*")) == before


def test_an_empty_folder_becomes_a_corpus(tmp_path: Path) -> None:
    """An empty folder, and parents that do not exist yet, are fine."""
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "x" / "y"):
        with Corpus.open(path, encoder=None) as corpus:
            assert len(corpus) == 0


def test_a_newer_format_says_to_upgrade(tmp_path: Path) -> None:
    """A corpus of a newer format is not touched; the error has the pip line."""
    connection = sqlite3.connect(_made(tmp_path / "c") / "record.sqlite")
    connection.execute("UPDATE meta SET value = 99 WHERE key = 'format'")
    connection.commit()
    connection.close()
    with pytest.raises(CorpusError, match=r"format 99.*pip install -U"):
        Corpus.open(tmp_path / "c", encoder=None)


def test_a_damaged_record_says_what_to_do(tmp_path: Path) -> None:
    """The record is the one file that cannot be rebuilt: the error says so."""
    file = _made(tmp_path / "c") / "record.sqlite"
    file.write_bytes(b"x" * file.stat().st_size)
    with pytest.raises(CorpusError, match="backup"):
        Corpus.open(tmp_path / "c", encoder=None)


def test_options_that_contradict_the_record_are_named(tmp_path: Path) -> None:
    """Analyzer and kind of vectors are as recorded unless asked for otherwise, which fails."""
    with Corpus.open(tmp_path / "c", encoder=None, analyzer="german"):
        pass
    with Corpus.open(tmp_path / "c", encoder=None) as corpus:
        assert corpus.analyzer == "german"
    with pytest.raises(CorpusError, match="analyzer='german'"):
        Corpus.open(tmp_path / "c", encoder=None, analyzer="english")
    with pytest.raises(CorpusError, match=r"vectors='auto'.*--vectors chroma"):
        Corpus.open(tmp_path / "c", encoder=None, vectors="chroma")
    with pytest.raises(ConfigurationError, match="'klingon'"):
        Corpus.open(tmp_path / "c", encoder=None, analyzer="klingon")
    with pytest.raises(ConfigurationError, match="'faiss'"):
        Corpus.open(tmp_path / "c", encoder=None, vectors="faiss")


def test_a_corpus_without_vectors_takes_no_encoder_in_passing(tmp_path: Path) -> None:
    """Its default encoder is none; another is refused with the way to add one."""
    _made(tmp_path / "c")
    with Corpus.open(tmp_path / "c") as corpus:
        assert corpus.encoder is None
        corpus.add([Document("b", "page the team")])
    with pytest.raises(CorpusError, match="reencode"):
        Corpus.open(tmp_path / "c", encoder=BagOfWords())


def test_a_corpus_with_vectors_is_written_to_with_its_encoder(tmp_path: Path) -> None:
    """Opened without its encoder it can be read, by vector too, but not written to."""
    with Corpus.open(tmp_path / "c", encoder=BagOfWords()) as corpus:
        corpus.add([Document("a", "rotate"), Document("b", "page")])
    with Corpus.open(tmp_path / "c", encoder=None) as corpus:
        assert corpus.search_vector(BagOfWords().encode(["page"])[0], 1).ids == ["b"]
        with pytest.raises(CorpusError, match="open it with its encoder"):
            corpus.add([Document("c", "x")])


def test_a_read_only_corpus_is_read_only(tmp_path: Path) -> None:
    """It answers, and refuses every change."""
    _made(tmp_path / "c")
    with Corpus.open(tmp_path / "c", encoder=None, read_only=True) as corpus:
        assert corpus.search_text("log", 3).ids == ["a"]
        assert corpus.verify().ok
        for change in (
            lambda: corpus.add([Document("b", "x")]),
            lambda: corpus.delete(["a"]),
            corpus.compact,
        ):
            with pytest.raises(CorpusError, match="read-only"):
                change()


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere"
)
def test_a_folder_without_write_permission_can_be_read(tmp_path: Path) -> None:
    """On a read-only medium a corpus is read; a write says what to do."""
    path = _made(tmp_path / "c")
    for entry in [path, *path.rglob("*")]:
        entry.chmod(0o555 if entry.is_dir() else 0o444)
    try:
        with Corpus.open(path, encoder=None, read_only=True) as corpus:
            assert corpus.search_text("log", 3).ids == ["a"]
        with pytest.raises(CorpusError, match="read_only=True"):
            Corpus.open(path, encoder=None).add([Document("b", "x")])
    finally:
        for entry in [path, *path.rglob("*")]:
            entry.chmod(0o755)


def test_a_second_writer_is_told_who_is_in_the_way(tmp_path: Path) -> None:
    """A write that finds the lock taken waits, then names the lock and the remedy."""
    _made(tmp_path / "c")
    with (
        Corpus.open(tmp_path / "c", encoder=None, lock_timeout=0.05) as corpus,
        filelock.FileLock(tmp_path / "c" / "write.lock"),
    ):
        with pytest.raises(CorpusError, match=r"write\.lock.*lock_timeout"):
            corpus.add([Document("b", "x")])
        assert corpus.search_text("log", 3).ids == ["a"]
        with Corpus.open(tmp_path / "c", encoder=None) as other:
            assert len(other) == 1


def test_another_process_is_kept_out_while_one_writes(tmp_path: Path) -> None:
    """While a slow `add` runs here, an `add` in another process fails with the lock's name."""
    code = (
        "import sys; from stepwell import Corpus, CorpusError, Document\n"
        "corpus = Corpus.open(sys.argv[1], encoder=None, lock_timeout=0.1)\n"
        "assert corpus.search_text('log', 3).ids == ['a']\n"
        "try: corpus.add([Document('theirs', 'x')])\n"
        "except CorpusError as error: print(error)\n"
    )
    _made(tmp_path / "c")
    said: list[str] = []

    def documents() -> list[Document]:
        run = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "c")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        said.append(run.stdout)
        return [Document("ours", "x")]

    with Corpus.open(tmp_path / "c", encoder=None) as corpus:
        corpus.add(document for _ in range(1) for document in documents())
        assert "write.lock" in said[0]
        assert {document.id for document in corpus} == {"a", "ours"}


def test_a_closed_corpus_says_so(tmp_path: Path) -> None:
    """After `close` every question is an error that names the corpus."""
    corpus = Corpus.open(tmp_path / "c", encoder=None)
    corpus.close()
    corpus.close()
    with pytest.raises(CorpusError, match="is closed"):
        corpus.search_text("x", 1)


def test_two_threads_make_one_corpus(tmp_path: Path) -> None:
    """Opened by many at once where there was none, all have the same corpus."""
    made: list[Corpus] = []

    def work(n: int) -> None:
        corpus = Corpus.open(tmp_path / "c", encoder=None)
        made.append(corpus)
        corpus.add([Document(str(n), "x")])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(corpus) for corpus in made] == [4] * 4
    for corpus in made:
        corpus.close()


def test_a_corpus_lies_in_no_other(tmp_path: Path) -> None:
    """A folder in a corpus is refused, and the corpus stays as it is."""
    path = _made(tmp_path / "c")
    before = sorted(path.rglob("*"))
    with pytest.raises(InputError, match="inside the corpus"):
        Corpus.open(path / "x" / "y", encoder=None)
    assert sorted(path.rglob("*")) == before


def test_nothing_is_made_without_the_package_that_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where chromadb is not installed a corpus that wants it is not begun."""
    monkeypatch.setitem(sys.modules, "chromadb", None)
    with pytest.raises(MissingExtraError, match=r"stepwell\[chroma\]"):
        Corpus.open(tmp_path / "c", encoder=None, vectors="chroma")
    assert not (tmp_path / "c").exists()


def test_too_small_a_size_for_approximate_search_is_refused(tmp_path: Path) -> None:
    """Below 1,000 vectors nothing would be saved; the least is named, and does."""
    for vectors in ("auto:0", "auto:999"):
        with pytest.raises(ConfigurationError, match="'auto:1000' or more"):
            Corpus.open(tmp_path / "c", encoder=None, vectors=vectors)
    Corpus.open(tmp_path / "c", encoder=None, vectors="auto:1000").close()


def test_another_kind_of_vectors_names_the_command_with_its_path(tmp_path: Path) -> None:
    """What changes it can be pasted."""
    _made(tmp_path / "a b")
    with pytest.raises(CorpusError, match=r"stepwell corpus rebuild '.*a b' --vectors auto:2000"):
        Corpus.open(tmp_path / "a b", encoder=None, vectors="auto:2000")
