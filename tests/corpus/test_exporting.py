"""What is exported is imported as it was; anything else is refused, and leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepwell import Corpus, CorpusError, Document, InputError
from stepwell.corpus import export, import_corpus
from tests.corpus.encoders import BagOfWords
from tests.corpus.killing import ROOT

ODD = [
    Document("1", "plain", {"n": 1, "x": 0.1, "big": 2**62, "none": None, "yes": True}),
    Document("2", "plain", {"list": [1, "a", {"deep": [1.5e-300]}]}),
    Document('"3"\n', "line\none\r\n\u2028two\x00\ttab", {"\u00e9": "\U0001f600"}),
    Document("\u0f00", "\u0928\u092e\u0938\u094d\u0924\u0947 \ufeff", {"": ""}),
    Document("5", "", {}),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with Corpus.open(tmp_path / "c", encoder=BagOfWords(), analyzer="german") as corpus:
        corpus.add(Document(f"d{n}", f"gone {n}") for n in range(30))
        corpus.add(ODD)
        corpus.delete([f"d{n}" for n in range(30)])
    return tmp_path / "c"


def _exported(path: Path, **options: Any) -> Path:
    file = path.with_suffix(".jsonl")
    with Corpus.open(path, encoder=None, read_only=True) as corpus:
        assert export(corpus, file, **options) == len(corpus)
    return file


@pytest.mark.parametrize("vectors", ["exact", "chroma"])
def test_a_corpus_comes_back_bit_for_bit(path: Path, tmp_path: Path, vectors: str) -> None:
    """Ids, texts, metadata, order, analyzer and vectors are the same; so is a second export."""
    if vectors == "chroma":
        pytest.importorskip("chromadb", reason="the extra chroma is not installed")
    file = _exported(path)
    assert import_corpus(file, tmp_path / "again", vectors=vectors) == len(ODD)
    ids = [document.id for document in ODD]
    with (
        Corpus.open(path, encoder=BagOfWords()) as before,
        Corpus.open(tmp_path / "again", encoder=BagOfWords()) as after,
    ):
        assert after.analyzer == "german"
        assert list(after) == list(before) == ODD
        assert [dict(each.metadata) for each in after] == [dict(each.metadata) for each in ODD]
        np.testing.assert_array_equal(after.vectors_of(ids), before.vectors_of(ids))
        assert after.verify().ok
        assert after.repaired == ()
        assert export(after, tmp_path / "second.jsonl") == len(ODD)
    assert (tmp_path / "second.jsonl").read_bytes() == file.read_bytes()
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "again",
        "c",
        "c.jsonl",
        "second.jsonl",
    ]


def test_without_vectors_they_are_made_anew_or_not_at_all(path: Path, tmp_path: Path) -> None:
    """A file of texts makes a corpus without vectors, or with those of any encoder."""
    file = _exported(path, vectors=False)
    import_corpus(file, tmp_path / "none")
    import_corpus(file, tmp_path / "new", encoder=BagOfWords(name="other", dimension=8))
    with Corpus.open(tmp_path / "none") as corpus:
        assert corpus.encoder is None
        assert list(corpus) == ODD
    with Corpus.open(tmp_path / "new", encoder=BagOfWords(name="other", dimension=8)) as corpus:
        assert corpus.verify().vectors == len(ODD)


def test_a_vector_that_was_lost_is_made_when_its_encoder_is_at_hand(
    path: Path, tmp_path: Path
) -> None:
    """A document exported without its vector is imported so, and encoded at the next opening."""
    file = _exported(path)
    lines = file.read_text("utf-8").split("\n")[:-1]
    lines = [lines[0], *(json.dumps({**json.loads(line), "vector": None}) for line in lines[1:])]
    file.write_text("\n".join(lines) + "\n", "utf-8")
    import_corpus(file, tmp_path / "again")
    with Corpus.open(tmp_path / "again", encoder=BagOfWords()) as corpus:
        assert corpus.verify().ok
        assert corpus.verify().vectors == len(ODD)


def test_an_export_is_of_one_state(path: Path, tmp_path: Path) -> None:
    """What is written while it runs is not in it."""
    with Corpus.open(path, encoder=BagOfWords()) as corpus:
        corpus.add(Document(f"n{n}", f"new {n}") for n in range(2000))
        before = list(corpus)

        def meanwhile(done: int) -> None:
            corpus.upsert([Document(f"n{1999 - done}", "changed"), Document(f"+{done}", "added")])
            corpus.delete([f"n{1000 + done // 2}"])

        export(corpus, tmp_path / "f", progress=meanwhile)
    import_corpus(tmp_path / "f", tmp_path / "again")
    with Corpus.open(tmp_path / "again", encoder=None) as again:
        assert list(again) == before


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda lines: lines[:-1], "has 4 documents and should have 5"),
        (lambda lines: [*lines, lines[-1]], "exist|have the id|holds"),
        (lambda lines: [*lines[:2], lines[2][:40], *lines[3:]], "line 3 of"),
        (lambda lines: [lines[0], lines[1].replace('"vector": "', '"vector": "AAAA')], "line 2 of"),
        (lambda lines: [lines[0].replace('"format": 1', '"format": 2'), *lines[1:]], "format 2"),
        (lambda lines: lines[1:], "no exported corpus"),
        (lambda lines: ["[]", *lines], "no exported corpus"),
        (lambda lines: [], "no exported corpus"),
    ],
)
def test_a_file_that_is_not_whole_is_refused(
    path: Path, tmp_path: Path, spoil: Any, message: str
) -> None:
    """Cut off, spoilt, of another version or another kind: an error names it, nothing appears."""
    file = _exported(path)
    lines = spoil(file.read_text("utf-8").split("\n")[:-1])
    file.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    with pytest.raises(InputError, match=message):
        import_corpus(file, tmp_path / "again")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["c", "c.jsonl"]


def test_what_is_there_already_is_not_touched(path: Path, tmp_path: Path) -> None:
    """A corpus is imported to a new place only, an export replaces one, in no corpus."""
    file = _exported(path)
    with pytest.raises(CorpusError, match="name a new folder"):
        import_corpus(file, path)
    with Corpus.open(path, encoder=None) as corpus:
        assert list(corpus) == ODD
        assert export(corpus, tmp_path / "new" / "file") == export(corpus, file) == len(ODD)
        for other in (path, tmp_path, path / "record.sqlite", path / "lexical-1" / "new"):
            with pytest.raises(InputError, match="name a"):
                export(corpus, other)
        with pytest.raises(InputError, match="inside the corpus"):
            import_corpus(file, path / "c")
        assert list(corpus) == ODD
        assert corpus.verify().ok
    with pytest.raises(InputError, match="cannot be read"):
        import_corpus(tmp_path / "nothing", tmp_path / "again")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
def test_a_killed_import_leaves_nothing_in_its_place(tmp_path: Path) -> None:
    """Killed in the middle there is no corpus; run again, there is all of it."""
    with Corpus.open(tmp_path / "c", encoder=None) as corpus:
        corpus.add(Document(str(n), f"text {n}") for n in range(30_000))
    file = _exported(tmp_path / "c")
    command = [sys.executable, "-m", "stepwell", "corpus", "import", file, "--to", tmp_path / "d"]
    with subprocess.Popen(list(map(str, command)), cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        part = tmp_path / "d.part" / "record.sqlite"
        while not part.exists() and process.poll() is None:
            time.sleep(0.01)
        process.kill()
    assert not (tmp_path / "d").exists()
    subprocess.run(list(map(str, command)), cwd=ROOT, check=True, capture_output=True)
    assert not part.parent.exists()
    with Corpus.open(tmp_path / "d", encoder=None) as corpus:
        assert len(corpus) == 30_000
        assert corpus.verify().ok
