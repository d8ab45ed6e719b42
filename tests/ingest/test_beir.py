import gzip
import json
from pathlib import Path

import pytest

from stepwell import InputError
from stepwell.ingest import read_beir, read_queries, read_source

ROWS = [
    {"_id": "a", "title": "Logs", "text": "Rotate them.", "metadata": {"year": 2024}},
    {"_id": "b", "title": "", "text": "No title."},
    {"_id": 3, "text": "A number for an id."},
]


def written(folder: Path, rows: list[object], name: str = "corpus.jsonl") -> Path:
    text = "".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows)
    data = text.encode("utf-8", "surrogatepass")
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return folder


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.jsonl.gz"])
def test_title_and_text_are_joined_and_ids_become_strings(tmp_path: Path, name: str) -> None:
    """A document is "title, newline, text"; the title is metadata too; ids are strings."""
    reading = read_beir(written(tmp_path, ROWS, name))
    documents = list(reading.documents)
    assert [d.id for d in documents] == ["a", "b", "3"]
    assert [d.text for d in documents] == ["Logs\nRotate them.", "No title.", "A number for an id."]
    assert dict(documents[0].metadata) == {"year": 2024, "title": "Logs"}
    assert (reading.total, reading.skipped) == (3, ())


def test_documents_can_be_read_twice(tmp_path: Path) -> None:
    """The documents are read anew by each iteration: none is held in memory in between."""
    documents = read_beir(written(tmp_path, ROWS)).documents
    assert list(documents) == list(documents)


def test_faulty_lines_are_named_and_passed_over(tmp_path: Path) -> None:
    """A line that is no document is reported by number and reason; the others are read."""
    rows = [
        ROWS[0],
        "{broken\n",
        "[1]\n",
        {"text": "no id"},
        {"_id": "c"},
        {"_id": "a", "text": "again"},
        "\n",
        ROWS[1],
    ]
    folder = written(tmp_path, rows)
    with (folder / "corpus.jsonl").open("ab") as stream:
        stream.write(b'{"_id": "x", "text": "caf\xe9"}\n')
    reading = read_beir(folder)
    assert [d.id for d in reading.documents] == ["a", "b"]
    assert [str(each) for each in reading.skipped] == [
        "corpus.jsonl line 2: it is not JSON",
        "corpus.jsonl line 3: it is not a JSON object",
        "corpus.jsonl line 4: it has no _id",
        "corpus.jsonl line 5: it has no text",
        "corpus.jsonl line 6: the id 'a' is there twice",
        "corpus.jsonl line 9: it is not UTF-8",
    ]
    assert not reading.covers({})  # what was there may be on a faulty line: nothing has vanished


def test_a_truncated_gzip_is_an_error_that_names_the_line(tmp_path: Path) -> None:
    """A download that was cut off is refused before anything is indexed."""
    written(tmp_path, [{"_id": str(n), "text": f"{n * 7919}" * 50} for n in range(500)], "x.gz")
    data = (tmp_path / "x.gz").read_bytes()
    (tmp_path / "corpus.jsonl.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"corpus.jsonl.gz is damaged after line \d+"):
        read_beir(tmp_path)


def test_a_folder_without_a_corpus_is_an_error(tmp_path: Path) -> None:
    """A folder in another layout is named."""
    with pytest.raises(InputError, match=r"has no corpus.jsonl"):
        read_beir(tmp_path)


def test_a_glob_chooses_nothing_in_a_beir_set(tmp_path: Path) -> None:
    """A pattern that could have no effect is an error, not silently dropped."""
    with pytest.raises(InputError, match="no files to choose from"):
        read_source(written(tmp_path, ROWS), glob=["*.md"])


def test_a_lone_surrogate_becomes_a_question_mark(tmp_path: Path) -> None:
    """Half of an escaped pair is valid JSON and no character; a whole pair is kept."""
    rows = ['{"_id": "a", "text": "x\\ud800y \\uD83D\\uDE00"}\n']
    reading = read_beir(written(tmp_path, rows))
    assert next(iter(reading.documents)).text == "x?y \U0001f600"


def test_queries_must_be_whole(tmp_path: Path) -> None:
    """A faulty line of a query file is an error: a query less would change what is measured."""
    written(tmp_path, [{"_id": 1, "text": "logs?"}], "queries.jsonl")
    assert read_queries(tmp_path / "queries.jsonl") == {"1": "logs?"}
    written(tmp_path, [{"_id": 1, "text": "logs?"}, {"_id": "1", "text": "x"}], "queries.jsonl")
    with pytest.raises(InputError, match=r"line 2: the id '1' is there twice"):
        read_queries(tmp_path / "queries.jsonl")
