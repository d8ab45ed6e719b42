from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepwell.errors import ConfigurationError
from stepwell.models import calibrate
from stepwell.models.batches import logits
from stepwell.models.calibrate import stock_pairs
from stepwell.models.engines import open_engine
from stepwell.models.pairs import Joiner, Row
from stepwell.models.protocols import Vectors
from tests.models import tiny

pytest.importorskip("torch", reason="the extra sentence-transformers is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")
openvino = pytest.mark.skipif(
    __import__("importlib.util").util.find_spec("openvino") is None,
    reason="the extra openvino is not installed",
)
# Tracing warns of what the check finds out anyway.
pytestmark = pytest.mark.filterwarnings("ignore")

from stepwell.models.convert import convert  # noqa: E402
from stepwell.models.source import load_source, readable  # noqa: E402

FEW = stock_pairs(24, seed=3)


def rows(source: Any, length: int = 100) -> list[Row]:
    joiner = Joiner(source.tokenizer)
    return [
        row
        for query, text in FEW
        for row in joiner.rows(joiner.query(query, length=length), [text], length=length).rows
    ]


def original(source: Any, some: list[Row]) -> Vectors:
    import torch

    with torch.inference_mode():
        made = [
            source.model(
                input_ids=torch.from_numpy(row.ids[None]),
                **(
                    {"token_type_ids": torch.from_numpy(row.kinds[None])}
                    if source.takes_kinds
                    else {}
                ),
            ).logits.item()
            for row in some
        ]
    return np.array(made, dtype=np.float32)


@openvino
@pytest.mark.parametrize("form", tiny.FORMS)
def test_converted_scores_are_the_originals(
    form: str, forms: dict[str, Path], tmp_path: Path
) -> None:
    """In fp32, OpenVINO scores pairs of any length as the original does one by one."""
    facts = convert(str(forms[form]), tmp_path, backends=["openvino-fp32"], count=12)
    assert facts["backend"] == "openvino-fp32"
    source = load_source(str(forms[form]))
    some = rows(source)
    found = logits(open_engine(tmp_path, facts), some)
    np.testing.assert_allclose(found, original(source, some), atol=1e-4)


@pytest.mark.parametrize("backend", ["onnx-int8", "onnx-fp32"])
def test_without_openvino_onnx_runtime_does_it(
    backend: str, forms: dict[str, Path], tmp_path: Path
) -> None:
    """ONNX Runtime's forms pass the check too, and leave only what they need."""
    facts = convert(str(forms["bert"]), tmp_path, backends=[backend], count=60)
    assert facts["backend"] == backend
    assert facts["notes"] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{backend}.onnx", "tokenizer.json"]
    source = load_source(str(forms["bert"]))
    some = rows(source)
    found = logits(open_engine(tmp_path, facts), some)
    assert calibrate.rank_correlation(found, original(source, some)) > 0.97


def test_what_does_not_rank_alike_is_not_used(
    forms: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a stricter check int8 fails, fp32 is taken, and the notes say why."""
    monkeypatch.setattr(calibrate, "ERROR", 1e-4)
    backends = ["onnx-int8", "onnx-fp32"]
    facts = convert(str(forms["bert"]), tmp_path, backends=backends, count=12)
    assert facts["backend"] == "onnx-fp32"
    assert "onnx-int8 does not rank as the original does" in facts["notes"][0]
    assert facts["check"]["error"] < 1e-4
    assert not (tmp_path / "onnx-int8.onnx").exists()


def test_when_nothing_ranks_alike_the_original_stays(
    forms: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a check that nothing passes, the facts name torch and say so."""
    monkeypatch.setattr(calibrate, "CORRELATION", 2.0)
    facts = convert(str(forms["bert"]), tmp_path, backends=["onnx-fp32"], count=12)
    assert facts["backend"] == "torch"
    assert "the original itself is used" in facts["notes"]


def test_a_runtime_that_is_missing_is_passed_over(
    forms: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a library cannot be imported its forms are noted, with the pip line, and skipped."""
    monkeypatch.setitem(sys.modules, "openvino", None)
    backends = ["openvino-int8", "openvino-fp32", "onnx-fp32"]
    facts = convert(str(forms["bert"]), tmp_path, backends=backends, count=12)
    assert facts["backend"] == "onnx-fp32"
    assert "pip install 'stepwell[openvino]'" in facts["notes"][0]


def test_nan_weights_are_not_converted(forms: dict[str, Path], tmp_path: Path) -> None:
    """A model that scores NaN fails the check in every form."""
    import torch
    from transformers import AutoModelForSequenceClassification

    folder = tmp_path / "nan"
    shutil.copytree(forms["bert"], folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        model.classifier.bias.fill_(float("nan"))
    model.save_pretrained(folder)
    (tmp_path / "out").mkdir()
    facts = convert(str(folder), tmp_path / "out", backends=["onnx-fp32"], count=12)
    assert facts["backend"] == "torch"


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("encoder", "is no cross-encoder but a BertModel"),
        ("labels", "gives 3 scores a pair"),
        ("pad", "has no pad token"),
        ("cut", "does not load"),
        ("no weights", "does not load"),
        ("no head", "lacks weights"),
    ],
)
def test_what_is_no_cross_encoder_is_a_clear_error(
    fault: str, says: str, forms: dict[str, Path], tmp_path: Path
) -> None:
    """Each fault of a model's folder is a `ConfigurationError` that names it."""
    folder = spoilt(fault, forms["bert"], tmp_path / "model")
    with pytest.raises(ConfigurationError, match=says):
        convert(str(folder), tmp_path, backends=["onnx-fp32"], count=12)


def spoilt(fault: str, good: Path, folder: Path) -> Path:
    import json

    from transformers import BertConfig, BertModel

    shutil.copytree(good, folder)
    weights = folder / "model.safetensors"
    if fault == "encoder":
        BertModel(BertConfig(**{**tiny.SIZES, "pad_token_id": 1})).save_pretrained(folder)
    elif fault == "labels":
        tiny.model("bert", num_labels=3).save_pretrained(folder)
    elif fault == "pad":
        for name in ("config.json", "tokenizer_config.json"):
            known = json.loads((folder / name).read_text())
            known.pop("pad_token_id", None)
            known.pop("pad_token", None)
            (folder / name).write_text(json.dumps(known | {"pad_token_id": None}))
    elif fault == "cut":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif fault == "no weights":
        weights.unlink()
    else:
        from safetensors.numpy import load_file, save_file

        tensors = load_file(weights)
        save_file(
            {k: v for k, v in tensors.items() if "classifier" not in k}, weights, {"format": "pt"}
        )
    return folder


@pytest.mark.parametrize("form", tiny.FORMS)
def test_the_length_is_what_the_position_table_holds(form: str) -> None:
    """Where the tokenizer knows no limit, the model's own counts, offset of RoBERTa included."""
    fast = tiny.tokenizer(form)
    fast.model_max_length = 10**30
    assert readable(tiny.model(form), fast) == 128
