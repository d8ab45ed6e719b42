from __future__ import annotations

import copy
import gc
import pickle
import random
import shutil
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from stepwell import Candidates, CrossEncoder, Document
from stepwell.errors import ConfigurationError, MissingExtraError, ModelError
from stepwell.models import load_scorer, prepare
from stepwell.models.calibrate import rank_correlation, stock_pairs
from stepwell.models.fast import FastScorer
from stepwell.models.registry import shared
from tests.models.test_convert import spoilt

pytest.importorskip("torch", reason="the extra sentence-transformers is not installed")
pytest.importorskip("openvino", reason="the extra openvino is not installed")
pytest.importorskip("nncf", reason="the extra openvino is not installed")

# Short ones: what is tested is what becomes of them.
PAIRS = [(query, text[:200]) for query, text in stock_pairs(60, seed=4)]
QUERY = "how are logs rotated?"


@pytest.fixture(scope="module")
def texts() -> list[str]:
    words = " ".join(text for _, text in stock_pairs(40, seed=5)).split()
    chance = random.Random(0)
    return [
        " ".join(words[start : start + chance.randint(1, 60)]) for start in range(0, 40 * 50, 50)
    ]


@pytest.fixture
def scorer(cache: Path, forms: dict[str, Path]) -> FastScorer:
    made = load_scorer(str(forms["bert"]), backend="auto", pairs=PAIRS, device="cpu")
    assert isinstance(made, FastScorer)
    return made


def test_a_model_by_name_is_converted_and_ranks_as_the_original(
    scorer: FastScorer, forms: dict[str, Path], texts: list[str]
) -> None:
    """What `auto` makes of a model gives the original's scores nearly, in the order asked."""
    assert scorer.backend.startswith("openvino")
    assert scorer.backend in scorer.name
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        original = load_scorer(str(forms["bert"]), device="cpu")
    expected = original.score(QUERY, texts).values
    assert rank_correlation(scorer.score(QUERY, texts).values, expected) > 0.95


def test_a_score_does_not_know_its_batch_mates(scorer: FastScorer, texts: list[str]) -> None:
    """Alone, among others and in any order, a pair has bit for bit the same score."""
    together = scorer.score(QUERY, texts).values
    alone = [float(scorer.score(QUERY, [text]).values[0]) for text in texts]
    assert together.tolist() == alone
    order = random.Random(1).sample(range(len(texts)), len(texts))
    turned = scorer.score(QUERY, [texts[at] for at in order]).values
    assert turned.tolist() == [alone[at] for at in order]


def test_sixteen_threads_give_what_one_gives(scorer: FastScorer, texts: list[str]) -> None:
    """One model, asked by sixteen threads at once, gives each what it gives one."""
    queries = [f"{QUERY} {number}" for number in range(16)]
    expected = [scorer.score(query, texts[:12]).values.tolist() for query in queries]
    with ThreadPoolExecutor(16) as pool:
        made = list(
            pool.map(lambda query: scorer.score(query, texts[:12]).values.tolist(), queries)
        )
    assert made == expected


def test_a_deadline_reads_the_best_first(scorer: FastScorer, texts: list[str]) -> None:
    """Asked to stop after one chunk, it has read the first passages, and the rest are NaN."""
    asked = iter([False, True])
    made = scorer.score(QUERY, texts, stop=lambda: next(asked))
    done = ~np.isnan(made.values)
    assert done.tolist() == [True] * 16 + [False] * (len(texts) - 16)
    assert made.values[:16].tolist() == scorer.score(QUERY, texts[:16]).values.tolist()


def test_long_passages_count_by_their_best_window(scorer: FastScorer) -> None:
    """A passage longer than the model reads scores as the best of its windows, and is counted."""
    text = " ".join(text for _, text in stock_pairs(3, seed=6))[:1200]
    made = scorer.score(QUERY, [text])
    assert made.windows > 1
    one = FastScorer(scorer._model, backend=scorer.backend, length=128, max_windows=1)
    first = one.score(QUERY, [text])
    assert first.truncated == 1
    assert made.values[0] >= first.values[0]


def test_zero_one_and_a_huge_passage(scorer: FastScorer) -> None:
    """No passage, an empty one and one of 200,000 words are answered, the last as cut."""
    assert scorer.score(QUERY, []).values.shape == (0,)
    assert np.isfinite(scorer.score(QUERY, [""]).values).all()
    made = scorer.score("", ["word " * 200_000, "\ud800"])
    assert np.isfinite(made.values).all()
    assert made.truncated == 1
    assert made.windows == 5


def test_nan_weights(
    forms: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No form of a model that scores NaN is taken, a warning says so, and scoring is an error."""
    from safetensors.numpy import load_file, save_file

    monkeypatch.setenv("STEPWELL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(prepare.BACKENDS, "openvino", ["openvino-fp32"])
    folder = tmp_path / "nan"
    shutil.copytree(forms["bert"], folder)
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"] = np.full_like(weights["classifier.bias"], np.nan)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.warns(UserWarning, match="original") as said:
        made = load_scorer(str(folder), backend="auto", device="cpu", pairs=PAIRS)
    assert "does not rank as the original does" in str(said[0].message)
    with pytest.raises(ModelError, match="NaN"):
        made.score(QUERY, ["the log"])


def test_a_cache_that_cannot_be_written_serves_this_process(
    forms: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the cache's folder cannot be made, the model is converted all the same, with a word."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STEPWELL_CACHE", str(tmp_path / "file" / "below"))
    monkeypatch.setitem(prepare.BACKENDS, "openvino", ["openvino-fp32"])
    with pytest.warns(UserWarning, match="cache"):
        made = load_scorer(str(forms["bert"]), backend="auto", device="cpu", pairs=PAIRS)
    assert np.isfinite(made.score(QUERY, ["the log"]).values).all()


def test_lengths_share_one_model(scorer: FastScorer, forms: dict[str, Path]) -> None:
    """Scorers of one model that read differently much hold the same weights, and score apart."""
    short = load_scorer(str(forms["bert"]), backend="auto", max_length=32, device="cpu")
    assert isinstance(short, FastScorer)
    assert short._model() is scorer._model()
    assert short.name != scorer.name
    assert short.score(QUERY, ["the log file " * 20]).windows > 1


@pytest.mark.parametrize("length", [129, 4, 64.0])
def test_a_length_beyond_the_models_is_refused(
    length: int, scorer: FastScorer, forms: dict[str, Path]
) -> None:
    """A length that the model does not read is an error that says what it does."""
    with pytest.raises(ConfigurationError, match="reads 16 to 128 tokens"):
        load_scorer(str(forms["bert"]), backend="auto", max_length=length, device="cpu")


def test_closing_frees_the_weights(scorer: FastScorer) -> None:
    """After `close` nothing holds the engine; the next use loads it again."""
    scorer.score(QUERY, ["a"])
    engine = weakref.ref(scorer._model().engine)
    scorer.close()
    gc.collect()
    assert engine() is None
    assert scorer._model.key not in shared.loaded()
    assert np.isfinite(scorer.score(QUERY, ["a"]).values).all()


def test_copies_hold_no_weights(scorer: FastScorer) -> None:
    """A pickle is small, and its scorer, like a deep copy, uses the same weights."""
    frozen = pickle.dumps(scorer)
    assert len(frozen) < 3000
    for twin in (pickle.loads(frozen), copy.deepcopy(scorer)):
        assert twin._model() is scorer._model()
        assert twin.score(QUERY, ["a log"]).values == scorer.score(QUERY, ["a log"]).values


SERVE = """
import sys, warnings
warnings.simplefilter("error")
from stepwell.models import load_scorer
scorer = load_scorer(sys.argv[1], backend="auto", device="cpu")
print(scorer.score("q", ["a log", "a bus"]).values.tolist())
print(sorted({"torch", "transformers", "nncf", "sentence_transformers"} & set(sys.modules)))
"""


def test_serving_needs_the_cache_alone(scorer: FastScorer, forms: dict[str, Path]) -> None:
    """Another process that finds the converted model loads no torch and gives equal scores."""
    done = subprocess.run(
        [sys.executable, "-c", SERVE, str(forms["bert"])],
        capture_output=True,
        text=True,
        check=True,
    )
    scores, loaded = done.stdout.splitlines()
    assert scores == str(scorer.score("q", ["a log", "a bus"]).values.tolist())
    assert loaded == "[]"


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_a_half_downloaded_model_is_a_clear_error(
    backend: str, tmp_path: Path, forms: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub's cache that holds a model's configuration and no weights is no model."""
    commit = "0" * 40
    home = tmp_path / "models--me--half"
    (home / "snapshots" / commit).mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
    shutil.copy(forms["bert"] / "config.json", home / "snapshots" / commit)
    (home / "blobs").mkdir()
    (home / "blobs" / "abc.incomplete").write_bytes(b"half")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("STEPWELL_CACHE", str(tmp_path / "stepwell"))
    with pytest.raises(ConfigurationError, match="no model 'me/half'"):
        load_scorer("me/half", backend=backend, device="cpu")  # type: ignore[arg-type]


def test_without_openvino_it_says_so(
    forms: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, texts: list[str]
) -> None:
    """Where OpenVINO is not installed ONNX Runtime runs the model, with a warning each time."""
    pytest.importorskip("onnx", reason="onnx is not installed")
    monkeypatch.setenv("STEPWELL_CACHE", str(tmp_path))
    monkeypatch.setattr(prepare, "find_spec", lambda name: None)
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"ONNX Runtime runs it.*stepwell\[openvino\]"):
            made = load_scorer(str(forms["bert"]), backend="auto", device="cpu")
        assert made.backend == "onnx-int8"  # type: ignore[attr-defined]
    alone = [made.score(QUERY, [text]).values[0] for text in texts[:8]]
    assert made.score(QUERY, texts[:8]).values.tolist() == alone


def test_an_error_of_the_conversion_reaches_the_caller(
    forms: dict[str, Path], tmp_path: Path, cache: Path
) -> None:
    """What the converting process finds wrong is raised here, and nothing is kept of it."""
    before = sorted(path.name for path in cache.rglob("manifest.json"))
    folder = spoilt("cut", forms["bert"], tmp_path / "model")
    with pytest.raises(ConfigurationError, match="'model' does not load"):
        load_scorer(str(folder), backend="auto", device="cpu")
    assert sorted(path.name for path in cache.rglob("manifest.json")) == before


def test_a_model_that_does_not_exist_is_a_clear_error(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that no folder, cache or hub has is an error with the remedy."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigurationError, match="no model 'nobody/nothing'"):
        load_scorer("nobody/nothing", backend="auto", device="cpu")


def test_converting_needs_an_extra_and_says_which(
    forms: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an empty cache and no sentence-transformers the error is the pip line."""
    monkeypatch.setenv("STEPWELL_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"stepwell\[sentence-transformers\]"):
        load_scorer(str(forms["bert"]), backend="auto", device="cpu")


def test_the_stage_takes_a_backend(scorer: FastScorer, forms: dict[str, Path]) -> None:
    """`CrossEncoder(name, backend="auto")` ranks by the converted model and keeps its scores."""
    stage = CrossEncoder(str(forms["bert"]), backend="auto", k=2, blend=1.0)
    texts = ["a log file", "rotate the logs", "a bus"]
    given = Candidates.of(QUERY, [Document(text, text) for text in texts])
    expected = dict(zip(texts, scorer.score(QUERY, texts).values.tolist(), strict=True))
    after = stage.run(given)
    assert after.ids.tolist() == sorted(texts, key=lambda text: -expected[text])[:2]
    assert stage.scorer.score(QUERY, texts).windows == 0
