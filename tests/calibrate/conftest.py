"""A data set whose right answers share words with their questions, some of them by chance."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

import stepwell as sw
from stepwell.evaluate import Dataset, Documents
from stepwell.ingest.reading import Reading
from stepwell.testing import WordScorer

WORDS = [f"w{at}" for at in range(60)]


def documents() -> list[sw.Document]:
    chance = Random(0)
    return [sw.Document(f"d{at}", " ".join(chance.sample(WORDS, 8))) for at in range(120)]


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """Forty questions of five words: four of the right document, one of any."""
    chance = Random(1)
    found = documents()
    queries = {
        f"q{at}": " ".join([*chance.sample(found[at].text.split(), 4), chance.choice(WORDS)])
        for at in range(40)
    }
    qrels = {f"q{at}": {f"d{at}": 1} for at in range(40)}
    every = Documents(lambda: Reading("set", found, len(found)), lambda: ("set",))
    return Dataset.of("set", queries, qrels, documents=every)


@pytest.fixture(scope="session")
def corpus() -> Iterator[sw.Corpus]:
    with sw.Corpus.temporary(encoder=None) as made:
        made.add(documents())
        yield made


@pytest.fixture
def cascade(corpus: sw.Corpus) -> sw.Cascade:
    return sw.Cascade([sw.BM25(corpus, 20), sw.CrossEncoder(WordScorer(), 10, name="words")])
