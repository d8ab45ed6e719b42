import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepwell import BM25, Cascade, Corpus, InputError, StepwellError
from stepwell.evaluate import evaluate, find_dataset, named_dataset
from stepwell.ingest import sync

ir_datasets = pytest.importorskip("ir_datasets", reason="needs the extra ir-datasets")
NAME = "stepwell-tests/tiny"


@pytest.fixture
def registered(tmp_path: Path) -> Iterator[Path]:
    """A data set of this machine, under a name, as `ir_datasets` documents it."""
    (tmp_path / "docs.tsv").write_text("logs\trotate the logs\ncats\tthe cat is fed at noon\n")
    (tmp_path / "queries.tsv").write_text("q1\trotate logs\nq2\tcat food\nq3\tunjudged\n")
    (tmp_path / "qrels").write_text("q1 0 logs 2\nq2 0 cats 1\nq9 0 cats 1\n")
    made = ir_datasets.create_dataset(
        docs_tsv=str(tmp_path / "docs.tsv"),
        queries_tsv=str(tmp_path / "queries.tsv"),
        qrels_trec=str(tmp_path / "qrels"),
    )
    ir_datasets.registry.register(NAME, made)
    yield tmp_path
    ir_datasets.registry._registered.pop(NAME)


def test_a_named_set_is_read_and_measured(registered: Path) -> None:
    """Documents, queries and grades come from the set; what does not fit is counted."""
    dataset = find_dataset(NAME)
    assert dataset.queries == {"q1": "rotate logs", "q2": "cat food"}
    assert dataset.qrels == {"q1": {"logs": 2}, "q2": {"cats": 1}}
    assert (dataset.name, dataset.left_out, dataset.unasked) == (NAME, 1, 1)
    assert dataset.documents is not None
    with Corpus.temporary(encoder=None) as corpus:
        sync(corpus, dataset.documents.read())
        assert len(corpus) == dataset.documents.read().total == 2
        report = evaluate(Cascade([BM25(corpus)]), dataset)
    assert report.measures["nDCG@10"] == 1.0
    assert "1 judged queries are unknown to the data set: left out" in report.remarks


def test_the_key_follows_the_documents(registered: Path) -> None:
    """An index is kept by the documents themselves: a changed one makes another key."""
    before = find_dataset(NAME).documents.key()
    assert find_dataset(NAME).documents.key() == before
    (registered / "docs.tsv").write_text("logs\trotate the logs\ncats\tthe cat is fed at six\n")
    assert find_dataset(NAME).documents.key() != before


def test_what_cannot_be_downloaded_says_so(tmp_path: Path, monkeypatch) -> None:
    """A set whose source cannot be reached is an error that names it and what to do."""
    (tmp_path / "queries.tsv").write_text("q1\trotate logs\n")
    gone = ir_datasets.util.LocalDownload(tmp_path / "gone.tsv")
    queries = ir_datasets.formats.TsvQueries(gone)
    made = ir_datasets.create_dataset(docs_tsv=str(tmp_path / "queries.tsv"))
    whole = ir_datasets.Dataset(made, queries, ir_datasets.formats.TrecQrels(gone, {}))
    ir_datasets.registry.register(NAME, whole)
    try:
        with pytest.raises(StepwellError, match=f"cannot provide {NAME}: .*FileNotFoundError"):
            named_dataset(NAME)
    finally:
        ir_datasets.registry._registered.pop(NAME)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no-such-set", "no such folder, nor such a name in ir_datasets"),
        ("msmarco-passage", "has no queries, qrels"),
    ],
)
def test_names_that_cannot_be_measured(name: str, message: str) -> None:
    """An unknown name, and a set without judgements, are errors that say what is missing."""
    with pytest.raises(InputError, match=message):
        find_dataset(name)


def test_without_the_extra_a_name_says_what_to_install(monkeypatch) -> None:
    """Where `ir_datasets` is not installed, what is no folder is answered with the pip line."""
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(InputError, match=r"pip install 'stepwell\[ir-datasets\]'"):
        find_dataset("beir/nfcorpus/test")


def test_a_folder_is_taken_before_a_name(tmp_path: Path, monkeypatch) -> None:
    """A folder called as a set of ir_datasets is the folder."""
    (tmp_path / "cranfield").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"cranfield is no data set: it needs corpus.jsonl"):
        find_dataset("cranfield")
