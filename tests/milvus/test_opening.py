"""What a collection records of itself is checked when it is opened; copies and closing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pymilvus import MilvusClient

from stepwell import ConfigurationError, CorpusError, Document, InputError, MilvusCorpus
from tests.corpus.encoders import BagOfWords
from tests.milvus.conftest import Make


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"encoder": BagOfWords(name="another")}, "'bag-of-words'"),
        ({"encoder": BagOfWords(dimension=32)}, "64 dimensions"),
        ({"analyzer": "german"}, "analyzer='english'"),
    ],
)
def test_another_encoder_or_analyzer_is_refused(
    make: Make, options: dict[str, Any], said: str
) -> None:
    """A collection is opened only with what it was made with, and says what that was."""
    make(collection="made").upsert([Document("a", "b")])
    with pytest.raises(CorpusError, match=said):
        make(collection="made", **options)
    with make(collection="made") as again:
        assert len(again) == 1


def test_it_is_read_without_its_encoder_but_not_written(make: Make) -> None:
    """Opened with encoder=None it answers by words, and refuses a document without a vector."""
    make(collection="read").add([Document("a", "rotate")])
    reader = make(collection="read", encoder=None)
    assert reader.search_text("rotate", 1).ids == ["a"]
    with pytest.raises(CorpusError, match="with its encoder"):
        reader.add([Document("b", "c")])


def test_a_collection_without_vectors_takes_no_encoder(make: Make) -> None:
    """It opens with the default encoder, which it then has not, and with no other."""
    make(collection="bare", encoder=None)
    assert make(collection="bare", encoder="embedded").encoder is None
    with pytest.raises(CorpusError, match="has no vectors"):
        make(collection="bare")


def test_what_is_not_there_is_not_made_unless_wanted(make: Make) -> None:
    """With create=False a missing collection is an error that names it."""
    with pytest.raises(CorpusError, match="no collection 'nowhere'"):
        make(collection="nowhere", create=False)


def test_a_collection_of_others_is_left_alone(make: Make, milvus_file: Path) -> None:
    """A collection that Stepwell did not make is refused and stays as it is."""
    MilvusClient(str(milvus_file)).create_collection("others", dimension=4)
    with pytest.raises(CorpusError, match="not made by Stepwell"):
        make(collection="others")


@pytest.mark.parametrize(
    "options", [{"consistency": "now"}, {"timeout": 0}, {"shards": 0}, {"analyzer": "klingon"}]
)
def test_what_would_always_be_wrong_is_refused(make: Make, options: dict[str, Any]) -> None:
    """Unknown words and numbers too small are configuration errors."""
    with pytest.raises(ConfigurationError):
        make(**options)


def test_what_milvus_cannot_hold_is_refused(make: Make) -> None:
    """A text, an id or metadata beyond Milvus's limits is an error that names the document."""
    corpus = make()
    big = "é" * 32_768
    for document in (
        Document("long", big),
        Document("long", "", {"m": big}),
        Document("long", "", {"m": list(range(5000))}),
        Document("long", "", {f"m{n}": "x" * 200 for n in range(200)}),
    ):
        with pytest.raises(InputError, match=r"'long'.*Milvus takes"):
            corpus.add([Document("short", ""), document])
    assert len(corpus) == 0
    assert corpus.add([Document("fits", "é" * 32_767)]) == 1


def test_an_index_of_ones_own_is_used(make: Make) -> None:
    """A graph instead of the exact search of a file finds the nearest too."""
    index = {"index_type": "HNSW", "params": {"M": 16, "efConstruction": 64}}
    corpus = make(index=index, search={"ef": 100})
    corpus.add(Document(str(n), f"word{n} log") for n in range(300))
    query = BagOfWords().encode(["word7 log"])[0]
    assert "7" in corpus.search_vector(query, 10).ids


def test_a_file_is_let_go_of_when_its_last_corpus_closes(tmp_path: Path) -> None:
    """Another process opens the file after it was closed; while it is open it says who has it."""
    path = tmp_path / "one.db"
    code = "import sys; from stepwell import MilvusCorpus as M; print(len(M(sys.argv[1])))"
    command = [sys.executable, "-c", code.replace("])", "], encoder=None)"), path]
    with MilvusCorpus(path, encoder=None) as corpus:
        corpus.add([Document("a", "b")])
        with MilvusCorpus(path, encoder=None) as second:
            assert len(second) == 1
        assert len(corpus) == 1
        other = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "another process holds it" in other.stderr
    other = subprocess.run(command, capture_output=True, text=True, check=False)
    assert other.stdout.strip() == "1", other.stderr


def test_closing_twice_closes_one(tmp_path: Path) -> None:
    """A corpus that is closed again leaves others of its file open; the last one lets go of it."""
    path = tmp_path / "one.db"
    first, second = MilvusCorpus(path, encoder=None), MilvusCorpus(path, encoder=None)
    first.add([Document("a", "rotate")])
    first.close()
    first.close()
    assert second.search_text("rotate", 1).ids == ["a"]
    second.close()
    second.close()
    with MilvusCorpus(path, encoder=None) as again:
        assert len(again) == 1


def test_a_file_in_no_folder_is_refused(tmp_path: Path) -> None:
    """The folder of a file must be there."""
    with pytest.raises(CorpusError, match="does not exist"):
        MilvusCorpus(tmp_path / "no" / "a.db", encoder=None)


def test_without_pymilvus_the_pip_line_is_printed() -> None:
    """Importing Stepwell needs no pymilvus, and using it without says what to type."""
    code = (
        "import sys; sys.modules['pymilvus'] = None\n"
        "import stepwell\n"
        "try: stepwell.MilvusCorpus('x.db', encoder=None)\n"
        "except stepwell.MissingExtraError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "stepwell[milvus]" in done.stdout


def test_an_index_that_is_none_is_refused(make: Make) -> None:
    """Milvus Lite would take a misspelt one and only log, later, that it is unknown."""
    with pytest.raises(ConfigurationError, match="'HNWS'"):
        make(index={"index_type": "HNWS"})


def test_what_there_is_not_is_explained(make: Make) -> None:
    """The methods that a `Corpus` has besides are named with what there is instead."""
    corpus = make(encoder=None)
    for name, what in (("snapshot", "state of its moment"), ("verify", "whole and small")):
        assert not hasattr(corpus, name)
        with pytest.raises(AttributeError, match=what):
            getattr(corpus, name)
