"""A disk that is full or may not be written to ends in a typed error and an intact corpus."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from stepwell import Corpus, CorpusError, Document
from stepwell.corpus import export
from stepwell.ingest import read_source, sync
from tests.corpus.encoders import BagOfWords
from tests.corpus.killing import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and mounts are Linux's")


def _mount(*args: object) -> bool:
    command = ["mount", *map(str, args)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB."""
    place = tmp_path / "small"
    place.mkdir()
    if not _mount("-t", "tmpfs", "-o", "size=6m", "tmpfs", place):
        pytest.skip("only the superuser, with the right to mount, makes a small file system")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def _encoder(encoded: bool) -> BagOfWords | None:
    return BagOfWords() if encoded else None


def _filled(path: Path, *, encoded: bool, largest: int = 0) -> set[str]:
    """What was acknowledged to a process before the disk refused, in a typed error."""
    command = [sys.executable, "-m", "tests.corpus.filling", path, int(encoded), largest]
    run = subprocess.run(
        list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    *said, last = map(json.loads, run.stdout.splitlines())
    assert "see to" in last["error"]
    return {id for line in said for id in line["ids"]}


def _intact(corpus: Corpus, ids: set[str]) -> None:
    assert {document.id for document in corpus} == ids
    report = corpus.verify()
    assert report.ok, report.problems
    for id in sorted(ids)[:3]:
        document = corpus.get(id)
        assert document is not None
        assert corpus.search_text(document.text, 1).ids == [id]


def _usable(path: Path, ids: set[str], *, encoded: bool) -> None:
    """With room again, everything works."""
    with Corpus.open(path, encoder=_encoder(encoded)) as corpus:
        assert corpus.repaired == ()
        _intact(corpus, ids)
        corpus.upsert([Document("later", "there is room")])
        corpus.delete(sorted(ids)[:5])
        corpus.compact()
        _intact(corpus, {"later", *sorted(ids)[5:]})


def _no_room(folder: Path) -> Path:
    """A file that takes all that is left."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    return ballast


@pytest.mark.parametrize("encoded", [False, True])
def test_a_full_disk_loses_nothing_acknowledged(small: Path, encoded: bool) -> None:
    """Full in the middle of a write, the corpus is read as it was acknowledged, and goes on."""
    ids = _filled(small / "c", encoded=encoded)
    with Corpus.open(small / "c", encoder=_encoder(encoded)) as corpus:
        _intact(corpus, ids)
        ballast = _no_room(small)
        with pytest.raises(CorpusError, match="see to"):
            corpus.upsert([Document("b", "more than there ever was " * 300_000)])
        _intact(corpus, ids)
        with suppress(CorpusError):  # what an index gives back first may be enough for it
            corpus.compact()
        _intact(corpus, ids)
        ballast.unlink()
    assert _mount("-o", "remount,size=60m", small)
    _usable(small / "c", ids, encoded=encoded)


@pytest.mark.parametrize("largest", [300_000, 1_200_000, 2_400_000])
@pytest.mark.parametrize("encoded", [False, True])
def test_a_file_that_may_not_grow_loses_nothing_acknowledged(
    tmp_path: Path, largest: int, encoded: bool
) -> None:
    """Under a limit of the system on the size of files: the same, whichever file meets it."""
    _usable(
        tmp_path / "c", _filled(tmp_path / "c", encoded=encoded, largest=largest), encoded=encoded
    )


def test_no_room_to_make_a_corpus_is_a_typed_error(small: Path) -> None:
    """On a full disk nothing can be made; with room again, in the same place, it can."""
    ballast = _no_room(small)
    with pytest.raises(CorpusError):
        Corpus.open(small / "c", encoder=None)
    ballast.unlink()
    with Corpus.open(small / "c", encoder=None) as corpus:
        corpus.add([Document("a", "there is room")])
        _intact(corpus, {"a"})


def test_a_read_only_disk_is_read(small: Path) -> None:
    """Mounted read-only a corpus answers, with or without read_only=True; a write is refused."""
    path = small / "c"
    with Corpus.open(path, encoder=BagOfWords()) as corpus:
        corpus.add(Document(str(n), f"text {n}") for n in range(50))
        corpus.delete(["7"])
    ids = {str(n) for n in range(50)} - {"7"}
    assert _mount("-o", "remount,ro", small)
    for read_only in (False, True):
        with Corpus.open(path, encoder=BagOfWords(), read_only=read_only) as corpus:
            _intact(corpus, ids)
            for write, *given in (
                (corpus.add, [Document("b", "x")]),
                (corpus.delete, ["1"]),
                (corpus.compact,),
                (corpus.reencode, None),
            ):
                with pytest.raises(CorpusError, match=r"read_only=True|read-only"):
                    write(*given)
            _intact(corpus, ids)
    with pytest.raises(CorpusError):
        Corpus.open(small / "new", encoder=None)
    assert os.listdir(small) == ["c"]
    assert _mount("-o", "remount,rw", small)
    _usable(path, ids, encoded=True)


def test_a_read_only_disk_takes_no_export_and_no_index(
    small: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Both end in a typed error; to read it warns of nothing, though its upkeep must wait."""
    (tmp_path / "a.txt").write_text("x")
    reading = read_source(tmp_path / "a.txt")
    with Corpus.open(small / "c", encoder=None) as corpus:
        corpus.add([Document("a", "x")])
    assert _mount("-o", "remount,ro", small)
    with Corpus.open(small / "c", encoder=None) as corpus:
        for refused in (lambda: export(corpus, small / "e"), lambda: sync(corpus, reading)):
            with pytest.raises(CorpusError, match="see to"):
                refused()
    assert not caplog.records
