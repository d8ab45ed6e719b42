from pathlib import Path

import pytest

FILE = """version = 1

[[stage]]
type = "bm25"

[[stage]]
type = "min-score"
threshold = 99
"""


@pytest.fixture
def best(tmp_path: Path) -> Path:
    (tmp_path / "best.toml").write_text(FILE)
    return tmp_path / "best.toml"


def test_presets_files_and_runs_are_compared(run, beir: Path, best: Path, tmp_path: Path) -> None:
    """Each system has its numbers; those after the first are compared with it."""
    (tmp_path / "old.trec").write_text("q1 Q0 cats 1 2 x\nq2 Q0 cats 1 2 x\nq4 Q0 logs 1 1 x\n")
    args = ["bm25", best, tmp_path / "old.trec", "--encoder", "none"]
    found = run("compare", beir, *args, "--json").json
    assert [each["name"] for each in found["systems"]] == ["bm25", "best.toml", "old.trec"]
    assert found["systems"][0]["latency_ms"]["p50"] > 0
    assert found["systems"][2]["latency_ms"] == {"p50": None, "p95": None, "p99": None}
    alone = run("eval", beir, "--preset", "bm25", "--json").json
    assert found["systems"][0]["measures"] == alone["measures"]
    assert {each["over"] for each in found["differences"]} == {"bm25"}
    assert len(found["differences"]) == 2 * 3
    assert {each["query"] for each in found["changed"]} == {"q1", "q2", "q4"}


def test_the_tables_for_people(run, beir: Path, best: Path) -> None:
    """Quality, time, differences and the queries that changed are printed; no text unasked."""
    said = run("compare", beir, "bm25", best, "--encoder", "none")
    assert said.out.startswith("tiny, 3 queries: bm25, best.toml\n")
    for title in ("quality", "time of a query", "over bm25", "queries that changed most"):
        assert f"\n{title}\n" in said.out
    assert "disk" not in said.out
    assert "1 queries left out that nobody judged" in said.err
    shown = run("compare", beir, "bm25", best, "--encoder", "none", "--show-text")
    assert "disk" in shown.out


def test_a_comparison_as_a_page(run, beir: Path, best: Path, tmp_path: Path) -> None:
    """--html writes one page with plots and no text of a query."""
    args = ["bm25", best, "--encoder", "none", "--html", tmp_path / "c.html"]
    assert run("compare", beir, *args).code == 0
    text = (tmp_path / "c.html").read_text()
    assert text.count("<svg") == 2 + 2
    assert "disk" not in text


@pytest.mark.parametrize(
    ("systems", "message"),
    [
        (["bm25"], "two systems or more"),
        (["bm25", "bm25"], "each once"),
        (["bm25", "best"], "no preset is named 'best'"),
    ],
)
def test_what_cannot_be_compared_is_refused(run, beir: Path, systems, message: str) -> None:
    """One system, the same twice and an unknown name are wrong calls."""
    said = run("compare", beir, *systems)
    assert (said.code, said.out) == (2, "")
    assert message in said.err
