"""One tiny cross-encoder for all who are compared, as sentence-transformers saves one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

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
