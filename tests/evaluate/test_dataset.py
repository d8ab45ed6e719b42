import json
from pathlib import Path

import pytest

from stepwell import InputError
from stepwell.evaluate import Dataset


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    queries = [{"_id": f"q{n}", "text": f"question {n}"} for n in range(10)]
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in queries))
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"q{n}\td{n}\t1\n" for n in (3, 1, 5, 7, 99))
    )
    (tmp_path / "qrels" / "dev.tsv").write_text("q0 0 d0 1\n")
    return tmp_path


def test_queries_that_nobody_judged_are_left_out_and_counted(folder: Path) -> None:
    """Only judged queries are asked; judgements of unknown queries are dropped."""
    dataset = Dataset.load(folder)
    assert list(dataset.queries) == list(dataset.qrels) == ["q1", "q3", "q5", "q7"]
    assert (dataset.name, dataset.left_out) == (folder.name, 6)
    assert Dataset.load(folder, split="dev").queries == {"q0": "question 0"}


def test_a_sample_depends_on_its_seed_alone(folder: Path) -> None:
    """The same seed draws the same queries, another seed others, and never more than there are."""
    dataset = Dataset.load(folder)
    drawn = {seed: tuple(dataset.sample(2, seed=seed).queries) for seed in range(20)}
    assert drawn[3] == tuple(dataset.sample(2, seed=3).queries)
    assert len(set(drawn.values())) > 1
    assert dataset.sample(2, seed=3).qrels.keys() == set(drawn[3])
    assert dataset.sample(100) is dataset
    with pytest.raises(InputError, match="at least 1"):
        dataset.sample(0)


def test_a_missing_split_lists_those_there_are(folder: Path) -> None:
    """A typo in the split is answered with the names that would work."""
    with pytest.raises(InputError, match="no split 'tset'; there are dev, test"):
        Dataset.load(folder, split="tset")


def test_what_is_no_data_set_is_an_error(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    """A folder without queries, and judgements of other queries, are named."""
    with pytest.raises(InputError, match="is no data set"):
        Dataset.load(tmp_path_factory.mktemp("empty"))
    (folder / "qrels" / "other.tsv").write_text("x 0 y 1\n")
    with pytest.raises(InputError, match="judges none of the queries"):
        Dataset.load(folder, split="other")
