from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

import stepwell as sw

WORDS = ["logs", "keys", "cats", "disks", "ports", "doors", "lamps"]
DOCUMENTS = [
    sw.Document(f"d{at}", " ".join(WORDS[(at * step + step) % 7] for step in range(1, 2 + at % 5)))
    for at in range(40)
]
QUERIES = [f"{one} {other}" for one in WORDS for other in WORDS if one != other]


class Gate:
    """A stage that waits until it is opened."""

    name = "gate"

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def run(self, candidates: sw.Candidates, /) -> sw.Candidates:
        self.entered.set()
        self.opened.wait(30)
        return candidates


@pytest.fixture(scope="session")
def corpus() -> Iterator[sw.Corpus]:
    with sw.Corpus.temporary(encoder=None) as made:
        made.add(DOCUMENTS)
        yield made


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.opened.set()


def by_length(query: str, texts: list[str]) -> list[float]:
    return [float(len(text)) for text in texts]


def live_stages(corpus: sw.Corpus) -> list[sw.Stage]:
    return [sw.BM25(corpus, k=20)]


def other_stages(corpus: sw.Corpus) -> list[sw.Stage]:
    return [sw.BM25(corpus, k=20), sw.CrossEncoder(by_length, k=10)]
