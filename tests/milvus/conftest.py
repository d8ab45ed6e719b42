"""Milvus Lite, the real engine in a file; one file a session, a collection a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from stepwell import Corpus, MilvusCorpus
from tests.corpus.encoders import BagOfWords

Make: TypeAlias = Callable[..., MilvusCorpus]
_numbers = count()


@pytest.fixture(scope="session")
def milvus_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file that stays open, so that a corpus opens in milliseconds."""
    path = tmp_path_factory.mktemp("milvus") / "all.db"
    with MilvusCorpus(path, encoder=None, collection="kept_open"):
        yield path


@pytest.fixture
def make(milvus_file: Path) -> Iterator[Make]:
    """Opens a corpus in a collection of its own."""
    opened: list[MilvusCorpus] = []

    def one(**options: Any) -> MilvusCorpus:
        options.setdefault("collection", f"c{next(_numbers)}")
        options.setdefault("encoder", BagOfWords())
        opened.append(MilvusCorpus(milvus_file, **options))
        return opened[-1]

    yield one
    for corpus in opened:
        corpus.close()


@pytest.fixture(params=["embedded", "milvus"])
def empty(request: pytest.FixtureRequest, make: Make) -> Iterator[Corpus | MilvusCorpus]:
    """A corpus of either kind, with an encoder and without documents."""
    if request.param == "milvus":
        yield make()
        return
    with Corpus.temporary(encoder=BagOfWords()) as corpus:
        yield corpus
