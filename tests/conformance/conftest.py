"""One tiny cross-encoder for all who are compared, and a counter of the models that are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stepwell.models.registry import shared
from tests.models import tiny

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder


@pytest.fixture(scope="session")
def reader_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, the same in each run; it reads 512 tokens, as most do."""
    pytest.importorskip("sentence_transformers", reason="the incumbents' rerankers run on it")
    folder = tmp_path_factory.mktemp("cross-encoder")
    tiny.model("roberta", max_position_embeddings=514).save_pretrained(folder)
    tokenizer = tiny.tokenizer("roberta")
    tokenizer.model_max_length = 512
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def reader(reader_folder: Path) -> CrossEncoder:
    from sentence_transformers import CrossEncoder

    return CrossEncoder(str(reader_folder), device="cpu")


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The keys of the models that are loaded while the test runs."""
    seen: list[Any] = []
    own = type(shared).get

    def get(registry: Any, key: Any, load: Any, /) -> Any:
        def counted() -> Any:
            seen.append(key)
            return load()

        return own(registry, key, counted)

    monkeypatch.setattr(type(shared), "get", get)
    return seen
