from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest

from stepwell.errors import ConfigurationError
from stepwell.models import Kind, PairScores, Vectors, load_encoder, load_scorer
from stepwell.models.cross import EmbeddedScorer
from stepwell.models.embedded import EmbeddedEncoder


class OwnEncoder:
    name = "own"

    @property
    def dimension(self) -> int:
        raise AssertionError("asked for its dimension while it was only being looked at")

    def encode(self, texts: Sequence[str], /, *, kind: Kind = "passage") -> Vectors:
        return np.zeros((len(texts), 2), dtype=np.float32)


class OwnScorer:
    name = "own"
    kind = "similarity"

    def score(self, query: str, passages: Sequence[str], /, *, stop: object = None) -> PairScores:
        return PairScores(np.zeros(len(passages), dtype=np.float32))


def test_import_loads_no_runtime() -> None:
    """Importing the package and building an embedded model imports no model runtime."""
    code = (
        "import sys; from stepwell.models import load_encoder, load_scorer;"
        "load_encoder().name; load_scorer().name;"
        "print([m for m in ('onnxruntime', 'torch', 'transformers', 'sentence_transformers',"
        " 'tokenizers', 'onnx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_use_needs_no_torch() -> None:
    """Encoding and scoring with the embedded models import neither torch nor transformers."""
    code = (
        "import sys; from stepwell.models import load_encoder, load_scorer;"
        "load_encoder().encode(['a']); load_scorer().score('a', ['b']);"
        "print([m for m in ('torch', 'transformers', 'onnx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("spec", [None, "embedded"])
def test_embedded_by_default(spec: str | None) -> None:
    """Nothing, or the word, stands for the packaged models."""
    assert isinstance(load_encoder(spec), EmbeddedEncoder)
    assert isinstance(load_scorer(spec), EmbeddedScorer)


def test_objects_with_the_protocol_pass_through() -> None:
    """An object that is an encoder or a scorer already is returned as it is, unasked."""
    encoder, scorer = OwnEncoder(), OwnScorer()
    assert load_encoder(encoder) is encoder
    assert load_scorer(scorer) is scorer  # type: ignore[arg-type]


@pytest.mark.parametrize("spec", [3, [], {"model": "x"}, 1.5])
def test_anything_else_is_refused(spec: object) -> None:
    """What is none of these is refused, saying what it is."""
    with pytest.raises(ConfigurationError, match=type(spec).__name__):
        load_encoder(spec)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=type(spec).__name__):
        load_scorer(spec)  # type: ignore[arg-type]
