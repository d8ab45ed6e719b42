import json
import sys
from pathlib import Path

import pytest

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
        "remarks",
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


FILE = 'version = 1\n\n[[stage]]\ntype = "bm25"\nk = 2\n'


def test_a_cascade_file_is_measured(run, beir: Path, tmp_path: Path) -> None:
    """--cascade measures a file as a preset of the same stages, under the file's name."""
    (tmp_path / "best.toml").write_text(FILE)
    found = run("eval", beir, "--cascade", tmp_path / "best.toml", "--encoder", "none", "--json")
    assert (found.json["preset"], found.json["stages"][0]["name"]) == ("best.toml", "bm25")
    plain = run("eval", beir, "--preset", "bm25", "--json").json
    assert found.json["measures"] == plain["measures"]


def test_what_is_no_cascade_is_refused(run, beir: Path, tmp_path: Path) -> None:
    """A run as --cascade, and a preset beside a file, are wrong calls that say what is right."""
    (tmp_path / "run.trec").write_text("q1 Q0 cats 1 2.5 x\n")
    (tmp_path / "best.toml").write_text(FILE)
    said = run("eval", beir, "--cascade", tmp_path / "run.trec")
    assert (said.code, "a run goes to --run" in said.err) == (2, True)
    said = run("eval", beir, "--cascade", tmp_path / "best.toml", "--preset", "bm25")
    assert (said.code, "exclude each other" in said.err) == (2, True)


def test_a_cascade_file_may_need_its_corpus(run, beir: Path, tmp_path: Path) -> None:
    """A file with a stage that cannot be made without a corpus is no faulty file."""
    parents = '\n[[stage]]\ntype = "parents"\n'
    (tmp_path / "best.toml").write_text(FILE + parents)
    found = run("eval", beir, "--cascade", tmp_path / "best.toml", "--encoder", "none", "--json")
    assert found.code == 0
    assert [stage["name"] for stage in found.json["stages"]] == ["bm25", "parents"]


def test_any_measures_in_their_order(run, beir: Path) -> None:
    """--measure names what is measured, and nothing else is."""
    measures = ["R@1000", "P@1", "AP"]
    args = [each for name in measures for each in ("--measure", name)]
    found = run("eval", beir, "--preset", "bm25", *args, "--json").json
    assert list(found["measures"]) == list(found["interval95"]) == measures
    assert found["measures"]["P@1"] == 1.0


def test_a_baseline_is_a_preset_a_file_or_a_run(run, beir: Path, tmp_path: Path) -> None:
    """Each kind of baseline is measured on the same queries; the differences have a p."""
    (tmp_path / "best.toml").write_text(FILE)
    (tmp_path / "run.trec").write_text("q1 Q0 cats 1 2.5 x\nq2 Q0 cats 1 2 x\n")
    for baseline, mean in (
        ("bm25", 0),
        (tmp_path / "best.toml", 0),
        (tmp_path / "run.trec", 2 / 3),
    ):
        said = run("eval", beir, "--preset", "bm25", "--baseline", baseline, "--json")
        found = said.json["baseline"]
        assert found["name"] == Path(baseline).name
        assert abs(found["differences"]["MRR@10"]["mean"] - mean) < 1e-6
        assert 0 < found["differences"]["MRR@10"]["p_holm"] <= 1


def test_a_run_has_a_run_for_its_baseline(run, beir: Path, tmp_path: Path) -> None:
    """Two runs from elsewhere are compared on the same judgements."""
    (tmp_path / "a").write_text("q1 Q0 logs 1 2 x\nq2 Q0 cats 1 2 x\n")
    (tmp_path / "b").write_text("q1 Q0 cats 1 2 x\nq2 Q0 cats 1 2 x\n")
    judged = ["--run", tmp_path / "a", "--qrels", beir / "qrels/test.tsv"]
    found = run("eval", *judged, "--baseline", tmp_path / "b", "--json").json
    assert found["baseline"]["name"] == "b"
    assert found["baseline"]["differences"]["MRR@10"]["better"] == 1
    assert run("eval", *judged, "--baseline", "bm25").code == 2


def test_the_funnel_is_shown_on_request(run, beir: Path) -> None:
    """--funnel adds the tables; without it neither tables nor JSON have it."""
    said = run("eval", beir, "--preset", "hybrid", "--funnel")
    assert "the funnel" in said.out
    assert "lift of each stage" in said.out
    assert "by cross-validation" in said.out
    assert "funnel" not in run("eval", beir, "--preset", "bm25", "--json").json
    found = run("eval", beir, "--preset", "hybrid", "--funnel", "--json").json["funnel"]
    assert list(found) == [
        "relevant",
        "stages",
        "tuned_first_stage",
        "work_on",
        "reasons",
        "hurt",
    ]


def test_reports_in_files(run, beir: Path, tmp_path: Path) -> None:
    """Markdown, page and values by query say what the JSON says, without any text of a query."""
    files = {"--markdown": "r.md", "--html": "r.html", "--queries-out": "q.jsonl"}
    args = [each for option, name in files.items() for each in (option, tmp_path / name)]
    found = run("eval", beir, "--preset", "bm25", "--funnel", *args, "--json").json
    mean = f"{found['measures']['nDCG@10']:.4f}"
    for name in ("r.md", "r.html"):
        text = (tmp_path / name).read_text()
        assert mean in text
        assert "rotate" not in text
    rows = [json.loads(line) for line in (tmp_path / "q.jsonl").read_text().splitlines()]
    assert [row["query"] for row in rows] == ["q1", "q2", "q4"]
    values = [row["measures"]["nDCG@10"] for row in rows]
    assert abs(sum(values) / 3 - found["measures"]["nDCG@10"]) < 1e-5
    assert rows[0]["stages"] == {"bm25": values[0]}


def test_a_file_that_cannot_be_written_is_refused_first(run, beir: Path, tmp_path: Path) -> None:
    """A report's folder that is missing is an error before anything is indexed."""
    said = run("eval", beir, "--preset", "bm25", "--html", tmp_path / "none" / "r.html")
    assert said.code == 2
    assert "cannot be written" in said.err
    assert not (tmp_path / "cache").exists()


def test_a_cascade_file_of_another_version_is_refused(run, beir: Path, tmp_path: Path) -> None:
    """A file of another version gives one clear line and no number."""
    (tmp_path / "new.toml").write_text(FILE.replace("1", "99", 1))
    for args in (
        ["eval", beir, "--cascade"],
        ["eval", beir, "--baseline"],
        ["compare", beir, "bm25"],
    ):
        said = run(*args, tmp_path / "new.toml")
        assert (said.code, said.out) == (2, "")
        assert "is a cascade file of version 99; this Stepwell reads 1" in said.err


def test_judgements_of_unknown_documents_and_queries_are_told(run, beir: Path) -> None:
    """Judgements that name what is not there are counted on standard error and in the report."""
    with (beir / "qrels" / "test.tsv").open("a") as stream:
        stream.write("q1\tgone\t1\nnobody\tlogs\t1\nq3\tlogs\t0\n")
    said = run("eval", beir, "--preset", "bm25", "--json", "--markdown", beir / "report.md")
    lacking = "1 of 4 judged documents are not indexed: counted as not found"
    assert said.err.count(lacking) == 1
    assert lacking in (beir / "report.md").read_text()
    assert lacking in said.json["remarks"]
    assert "1 judged queries are unknown to the data set: left out" in said.err
    assert "1 queries left out that have no relevant document" in said.err
    assert said.json["queries"] == 3
    assert said.json["measures"]["R@100"] < 0.9


def test_an_interrupted_evaluation_goes_on(run, shell, beir: Path, tmp_path: Path) -> None:
    """After a kill the same command asks only what is left, and says so; then nothing is kept."""
    whole = run("eval", beir, "--preset", "bm25", "--json").json
    place = tmp_path / "cache" / "answers"
    assert list(place.glob("*.jsonl")) == []
    code = (
        "import os, stepwell.evaluate.keeping as kept\n"
        "add = kept.Kept.add\n"
        "def once(self, asked):\n"
        "    add(self, asked)\n"
        "    os._exit(9)\n"
        "kept.Kept.add = once\n"
        "from stepwell.cli import main\n"
        "main()\n"
    )
    (tmp_path / "killed.py").write_text(code)
    killed = shell(f'"{sys.executable}" {tmp_path}/killed.py eval {beir} --preset bm25')
    assert killed.code == 9
    assert len(list(place.glob("*.jsonl"))) == 1
    said = run("eval", beir, "--preset", "bm25", "--json")
    assert "1 of 3 queries were asked by a run that was interrupted" in said.err
    assert said.json["measures"] == whole["measures"]
    assert list(place.glob("*.jsonl")) == []


def test_a_name_of_ir_datasets(run, beir: Path, tmp_path: Path) -> None:
    """A set registered with ir_datasets is indexed, kept and measured by its name."""
    library = pytest.importorskip("ir_datasets", reason="needs the extra ir-datasets")
    (tmp_path / "docs.tsv").write_text("logs\trotate the logs\ncats\tthe cat is fed\n")
    (tmp_path / "queries.tsv").write_text("q1\trotate logs\n")
    (tmp_path / "qrels.trec").write_text("q1 0 logs 1\n")
    places = {each: str(tmp_path / f"{each}.tsv") for each in ("docs", "queries")}
    made = library.create_dataset(
        docs_tsv=places["docs"],
        queries_tsv=places["queries"],
        qrels_trec=str(tmp_path / "qrels.trec"),
    )
    library.registry.register("stepwell-cli/tiny", made)
    try:
        found = run("eval", "stepwell-cli/tiny", "--preset", "bm25", "--json").json
    finally:
        library.registry._registered.pop("stepwell-cli/tiny")
    assert (found["dataset"], found["measures"]["nDCG@10"]) == ("stepwell-cli/tiny", 1.0)
    assert list((tmp_path / "cache").glob("stepwell-cli-tiny-*.complete"))
