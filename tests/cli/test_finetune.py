import json
from pathlib import Path

import pytest

from stepwell import Corpus, Document

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A corpus with its questions and judgements, every answer marked by one word."""
    things = [f"{thing} {verb}" for thing in ("logs", "wings", "buses") for verb in "abcdefghijkl"]
    with Corpus.open(tmp_path / "corpus") as corpus:
        corpus.add(
            Document(f"{kind}-{at}", f"{kind} note: how {thing} in general")
            for at, thing in enumerate(things)
            for kind in ("final", "stale")
        )
    rows = [{"_id": str(at), "text": f"how {thing}?"} for at, thing in enumerate(things)]
    queries, qrels = tmp_path / "queries.jsonl", tmp_path / "qrels.tsv"
    queries.write_text("".join(json.dumps(row) + "\n" for row in rows))
    qrels.write_text("".join(f"{at}\tstale-{at}\t1\n" for at in range(len(things))))
    return tmp_path / "corpus", queries, qrels


def test_weights_that_rank_better_are_written(run, files, tmp_path: Path) -> None:
    """The JSON says what was learnt from and what to use; the folder is there if it says so."""
    found = run("finetune", *files, "--out", tmp_path / "tuned", "--steps", 20, "--json").json
    assert found["questions"] == [22, 7, 7]
    assert found["recommended"] in ("weights", "blend", "nothing")
    assert (tmp_path / "tuned").exists() == (found["recommended"] == "weights")


def test_too_few_questions_are_an_error(run, files, tmp_path: Path) -> None:
    """One line says how many questions have an answer here, and how many it takes."""
    corpus, queries, qrels = files
    qrels.write_text("0\tstale-0\t1\n")
    said = run("finetune", corpus, queries, qrels, "--out", tmp_path / "tuned")
    assert said.code == 2
    assert "1 questions have a relevant document" in said.err
    assert "it takes 30" in said.err
