from __future__ import annotations

import json
import pickle
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepwell.errors import ConfigurationError, MissingExtraError, ModelError
from stepwell.models import Encoder, PairScorer, TokenEncoder, load_encoder, load_scorer
from stepwell.models.named import NamedEncoder

pytest.importorskip("sentence_transformers")
pytestmark = pytest.mark.filterwarnings("ignore")

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "the",
    "log",
    "file",
    "is",
    "a",
    "timer",
    "bus",
]


@pytest.fixture(scope="module", autouse=True)
def offline() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        yield


def tiny(folder: Path, *, labels: int | None, positions: int = 48) -> str:
    """Save a random BERT of a few thousand weights: an encoder, or a classifier of `labels`."""
    import torch
    from tokenizers.implementations import BertWordPieceTokenizer
    from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizerFast

    torch.manual_seed(0)
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    assert BertWordPieceTokenizer(str(folder / "vocab.txt")).get_vocab_size() == len(WORDS)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=positions,
        num_labels=labels or 1,
        initializer_range=0.5,
    )
    model = BertModel(config) if labels is None else BertForSequenceClassification(config)
    model.save_pretrained(folder)
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=positions)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def cross(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny(tmp_path_factory.mktemp("models") / "cross", labels=1)


@pytest.fixture(scope="module")
def bi(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny(tmp_path_factory.mktemp("models") / "bi", labels=None)


def test_encoder_by_path(bi: str) -> None:
    """A model by path is an encoder of texts and tokens, with unit rows."""
    encoder = load_encoder(bi)
    assert isinstance(encoder, Encoder)
    assert isinstance(encoder, TokenEncoder)
    vectors = encoder.encode(["the log", "a bus", "", "\ud800"], kind="query")
    assert vectors.shape == (4, encoder.dimension) == (4, 16)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert [t.shape for t in encoder.encode_tokens(["the log"])] == [(4, 16)]
    assert encoder.encode([]).shape == (0, 16)


def test_scorer_by_path_agrees_with_the_original(cross: str) -> None:
    """A cross-encoder by path gives the logits that sentence-transformers gives."""
    import torch
    from sentence_transformers import CrossEncoder

    passages = ["the log file is rotated", "a bus", ""]
    original = CrossEncoder(cross, device="cpu")
    expected = original.predict([("log", p) for p in passages], activation_fn=torch.nn.Identity())
    scorer = load_scorer(cross)
    assert isinstance(scorer, PairScorer)
    scores = scorer.score("log", passages)
    np.testing.assert_allclose(scores.values, expected, atol=1e-5)
    assert (scores.windows, scores.truncated) == (3, 0)


def test_already_loaded_models(bi: str, cross: str) -> None:
    """Loaded models of sentence-transformers are taken as they are."""
    from sentence_transformers import CrossEncoder, SentenceTransformer

    encoder = load_encoder(SentenceTransformer(bi, device="cpu"))
    np.testing.assert_allclose(encoder.encode(["wing"]), load_encoder(bi).encode(["wing"]))
    scorer = load_scorer(CrossEncoder(cross, device="cpu"))
    one, other = (s.score("log", ["a bus"]).values for s in (scorer, load_scorer(cross)))
    np.testing.assert_allclose(one, other)


def test_long_passage_in_windows(cross: str) -> None:
    """A passage beyond the model's length is read in windows; what is beyond those is counted."""
    scorer = load_scorer(cross, max_windows=3)
    scores = scorer.score("log", ["bus " * 30, "bus " * 100, "bus " * 1000])
    assert scores.truncated == 1
    assert 4 < scores.windows <= 7
    # Forty-eight tokens less three special ones and the query: one window of the long passage.
    long, window = scorer.score("log", ["bus " * 60, "bus " * 44]).values
    np.testing.assert_allclose(long, window, atol=1e-6)


def test_stop(cross: str) -> None:
    """When `stop` says so the rest stays NaN."""
    answers = iter([False, True])
    scores = load_scorer(cross).score("log", ["bus"] * 40, stop=lambda: next(answers))
    assert np.isfinite(scores.values).sum() == 16


def test_sixteen_threads(cross: str) -> None:
    """Sixteen threads on one model get what one gets, queries of differing length included."""
    scorer = load_scorer(cross)
    queries = ["log " * n for n in range(1, 17)]
    expected = [scorer.score(q, ["bus " * 60]).values.tolist() for q in queries]
    with ThreadPoolExecutor(16) as pool:
        got = list(pool.map(lambda q: scorer.score(q, ["bus " * 60]).values.tolist(), queries))
    assert got == expected


def test_pickle_is_small(bi: str, cross: str) -> None:
    """A pickle holds no weights and works where it is opened."""
    for model in (load_encoder(bi), load_scorer(cross)):
        packed = pickle.dumps(model)
        assert len(packed) < 2000
        assert pickle.loads(packed).name == model.name


def test_holders_share_one_model(bi: str) -> None:
    """Two encoders of one name hold the same weights in memory."""
    one, other = NamedEncoder(bi), NamedEncoder(bi)
    assert one._model() is other._model()


@pytest.mark.parametrize("name", ["no-such/model", "nosuch", "/no/such/folder", "./nowhere", " "])
@pytest.mark.parametrize("load", [load_encoder, load_scorer])
def test_unknown_name(load: Any, name: str) -> None:
    """A model that does not exist, with the hub out of reach, is a quick error with a remedy."""
    began = time.perf_counter()
    with pytest.raises(ConfigurationError, match=r"no model.*embedded one") as caught:
        load(name)
    assert name.strip() in str(caught.value)
    assert time.perf_counter() - began < 5.0


def test_encoder_given_as_scorer(bi: str) -> None:
    """A bi-encoder is refused as a cross-encoder: its head would be random."""
    with pytest.raises(ConfigurationError, match="no cross-encoder but a BertModel"):
        load_scorer(bi).score("log", ["bus"])


def test_several_labels(tmp_path: Path) -> None:
    """A classifier of three labels gives no ranking, and is refused."""
    with pytest.raises(ConfigurationError, match="3 scores a pair"):
        load_scorer(tiny(tmp_path / "nli", labels=3)).score("log", ["bus"])


def test_no_pad_token(cross: str, tmp_path: Path) -> None:
    """A model without a pad token is refused with the remedy, before it reads anything."""
    from transformers import AutoTokenizer

    folder = tmp_path / "no-pad"
    shutil.copytree(cross, folder)
    read = AutoTokenizer.from_pretrained(folder)
    read.pad_token = None
    read.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "pad_token_id": None}))
    with pytest.raises(ConfigurationError, match="no pad token"):
        load_scorer(str(folder)).score("log", ["bus", "the log file is"])


def test_weights_cut_short(cross: str, tmp_path: Path) -> None:
    """Weights of which a download left half are a typed error naming the model."""
    folder = tmp_path / "halved"
    shutil.copytree(cross, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    with pytest.raises(ConfigurationError, match="halved"):
        load_scorer(str(folder)).score("log", ["bus"])


def test_zero_one_and_a_huge_passage(cross: str) -> None:
    """No passage, one, an empty one and one of 200,000 words are answered, the last as cut."""
    scorer = load_scorer(cross)
    assert scorer.score("log", []).values.shape == (0,)
    alone = scorer.score("log", ["the bus"]).values
    made = scorer.score("log", ["the bus", "", "bus " * 200_000])
    np.testing.assert_allclose(made.values[:1], alone, atol=1e-6)
    assert np.isfinite(made.values).all()
    assert made.truncated == 1


def test_damaged_folder(cross: str, tmp_path: Path) -> None:
    """A folder whose weights or configuration are missing is a typed error naming the model."""
    for missing in ("model.safetensors", "config.json"):
        broken = tmp_path / missing / "broken"
        shutil.copytree(cross, broken)
        (broken / missing).unlink()
        with pytest.raises(ConfigurationError, match="broken"):
            load_scorer(str(broken)).score("log", ["bus"])


def test_length_above_the_models(cross: str) -> None:
    """A length that the model was not built for is refused."""
    with pytest.raises(ConfigurationError, match="48 tokens at most"):
        load_scorer(cross, max_length=64).score("log", ["bus"])


def test_unknown_backend(cross: str) -> None:
    """A backend that nobody has is refused when the model is named."""
    with pytest.raises(ConfigurationError, match="backend"):
        load_scorer(cross, backend="tpu")  # type: ignore[arg-type]


def test_nan_weights(cross: str, tmp_path: Path) -> None:
    """A model that returns NaN is refused instead of ranking at random."""
    from safetensors.numpy import load_file, save_file

    broken = tmp_path / "nan"
    shutil.copytree(cross, broken)
    weights = load_file(broken / "model.safetensors")
    weights["classifier.bias"] = np.full_like(weights["classifier.bias"], np.nan)
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="NaN"):
        load_scorer(str(broken)).score("log", ["bus"])


def test_missing_extra(monkeypatch: pytest.MonkeyPatch, cross: str) -> None:
    """Without the extra a named model is an error that says what to install."""
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"stepwell\[sentence-transformers\]"):
        load_scorer(cross)


def test_config_is_readable(cross: str) -> None:
    """The tiny model on disk is what its name says."""
    assert json.loads((Path(cross) / "config.json").read_text())["hidden_size"] == 16
