"""A small corpus of real texts, the embedded models, and what several cascades recorded of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import stepwell as sw
from stepwell.evaluate import Dataset
from stepwell.ingest import python_docs
from stepwell.tune import Recording, grid, record, take_apart
from tests.tune.shapes import QUERIES, cascades

MODULES = ("statistics", "timeit", "json")


@pytest.fixture(scope="session")
def documents() -> list[sw.Document]:
    found = [
        sw.Document(each.id, each.text[:160])
        for each in python_docs(["function", "class"])
        if each.metadata["module"] in MODULES
    ][:48]
    # The same text twice: equal scores at every stage, so that ties are replayed too.
    return [*found, *(sw.Document(f"again {each.id}", each.text) for each in found[:6])]


@pytest.fixture(scope="session")
def corpus(documents: list[sw.Document]) -> Iterator[sw.Corpus]:
    with sw.Corpus.temporary() as made:
        made.add(documents)
        yield made


@pytest.fixture(scope="session")
def dataset(documents: list[sw.Document]) -> Dataset:
    ids = [each.id for each in documents]
    qrels = {
        "q1": {id: 1 for id in ids if id.startswith("statistics.median")},
        "q2": {"json.loads": 2, "json.dumps": 1, "gone": 1},
        "q3": {"timeit.timeit": 3, "timeit.repeat": 1},
        "blank": {ids[0]: 1},
    }
    return Dataset("python", QUERIES, qrels)


@pytest.fixture(scope="session")
def recordings(corpus: sw.Corpus, dataset: Dataset) -> dict[str, Recording]:
    """What each cascade recorded."""
    return {
        name: record(cascade, dataset, settings=grid(take_apart(cascade)))
        for name, cascade in cascades(corpus).items()
    }
