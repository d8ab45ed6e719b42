from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepwell.errors import ConfigurationError
from stepwell.models.batches import logits
from stepwell.models.pairs import Row
from stepwell.models.protocols import Vectors

torch = pytest.importorskip("torch", reason="the extra sentence-transformers is not installed")

from stepwell.models.source import load_source  # noqa: E402
from stepwell.models.torch_engine import TorchEngine  # noqa: E402


class Small:
    """A real model on a device whose memory holds `tokens` tokens at a time."""

    def __init__(self, model: Any, tokens: int) -> None:
        self._model, self._tokens, self.config = model, tokens, model.config
        self.sizes: list[int] = []

    def __call__(self, **inputs: Any) -> Any:
        size = inputs["input_ids"].numel()
        self.sizes.append(size)
        if size > self._tokens:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self._model(**inputs)

    def __getattr__(self, name: str) -> Any:
        move = getattr(self._model, name)

        def moved(*args: Any) -> Small:
            move(*args)
            return self

        return moved


@pytest.fixture(scope="module")
def source(forms: dict[str, Path]) -> Any:
    return load_source(str(forms["bert"]))


def rows(count: int, size: int) -> list[Row]:
    chance = np.random.default_rng(count)
    return [
        Row(chance.integers(4, 500, size), np.zeros(size, dtype=np.int64)) for _ in range(count)
    ]


def scores(model: Any, some: list[Row]) -> Vectors:
    return logits(TorchEngine(model, device="cpu", pad=1, limit=128), some)


def test_a_batch_that_outgrows_the_memory_is_halved_and_completed(source: Any) -> None:
    """Every score is there and right, and later batches begin at a size that fits."""
    some = rows(40, 32)
    expected = scores(source.model, some)
    small = Small(source.model, tokens=300)
    engine = TorchEngine(small, device="cpu", pad=1, limit=128)
    np.testing.assert_allclose(logits(engine, some), expected, atol=1e-5)
    assert max(small.sizes) > 300
    small.sizes.clear()
    np.testing.assert_allclose(logits(engine, some), expected, atol=1e-5)
    assert max(small.sizes) <= 300


def test_a_pair_that_outgrows_the_memory_is_a_clear_error(source: Any) -> None:
    """When one row alone does not fit, the error says what to lower."""
    with pytest.raises(ConfigurationError, match=r"32 tokens.*lower max_length"):
        scores(Small(source.model, tokens=10), rows(3, 32))


def test_half_precision_that_overflows_is_given_up(forms: dict[str, Path]) -> None:
    """Scores beyond what half precision holds come out in single, with a warning."""
    source = load_source(str(forms["bert"]))
    with torch.no_grad():
        source.model.classifier.weight.mul_(3e4)
        source.model.classifier.bias.fill_(6e4)
    some = rows(4, 20)
    expected = scores(source.model, some)
    assert np.abs(expected).max() > 65504
    engine = TorchEngine(source.model, device="cpu", pad=1, limit=128, half=True)
    assert engine.backend == "torch-fp16"
    with pytest.warns(UserWarning, match="overflows in half precision"):
        found = logits(engine, some)
    assert engine.backend == "torch-fp32"
    np.testing.assert_allclose(found, expected, rtol=0.02)


def test_half_precision_ranks_alike(source: Any, forms: dict[str, Path]) -> None:
    """In half precision scores are those of single, within a hundredth of their range."""
    some = rows(12, 24)
    expected = scores(source.model, some)
    half = load_source(str(forms["bert"])).model
    found = logits(TorchEngine(half, device="cpu", pad=1, limit=128, half=True), some)
    assert np.abs(found - expected).max() < 0.02 * np.ptp(expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_on_a_gpu_the_budget_follows_the_free_memory(source: Any) -> None:
    """A model on a GPU scores as on the CPU, in batches that its memory allows."""
    some = rows(30, 40)
    expected = scores(source.model, some)
    engine = TorchEngine(source.model, device="cuda", pad=1, limit=128)
    assert engine.budget > 1000
    assert np.abs(logits(engine, some) - expected).max() < 0.02 * np.ptp(expected)
