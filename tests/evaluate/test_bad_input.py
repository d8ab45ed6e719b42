import json
import tracemalloc
from pathlib import Path

import pytest

from stepwell import BM25, Cascade, Corpus, CrossEncoder, Document, InputError
from stepwell.evaluate import Dataset, evaluate, evaluate_run, measure
from stepwell.evaluate.markdown import report_markdown
from stepwell.evaluate.measures import as_run, depth_of


def test_queries_without_a_relevant_document_are_left_out_and_counted() -> None:
    """A query that no answer can be right for does not pull the mean down."""
    qrels = {"q1": {"a": 1}, "q2": {"a": 0, "b": -1}, "q3": {"b": 2}}
    dataset = Dataset("set", dict.fromkeys(qrels, "text"), qrels)
    report = evaluate(lambda text: ["a", "b"], dataset)
    assert (report.queries, report.ids) == (2, ("q1", "q3"))
    assert report.measures["R@100"] == 1.0
    assert report.remarks == ("1 queries left out that have no relevant document",)
    run = as_run({query: ["a", "b"] for query in qrels})
    elsewhere = evaluate_run(run, qrels, dataset="set")
    assert (elsewhere.measures, elsewhere.remarks) == (report.measures, report.remarks)


def test_no_relevant_document_at_all_is_an_error() -> None:
    """Judgements that call nothing relevant leave nothing to measure."""
    with pytest.raises(InputError, match="no query of set has a relevant document"):
        evaluate(lambda text: ["a"], Dataset("set", {"q": "text"}, {"q": {"a": 0}}))


def test_one_query_has_no_interval() -> None:
    """The mean is the query's value, its interval 0 to 1, which no table prints; and why."""
    dataset = Dataset("set", {"q": "text"}, {"q": {"a": 1}})
    report = evaluate(
        lambda text: ["a"], dataset, baseline=evaluate(lambda text: ["b", "a"], dataset)
    )
    assert "nDCG@10 | 1.0000 | - |" in report_markdown(report)
    assert "0.3691 | - |" in report_markdown(report)
    assert report.measures["nDCG@10"] == 1.0
    assert report.interval95["nDCG@10"] == (0.0, 1.0)
    assert "one query says nothing about the next" in report.remarks[0]


def test_all_equal_scores_keep_the_order_before() -> None:
    """A stage whose scores are all equal changes no number: ties keep the order they came in."""
    with Corpus.temporary(encoder=None) as corpus:
        corpus.add(Document(f"d{n}", "logs " * (n + 1) + "other words") for n in range(20))
        dataset = Dataset("set", {"q": "logs"}, {"q": {f"d{n}": 1 for n in (3, 7, 19)}})
        plain = evaluate(Cascade([BM25(corpus)]), dataset)
        flat = CrossEncoder(lambda query, texts: [0.5] * len(texts), k=None, blend=1.0)
        report = evaluate(Cascade([BM25(corpus), flat]), dataset, with_funnel=True)
    assert report.measures == plain.measures
    assert report.stages[0].ndcg == report.stages[1].ndcg
    assert report.funnel.hurt == ()
    assert report.funnel.stages[1].lift.p == 1.0


def test_a_run_of_equal_scores_is_one_number() -> None:
    """ir-measures orders ties of a run by its own fixed rule: the number is the same each time."""
    run = {"q": {f"d{n}": 1.0 for n in range(50)}}
    shuffled = {"q": dict(reversed(list(run["q"].items())))}
    qrels = {"q": {"d3": 1, "d30": 1}}
    first, again = measure(qrels, run), measure(qrels, shuffled)
    assert {name: each.tolist() for name, each in first.items()} == {
        name: each.tolist() for name, each in again.items()
    }


def test_documents_are_read_as_a_stream(tmp_path: Path) -> None:
    """Hashing and reading a corpus file of 40 MB needs a small part of that in memory."""
    line = json.dumps({"_id": "%d", "text": "x" * 20_000}) + "\n"
    with (tmp_path / "corpus.jsonl").open("w") as stream:
        stream.writelines(line % n for n in range(2000))
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "x"}\n')
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("q\t1\t1\n")
    tracemalloc.start()
    try:
        documents = Dataset.load(tmp_path).documents
        key, reading = documents.key(), documents.read()
        assert (reading.total, sum(1 for _ in reading.documents)) == (2000, 2000)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
    assert len(key[1]) == 64


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nDGC@10", "no measure of ir-measures; try nDCG@10"),
        ("INST", "no measure"),
        ("alpha_nDCG@10", "a package that ir-measures does not find"),
        ("R@0", "looks at no document"),
        ("__import__('os')", "no measure"),
    ],
)
def test_unknown_measures_are_refused_before_anything_is_asked(name: str, message: str) -> None:
    """A measure that cannot be computed is an error, and no query is asked."""
    asked: list[str] = []
    dataset = Dataset("set", {"q": "text"}, {"q": {"a": 1}})
    with pytest.raises(InputError, match=message):
        evaluate(lambda text: asked.append(text) or ["a"], dataset, measures=[name])
    assert asked == []


def test_any_measure_of_ir_measures_gets_the_depth_it_looks_at() -> None:
    """R@1000 is asked a thousand documents, and every value is that of ir-measures."""
    assert (depth_of(["nDCG@10"]), depth_of(["R@1000"]), depth_of(["AP"])) == (100, 1000, 1000)
    with Corpus.temporary(encoder=None) as corpus:
        corpus.add(Document(f"d{n}", "logs") for n in range(300))
        dataset = Dataset("set", {"q": "logs"}, {"q": {"d250": 2, "d20": 1}})
        names = ["R@1000", "R@100", "RR@10", "AP", "P(rel=2)@300"]
        report = evaluate(Cascade([BM25(corpus)]), dataset, measures=names)
    assert list(report.measures) == names
    assert report.measures["R@1000"] == 1.0
    assert report.measures["R@100"] == 0.5
    assert report.measures["AP"] == pytest.approx((1 / 21 + 2 / 251) / 2, abs=1e-6)
    assert report.measures["P(rel=2)@300"] == pytest.approx(1 / 300, abs=1e-6)
