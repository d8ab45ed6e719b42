from pathlib import Path

import pytest

from stepwell import Document
from stepwell.ingest import Reading
from stepwell.ingest.cache import cache_folder, cached_corpus

DOCUMENTS = [Document("a", "Rotate the logs."), Document("b", "Feed the cat.")]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPWELL_CACHE", str(tmp_path / "cache"))


def opened(reads: list[int], *, key: str = "v1") -> list[str]:
    def read() -> Reading:
        reads.append(1)
        return Reading("here", DOCUMENTS, len(DOCUMENTS))

    with cached_corpus("a / name", read, key=(key,), encoder=None) as corpus:
        return corpus.search_text("logs", 5).ids


def test_a_kept_corpus_is_built_once_for_each_key() -> None:
    """The documents are read the first time only; another key is another corpus."""
    reads: list[int] = []
    assert opened(reads) == opened(reads) == ["a"]
    assert len(reads) == 1
    assert opened(reads, key="v2") == ["a"]
    assert len(reads) == 2
    assert all(" " not in path.name for path in cache_folder().iterdir())


def test_an_interrupted_build_is_finished() -> None:
    """Without its mark of completion a corpus is brought up to date, whatever it holds."""
    reads: list[int] = []
    opened(reads)
    next(cache_folder().glob("*.complete")).unlink()
    assert opened(reads) == ["a"]
    assert len(reads) == 2


def test_a_damaged_corpus_is_built_again() -> None:
    """The cache derives from the source, so damage costs time and is no error."""
    reads: list[int] = []
    opened(reads)
    for file in next(cache_folder().glob("*.stepwell")).rglob("*"):
        if file.is_file():
            file.write_bytes(b"nonsense" * 100)
    assert opened(reads) == ["a"]
    assert len(reads) == 2
