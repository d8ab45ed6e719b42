import json
import sys
from pathlib import Path

import pytest

from stepwell import Corpus, Document
from tests.corpus.encoders import BagOfWords


def _damaged(corpus: Path) -> None:
    for file in next(corpus.glob("lexical-*")).glob("*.term"):
        file.write_bytes(b"nonsense")


def test_verify_says_whether_record_and_indexes_agree(run, corpus: Path) -> None:
    """Of a whole corpus the exit code is 0, and JSON has the counts."""
    said = run("corpus", "verify", corpus)
    assert (said.code, said.err) == (0, "")
    assert "3 documents, 0 with a vector\nthe record and its indexes agree\n" in said.out
    counts = {"documents": 3, "vectors": 0}
    found = {"corpus": str(corpus), "ok": True, **counts, "searches": None, "problems": []}
    assert run("corpus", "verify", corpus, "--json").json == found


def test_verify_finds_damage_and_leaves_it_and_rebuild_mends_it(run, corpus: Path) -> None:
    """A damaged index ends verify with 1 and the command that mends it; then all is well."""
    _damaged(corpus)
    for _ in range(2):
        said = run("corpus", "verify", corpus)
        assert said.code == 1
        assert "problem: the term index cannot be used" in said.out
        assert said.err == f"indexes are made anew with: stepwell corpus rebuild {corpus}\n"
    said = run("corpus", "verify", corpus, "--json")
    assert (said.code, said.json["ok"], len(said.json["problems"])) == (1, False, 1)
    assert "rebuilt" in run("corpus", "rebuild", corpus, "--json").json["repaired"][0]
    assert run("corpus", "rebuild", corpus).out.endswith("made anew from 3 documents\n")
    assert run("corpus", "verify", corpus).code == 0


def test_how_vectors_are_searched_is_chosen_and_told(run, tmp_path: Path) -> None:
    """`rebuild --vectors` changes it, `verify` says it, and an unknown way is refused."""
    path = tmp_path / "vectors"
    with Corpus.open(path, encoder=BagOfWords()) as corpus:
        corpus.add([Document("a", "x")])
    assert "vectors are searched exactly\n" in run("corpus", "verify", path).out
    assert run("corpus", "rebuild", path, "--vectors", "exact").code == 0
    with Corpus.open(path, encoder=None) as corpus:
        assert corpus._store.state().vectors == "exact"
    told = run("corpus", "verify", path, "--json").json["searches"]
    assert told == {"how": "exact", "vectors": 1, "indexed": 0, "recall": None, "lacking": ""}
    assert "vectors must be 'auto'" in run("corpus", "rebuild", path, "--vectors", "best").err


def test_compact_gives_back_the_room_of_what_was_deleted(run, tmp_path: Path) -> None:
    """After most documents are deleted the files are smaller, and the rest is there."""
    place = tmp_path / "c"
    with Corpus.open(place, encoder=None) as made:
        made.add(Document(str(n), f"{n} " + "word " * 300) for n in range(900))
        made.delete([str(n) for n in range(10, 900)])
    said = run("corpus", "compact", place, "--json")
    assert said.code == 0
    assert said.json["documents"] == 10
    assert said.json["bytes_after"] < said.json["bytes_before"] / 2
    assert "10 documents" in run("corpus", "compact", place).out
    assert run("corpus", "verify", place).code == 0


@pytest.mark.parametrize("option", ["--vectors", "--no-vectors"])
def test_export_and_import_make_the_same_corpus(run, folder: Path, tmp_path: Path, option) -> None:
    """What index made is exported and imported, and answers a search in the same way."""
    place, file, again = tmp_path / "c", tmp_path / "c.jsonl", tmp_path / "again"
    assert run("index", folder, "--to", place).code == 0
    said = run("corpus", "export", place, "--to", file, option, "--json")
    assert said.json == {"corpus": str(place), "documents": 3, "file": str(file)}
    assert json.loads(file.read_text().split("\n")[0])["documents"] == 3
    encoder = () if option == "--vectors" else ("--encoder", "embedded")
    said = run("corpus", "import", file, "--to", again, *encoder)
    assert (said.code, said.out) == (0, f"{again}: 3 documents from {file}\n")
    asked = ("old logs", "--preset", "two-stage", "--json")
    assert run("search", again, *asked).json["hits"] == run("search", place, *asked).json["hits"]


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["verify", "{tmp}/nothing"], 1, "there is no corpus at"),
        (["rebuild", "{tmp}/nothing"], 1, "there is no corpus at"),
        (["compact", "{docs}"], 1, "is a folder of other things"),
        (["export", "{tmp}/nothing", "--to", "{tmp}/f"], 1, "there is no corpus at"),
        (["export", "{corpus}", "--to", "{tmp}"], 2, "is no exported corpus; name a new file"),
        (["export", "{corpus}", "--to", "{docs}/logs.txt"], 2, "name a new file"),
        (["export", "{corpus}", "--to", "{corpus}/record.sqlite"], 2, "is inside the corpus"),
        (["export", "{corpus}", "--to", "-"], 2, "no stream"),
        (["import", "{tmp}/nothing", "--to", "{tmp}/c"], 2, "cannot be read"),
        (["import", "{docs}/logs.txt", "--to", "{tmp}/c"], 2, "stepwell index FILE"),
        (["import", "{docs}/logs.txt", "--to", "{tmp}/c.db"], 2, "names a corpus in Milvus"),
        (["rebuild", "{corpus}", "--vectors", "auto:999"], 2, "use 'auto:1000' or more"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    run, corpus: Path, folder: Path, tmp_path: Path, args, code: int, message: str
) -> None:
    """A mistake is answered as by the other commands, and nothing is made."""
    places = {"tmp": tmp_path, "corpus": corpus, "docs": folder}
    said = run("corpus", *(arg.format(**places) for arg in args))
    assert (said.code, said.out) == (code, "")
    assert said.err.startswith("stepwell: ")
    assert message in said.err
    said = run("corpus", *(arg.format(**places) for arg in args), "--json")
    assert message in json.loads(said.err)["error"]["message"]
    assert not (tmp_path / "c").exists()
    assert not (tmp_path / "nothing").exists()
    assert not (tmp_path / "f").exists()


def test_a_place_that_is_taken_is_named(run, corpus: Path, tmp_path: Path) -> None:
    """An import does not touch a corpus that is there."""
    file = tmp_path / "f.jsonl"
    assert run("corpus", "export", corpus, "--to", file).code == 0
    said = run("corpus", "import", file, "--to", corpus)
    assert (said.code, said.out) == (1, "")
    assert "name a new folder" in said.err
    assert run("corpus", "verify", corpus).code == 0


def test_an_import_takes_no_vectors_when_none_are_asked_for(run, tmp_path: Path) -> None:
    """`--encoder none` leaves out those of the file."""
    place, file = tmp_path / "c", tmp_path / "c.jsonl"
    with Corpus.open(place, encoder=BagOfWords()) as corpus:
        corpus.add([Document("a", "x")])
    assert run("corpus", "export", place, "--to", file).code == 0
    again = tmp_path / "again"
    assert run("corpus", "import", file, "--to", again, "--encoder", "none").code == 0
    assert "1 documents, 0 with a vector\n" in run("corpus", "verify", again).out


def test_a_rebuild_says_what_approximate_search_lacks(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without faiss vectors above the size stay searched exactly, and the extra is named."""
    place = tmp_path / "c"
    with Corpus.open(place, encoder=BagOfWords()) as corpus:
        corpus.add(Document(str(n), f"word {n}") for n in range(1001))
    monkeypatch.setitem(sys.modules, "faiss", None)
    said = run("corpus", "rebuild", place, "--vectors", "auto:1000")
    told = "vectors are searched exactly (approximate search needs: pip install 'stepwell[faiss]')"
    assert told in said.out
    assert told in run("corpus", "verify", place).out


def test_compact_says_what_a_reader_keeps(run, corpus: Path) -> None:
    """The log of the record is there until who reads has closed the corpus, and named so."""
    with Corpus.open(corpus, encoder=None) as reader, reader.snapshot():
        said = run("corpus", "compact", corpus)
    assert "when who has the corpus open closes it" in said.err
    assert run("corpus", "compact", corpus).err == ""
