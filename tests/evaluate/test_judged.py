from pathlib import Path

import pytest

from stepwell import InputError
from stepwell.evaluate import read_qrels, read_run

GRADES = {"q1": {"d1": 2, "d2": 0}, "q2": {"d1": 1}}


@pytest.mark.parametrize(
    "text",
    [
        "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td1\t1\n",
        "q1\td1\t2\r\nq1\td2\t0\r\n\r\nq2\td1\t1\r\n",
        "q1 0 d1 2\nq1 0 d2 0\nq2 Q0 d1 1\n",
        "q1\t0\td1\t2\nq1\t0\td2\t0\nq2\t0\td1\t1",
    ],
)
def test_qrels_in_either_form(tmp_path: Path, text: str) -> None:
    """BEIR's columns with or without a header and TREC's give the same judgements."""
    (tmp_path / "qrels").write_text(text)
    assert read_qrels(tmp_path / "qrels") == GRADES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("query-id\tcorpus-id\tscore\nq1\td1\thigh\n", "line 2: the grade 'high'"),
        ("q1 d1\n", "line 1: 2 columns"),
        ("q1 0 d1 x\n", "line 1: the grade 'x'"),
        ("q1 0 d1 2\nq1 0 d1 0\n", "line 2: 'd1' is judged 2 and 0 for 'q1'"),
    ],
)
def test_faulty_qrels_are_named_by_line(tmp_path: Path, text: str, message: str) -> None:
    """A line that is no judgement is an error that names file and line."""
    (tmp_path / "qrels").write_text(text)
    with pytest.raises(InputError, match=message):
        read_qrels(tmp_path / "qrels")


def test_a_run_is_read_by_score(tmp_path: Path) -> None:
    """Of a TREC run the score counts, not the rank column."""
    (tmp_path / "run").write_text("q1 Q0 d1 2 0.5 tag\nq1 Q0 d2 1 1e-3 tag\n")
    assert read_run(tmp_path / "run") == {"q1": {"d1": 0.5, "d2": 0.001}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q1 Q0 d1 1 0.5\n", "line 1: 5 columns"),
        ("q1 Q0 d1 1 high tag\n", "the score 'high'"),
        ("q1 Q0 d1 1 nan tag\n", "the score is nan"),
        ("q1 Q0 d1 1 2 t\nq1 Q0 d1 2 1 t\n", "line 2: 'd1' is there twice"),
    ],
)
def test_faulty_runs_are_named_by_line(tmp_path: Path, text: str, message: str) -> None:
    """A line that orders nothing is an error that names file and line."""
    (tmp_path / "run").write_text(text)
    with pytest.raises(InputError, match=message):
        read_run(tmp_path / "run")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A file that is not there is an InputError with its path."""
    with pytest.raises(InputError, match=r"nowhere.tsv cannot be read"):
        read_qrels(tmp_path / "nowhere.tsv")
