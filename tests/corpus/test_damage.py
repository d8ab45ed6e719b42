"""A damaged index is rebuilt from the record, and that is said."""

from __future__ import annotations

import logging
import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from stepwell import Corpus, CorpusError, Document
from tests.corpus.encoders import BagOfWords

TEXTS = [f"text number {n} about topic {n % 5}" for n in range(300)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with Corpus.open(tmp_path / "c", encoder=BagOfWords()) as corpus:
        for start in (0, 100, 200):
            corpus.add(Document(str(n), TEXTS[n]) for n in range(start, start + 100))
        corpus.delete(["7"])
    return tmp_path / "c"


def _whole(path: Path, *repairs: str) -> None:
    """The corpus opens, says what it repaired, and holds everything in every index."""
    with Corpus.open(path, encoder=BagOfWords()) as corpus:
        assert len(corpus.repaired) == len(repairs)
        for said, expected in zip(corpus.repaired, repairs):
            assert expected in said
        assert corpus.verify().ok
        assert len(corpus.search_text("text", 500)) == 299
        near = corpus.search_vector(BagOfWords().encode([TEXTS[42]])[0], 1)
        assert near.ids == ["42"]
    with Corpus.open(path, encoder=BagOfWords()) as corpus:
        assert corpus.repaired == ()


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.glob("lexical-*/*") if not file.name.startswith("."))


def test_nothing_is_repaired_that_is_whole(path: Path) -> None:
    """An undamaged corpus opens without a word."""
    _whole(path)


def test_a_term_index_that_is_gone_is_rebuilt(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The folder of the term index may be deleted; the log warns of the rebuild."""
    shutil.rmtree(next(path.glob("lexical-*")))
    with caplog.at_level(logging.WARNING, "stepwell"):
        _whole(path, "term index was rebuilt")
    assert "term index was rebuilt" in caplog.text


@pytest.mark.parametrize("seed", range(4))
def test_any_file_of_the_term_index_may_be_damaged(path: Path, seed: int) -> None:
    """Cut off, overwritten or deleted, whichever file it is: the index is rebuilt."""
    rng = random.Random(seed)
    file = rng.choice(_files(path))
    data = bytearray(file.read_bytes())
    match seed % 3:
        case 0:
            file.unlink()
        case 1:
            file.write_bytes(data[: len(data) // 2])
        case _:
            data[rng.randrange(len(data))] ^= 0xFF
            file.write_bytes(data)
    _whole(path, "term index was rebuilt")


def test_vectors_that_are_damaged_are_encoded_again(path: Path) -> None:
    """Of a vector file with one byte changed only that vector is made anew."""
    file = path / "vectors-1.f16"
    data = bytearray(file.read_bytes())
    data[1000] ^= 0xFF
    file.write_bytes(data)
    _whole(path, "1 vectors were damaged and are encoded again")


def test_a_vector_file_that_was_cut_off_is_completed(path: Path) -> None:
    """What is missing at the end is encoded again."""
    file = path / "vectors-1.f16"
    file.write_bytes(file.read_bytes()[: 100 * 128 + 5])
    _whole(path, "200 vectors were damaged and are encoded again")


def test_a_vector_file_that_is_gone_is_made_again(path: Path) -> None:
    """All vectors are encoded again."""
    (path / "vectors-1.f16").unlink()
    _whole(path, "300 vectors were damaged and are encoded again")


def test_damage_is_found_by_verify_and_left_alone_when_read_only(path: Path) -> None:
    """A read-only corpus with a damaged index says how to have it rebuilt."""
    _files(path)[0].unlink()
    with pytest.raises(CorpusError, match="without read_only=True"):
        Corpus.open(path, encoder=BagOfWords(), read_only=True)
    assert not _files(path)[0].name.startswith("x")
    _whole(path, "term index was rebuilt")


@pytest.mark.parametrize("damage", ["text = 'Text' || substr(text, 5)", "metadata = '{'"])
def test_damage_inside_the_record_is_found_by_verify(path: Path, damage: str) -> None:
    """A text or metadata that is not what was written is a problem, which names the document."""
    connection = sqlite3.connect(path / "record.sqlite")
    connection.execute(f"UPDATE contents SET {damage} WHERE row = (SELECT min(row) FROM contents)")
    connection.commit()
    connection.close()
    with Corpus.open(path, encoder=BagOfWords()) as corpus:
        (problem,) = corpus.verify().problems
    assert problem == "the record is damaged: 1 documents are not what was written: '0'"


def test_an_index_that_lags_behind_is_caught_up(path: Path, tmp_path: Path) -> None:
    """A term index restored from an older backup gets what it lacks, and loses what is gone."""
    folder = next(path.glob("lexical-*"))
    shutil.copytree(folder, tmp_path / "old")
    with Corpus.open(path, encoder=BagOfWords()) as corpus:
        corpus.add([Document("late", "text that came later")])
        corpus.delete(["late", "8"])
        corpus.add([Document("later", "text that came even later"), Document("8", "text again")])
        corpus.delete(["9"])
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "old", folder)
    with Corpus.open(path, encoder=BagOfWords()) as corpus:
        assert corpus.verify().ok
        assert corpus.search_text("even later", 1).ids == ["later"]


def test_a_copied_corpus_is_a_corpus(path: Path, tmp_path: Path) -> None:
    """A closed corpus may be copied or moved like any folder."""
    shutil.copytree(path, tmp_path / "copy")
    _whole(tmp_path / "copy")
