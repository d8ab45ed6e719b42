import json
from pathlib import Path

import pytest

from stepwell import (
    BM25,
    Candidates,
    Cascade,
    Corpus,
    Document,
    InputError,
    TopK,
    stage,
)
from stepwell.evaluate import Dataset, evaluate, evaluate_run
from stepwell.ingest import read_beir, sync

DATA = Path(__file__).parents[3] / "shared" / "data"

TEXTS = {
    "logs": "rotate the logs with logrotate",
    "disk": "the disk is full of old logs",
    "cats": "the office cat is fed at noon",
    "keys": "rotate the keys in the console",
}
DATASET = Dataset(
    name="tiny",
    queries={"q1": "rotate logs", "q2": "cat food", "q3": "zebra"},
    qrels={"q1": {"logs": 2, "disk": 1}, "q2": {"cats": 1}, "q3": {"keys": 1}},
    left_out=4,
)


@pytest.fixture
def corpus():
    with Corpus.temporary(encoder=None) as corpus:
        corpus.add(Document(id, text) for id, text in TEXTS.items())
        yield corpus


def test_a_report_in_full(corpus: Corpus) -> None:
    """The report has the shape that programs read, and numbers that can be checked by hand."""
    seen: list[int] = []
    report = evaluate(
        Cascade([BM25(corpus, k=2), TopK(1)]), DATASET, preset="two", progress=seen.append
    )
    found = json.loads(json.dumps(report.to_dict()))
    assert list(found) == [
        "dataset",
        "preset",
        "queries",
        "measures",
        "interval95",
        "stages",
        "latency_ms",
        "remarks",
    ]
    assert (found["dataset"], found["preset"], found["queries"]) == ("tiny", "two", 3)
    assert list(found["measures"]) == list(found["interval95"]) == ["nDCG@10", "MRR@10", "R@100"]
    assert found["measures"]["MRR@10"] == pytest.approx(2 / 3, abs=1e-6)
    assert all(low <= high for low, high in found["interval95"].values())
    recalled, cut = found["stages"]
    assert recalled["name"] == "bm25"
    assert list(recalled) == [
        "name",
        "n_in",
        "n_out",
        "recall",
        "nDCG@10",
        "ms_p50",
        "ms_p95",
        "status",
    ]
    assert (recalled["n_in"], recalled["n_out"]) == (0, 1.0)
    assert (cut["n_out"], cut["status"]) == (0.7, "idle")
    assert cut["recall"] == pytest.approx((0.5 + 1 + 0) / 3, abs=1e-6)
    assert seen == [1, 2, 3]
    assert report.left_out == 4
    assert found["latency_ms"]["p50"] <= found["latency_ms"]["p95"]


def test_recall_at_100_is_of_the_back_filled_ranking(corpus: Corpus) -> None:
    """What a later stage's depth cut off follows its answer, and counts for R@100."""

    @stage(decides=False)
    def best(candidates: Candidates) -> Candidates:
        return candidates.top(1)

    deep = evaluate(Cascade([BM25(corpus), best]), DATASET).to_dict()
    assert deep["stages"][1]["recall"] < deep["stages"][0]["recall"]
    assert deep["measures"]["R@100"] == deep["stages"][0]["recall"]


def test_a_stage_that_failed_once_is_not_ok(corpus: Corpus) -> None:
    """The worst status that any query had is the stage's."""

    @stage(decides=False)
    def picky(candidates: Candidates) -> Candidates:
        if "cat" in candidates.query.text:
            raise RuntimeError("no cats")
        return candidates

    report = evaluate(Cascade([BM25(corpus), picky]), DATASET)
    assert [row.status for row in report.stages] == ["ok", "failed"]
    assert "picky failed, or did not do all its work, in 1 queries" in report.remarks


def test_a_run_from_elsewhere() -> None:
    """A run is measured against all judged queries; those it lacks count 0."""
    run = {"q1": {"logs": 2.0, "cats": 1.0}, "unjudged": {"x": 1.0}}
    report = evaluate_run(run, DATASET.qrels, dataset="tiny")
    assert report.measures["MRR@10"] == pytest.approx(1 / 3, abs=1e-6)
    assert (report.queries, report.left_out, report.preset, report.stages) == (3, 1, None, ())
    with pytest.raises(InputError, match="none of the judged queries"):
        evaluate_run({"x": {"logs": 1.0}}, DATASET.qrels, dataset="tiny")


@pytest.mark.parametrize(
    ("name", "split", "table"),
    [
        ("nfcorpus", "test", 0.317),
        ("cranfield", "graded", 0.492),
        ("chunkeval-800", "test", 0.776),
    ],
)
def test_bm25_on_real_collections(name: str, split: str, table: float) -> None:
    """BM25's nDCG@10 is not more than .01 below the table of a BM25 with k1=.9 and b=.4.

    tantivy fixes k1=1.2 and b=.75, which is another setting than the table's: it ranks above the
    table on nfcorpus and cranfield. On chunkeval-800, where passages overlap and many scores tie,
    it reaches the table because a corpus answers ties in the order they were written; with ties
    in trec_eval's order it would be .764.
    """
    if not (DATA / name).is_dir():
        pytest.skip(f"needs the collection {name} in ../shared/data, which is absent")
    with Corpus.temporary(encoder=None) as corpus:
        sync(corpus, read_beir(DATA / name))
        report = evaluate(Cascade([BM25(corpus)]), Dataset.load(DATA / name, split=split))
    assert report.measures["nDCG@10"] >= table - 0.01
    assert report.stages[0].recall >= report.measures["R@100"]
