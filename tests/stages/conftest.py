from __future__ import annotations

from collections.abc import Iterator

import pytest

from stepwell import Corpus, Document
from stepwell.testing import WordEncoder

TEXTS = {
    "rotate": "Logs rotate daily; run logrotate to rotate the logs now.",
    "disk": "When the disk fills up, the oldest logs are compressed.",
    "keys": "API keys expire after ninety days; rotate them in the console.",
    "cat": "The office cat is fed at noon and at six.",
    "mail": "Mail that bounces twice is logged and dropped.",
    "twice": "Logs rotate daily; run logrotate to rotate the logs now!",
    "empty": "",
}


@pytest.fixture(scope="session")
def documents() -> list[Document]:
    return [
        Document(id, text, {"even": at % 2 == 0, "n": at})
        for at, (id, text) in enumerate(TEXTS.items())
    ]


@pytest.fixture(scope="session")
def corpus(documents) -> Iterator[Corpus]:
    """A real corpus with vectors of words; nothing may be written to it."""
    with Corpus.temporary(encoder=WordEncoder()) as corpus:
        corpus.add(documents)
        yield corpus
