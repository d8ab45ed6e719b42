from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.serving import command, small_corpus

KEY = "sk-a-key-of-the-tests"


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of a few pages, with vectors."""
    return small_corpus(tmp_path_factory.mktemp("pages"))


@pytest.fixture(scope="session")
def key() -> str:
    return KEY


@pytest.fixture(scope="session")
def served(pages: Path) -> Iterator[str]:
    """The URL of `stepwell serve` over the pages, open to all."""
    with command(pages) as told:
        told.ready()
        yield told.url


@pytest.fixture(scope="session")
def locked(pages: Path) -> Iterator[str]:
    """The URL of `stepwell serve` over the pages, with a key and small limits."""
    limits = ("--max-documents", 20, "--max-characters", 200, "--max-query", 100, "--max-k", 20)
    with command(pages, *limits, "--max-bytes", 20_000, STEPWELL_SERVE_KEY=KEY) as told:
        told.ready()
        yield told.url
