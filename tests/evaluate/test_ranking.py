"""What the presets are worth on a collection that nothing was trained on."""

from pathlib import Path

import pytest

from stepwell import Cascade, Corpus
from stepwell.evaluate import Dataset, evaluate
from stepwell.ingest import read_beir
from stepwell.stages import preset

CRANFIELD = Path(__file__).parents[3] / "shared" / "data" / "cranfield"
pytestmark = pytest.mark.skipif(not CRANFIELD.is_dir(), reason="../shared/data is absent")


@pytest.fixture(scope="module")
def corpus():
    with Corpus.temporary() as corpus:
        corpus.add(read_beir(CRANFIELD).documents)
        yield corpus


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return Dataset.load(CRANFIELD, split="graded")


def test_hybrid_ranks_above_its_halves(corpus: Corpus, dataset: Dataset) -> None:
    """Words and vectors together find more than either alone."""

    def score(name: str) -> float:
        return evaluate(Cascade(preset(name, corpus)), dataset, preset=name).measures["nDCG@10"]

    hybrid = score("hybrid")
    assert hybrid > score("bm25")
    assert hybrid > score("dense")


def test_the_default_ranks_no_worse_than_its_hybrid(corpus: Corpus, dataset: Dataset) -> None:
    """Over forty questions, what the re-scoring stages make of the recall is at least as good."""
    report = evaluate(Cascade.default(corpus), dataset.sample(40, seed=1), preset="three-stage")
    by_stage = {row.name: row.ndcg for row in report.stages}
    assert by_stage["cross-encoder"] >= by_stage["hybrid"]
