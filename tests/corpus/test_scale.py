"""The bench of sizes runs from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import scale, scale_report, synthetic


def test_a_tiny_run_measures_every_task_at_every_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each task that is asked for answers with numbers, and the tables show them."""
    tasks = ["ingest", "words", "ingest_vectors", "meaning"]
    few = ["--passages", "5", "--queries", "4", "--dense", "2"]
    file = tmp_path / "out.json"
    scale.main(["--sizes", "60", "--only", *tasks, *few, "--json", str(file)])
    answers = json.loads(file.read_text("utf-8"))["answers"]["60"]
    assert set(answers) == set(tasks)
    for task, name in (("ingest", "disk"), ("words", "open"), ("meaning", "recall")):
        assert answers[task][name] > 0
    assert answers["meaning"]["recall"] == 1.0
    assert "BM25 top 1000, median, ms" in capsys.readouterr().out


def test_texts_and_vectors_follow_from_the_seed() -> None:
    """Two makings of the same size are equal, and a smaller one is a beginning of a larger."""
    real = synthetic.passages(5)
    made = [*synthetic.texts(3000, real)]
    assert made == [*synthetic.texts(3000, real)]
    assert len(set(made)) == 3000
    assert [*synthetic.texts(1000, real)] == made[:1000]
    base, noise = synthetic.Repeated.measured(real)
    encoder = synthetic.Repeated(real, base, noise)
    vectors = encoder.encode(made[:50])
    assert (vectors[7:9] == encoder.encode(made[7:9])).all()
    assert abs((vectors**2).sum(axis=1) - 1).max() < 1e-5
    assert 0 < noise < 1


def test_the_growth_of_a_cost_is_its_exponent() -> None:
    """A cost in proportion grows with exponent 1, a quadratic one with 2, a constant with 0."""
    sizes = [10, 100, 1000]
    for exponent in (0, 1, 2):
        costs = [float(size**exponent) * 3 for size in sizes]
        assert scale_report.growth(sizes, costs) == pytest.approx(exponent)
