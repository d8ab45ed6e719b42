from pathlib import Path

from stepwell import Corpus, Document


def test_the_report_for_programs(run, beir: Path) -> None:
    """The JSON has exactly the documented keys, and sane numbers."""
    said = run("eval", beir, "--preset", "bm25", "--json")
    found = said.json
    assert list(found) == [
        "dataset",
        "preset",
        "queries",
        "measures",
        "interval95",
        "stages",
        "latency_ms",
    ]
    assert (found["dataset"], found["preset"], found["queries"]) == ("tiny", "bm25", 3)
    assert found["measures"] == {"nDCG@10": 0.871049, "MRR@10": 1.0, "R@100": 0.833333}
    assert found["interval95"]["MRR@10"] == [1.0, 1.0]
    assert [stage["name"] for stage in found["stages"]] == ["bm25"]
    assert "1 queries left out that nobody judged" in said.err


def test_the_report_for_people(run, beir: Path) -> None:
    """Title, measures with intervals, a row a stage and the latency are printed."""
    said = run("eval", beir, "--preset", "bm25")
    assert said.out.startswith("tiny, bm25, 3 queries, 1 left out that nobody judged\n")
    rows = [line.split() for line in said.out.splitlines()]
    assert ["MRR@10", "1.0000", "1.0000", "to", "1.0000"] in rows
    assert "a query takes" in said.out


def test_every_preset_runs_on_embedded_models(run, beir: Path) -> None:
    """Each named cascade answers with its own stages, from one kept index."""
    expected = {
        "dense": ["dense"],
        "hybrid": ["hybrid"],
        "two-stage": ["hybrid", "cross-encoder"],
        "classic": ["bm25", "bi-encoder", "cross-encoder"],
        "three-stage": ["hybrid", "bi-encoder", "cross-encoder"],
    }
    for preset, names in expected.items():
        stages = run("eval", beir, "--preset", preset, "--json").json["stages"]
        assert [stage["name"] for stage in stages] == names
        assert {stage["status"] for stage in stages} == {"ok"}


def test_the_index_is_kept_between_runs(run, beir: Path, tmp_path: Path) -> None:
    """A second run reads the kept index; --no-cache keeps none; changed data makes another."""
    run("eval", beir, "--preset", "bm25", "--no-cache")
    assert not (tmp_path / "cache").exists()
    run("eval", beir, "--preset", "bm25")
    run("eval", beir, "--preset", "bm25")
    assert len(list((tmp_path / "cache").glob("*.stepwell"))) == 1
    with (beir / "corpus.jsonl").open("a") as stream:
        stream.write('{"_id": "new", "text": "rotate logs"}\n')
    assert run("eval", beir, "--preset", "bm25", "--json").json["stages"][0]["n_out"] > 1
    assert len(list((tmp_path / "cache").glob("*.stepwell"))) == 2


def test_a_corpus_that_is_there_already(run, beir: Path, tmp_path: Path) -> None:
    """--corpus measures an index of the user's own."""
    run("index", beir, "--to", tmp_path / "c", "--encoder", "none")
    ours = run("eval", beir, "--preset", "bm25", "--corpus", tmp_path / "c", "--json").json
    assert ours["measures"] == run("eval", beir, "--preset", "bm25", "--json").json["measures"]


def test_a_corpus_of_something_else_is_refused(run, beir: Path, tmp_path: Path) -> None:
    """A corpus without any judged document is an error, not a row of zeros."""
    with Corpus.open(tmp_path / "other", encoder=None) as corpus:
        corpus.add([Document("elsewhere", "nothing that is judged")])
    said = run("eval", beir, "--preset", "bm25", "--corpus", tmp_path / "other")
    assert said.code != 0
    assert "none of the" in said.err
    assert "leave --corpus out" in said.err


def test_a_sample_of_the_queries(run, beir: Path) -> None:
    """--queries draws as many; the same seed measures the same ones."""
    first, second = (
        run("eval", beir, "--preset", "bm25", "--queries", 2, "--seed", 4, "--json").json
        for _ in range(2)
    )
    assert first["queries"] == 2
    assert first["measures"] == second["measures"]
    assert first["interval95"] == second["interval95"]


def test_a_run_from_elsewhere(run, beir: Path, tmp_path: Path) -> None:
    """A TREC run is measured against qrels in either form; it has no stages and no latency."""
    (tmp_path / "run.trec").write_text("q1 Q0 logs 1 2.5 x\nq2 Q0 logs 1 2 x\nq2 Q0 cats 2 1 x\n")
    said = run("eval", "--run", tmp_path / "run.trec", "--qrels", beir / "qrels/test.tsv", "--json")
    assert said.json["measures"]["MRR@10"] == 0.5
    assert said.json["stages"] == []
    assert said.json["latency_ms"] == {"p50": None, "p95": None, "p99": None}
    assert (said.json["dataset"], said.json["preset"]) == ("test", None)
