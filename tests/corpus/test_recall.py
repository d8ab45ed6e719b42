"""Approximate search finds what it promises, of few and of many, whatever the filter hides."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stepwell import Corpus, Document
from stepwell.corpus import neighbours
from stepwell.corpus.neighbours import Neighbours
from stepwell.corpus.vectors import halved
from stepwell.models.protocols import Kind, Vectors

pytest.importorskip("faiss", reason="the extra faiss is not installed")

DIMENSION, THEMES, SUBJECTS = 64, 20, 200
KIND, MANY = "auto:3000", 12_000


class Themes:
    """Subjects of one theme lie together, and texts of one subject closer still."""

    name, dimension = "themes", DIMENSION

    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        self.themes = rng.standard_normal((THEMES, DIMENSION))
        each = np.repeat(self.themes, SUBJECTS // THEMES, axis=0)
        self.subjects = each + 0.7 * rng.standard_normal((SUBJECTS, DIMENSION))

    def encode(self, texts: Sequence[str], /, *, kind: Kind = "passage") -> Vectors:
        del kind
        rows = [self._vector(int(text.split()[1])) for text in texts]
        return np.array(rows, np.float32).reshape(-1, DIMENSION)

    def _vector(self, number: int) -> NDArray[np.float64]:
        own = np.random.default_rng(number).standard_normal(DIMENSION)
        return np.asarray(self.subjects[number % SUBJECTS] + 0.5 * own)

    def far(self, subject: int) -> list[int]:
        """The half of all themes that is farthest from that of a subject."""
        return [int(t) for t in np.argsort(self.themes @ self.subjects[subject])[: THEMES // 2]]


ENCODER = Themes()
QUESTIONS = range(1_000_000, 1_000_012)


@pytest.fixture(autouse=True)
def _few_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As small a share of a small corpus as otherwise of a large one."""
    monkeypatch.setattr(neighbours, "_FIRST", 200)


def _documents(first: int, last: int) -> Iterator[Document]:
    for n in range(first, last):
        theme = n % SUBJECTS // (SUBJECTS // THEMES)
        yield Document(str(n), f"text {n}", {"theme": theme, "n": n})


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus with an index, and more beside it."""
    path = tmp_path_factory.mktemp("recall") / "c"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "_FIRST", 200)
        for first, last in ((0, MANY), (MANY, MANY + 700)):
            with Corpus.open(path, encoder=ENCODER, vectors=KIND) as corpus:
                corpus.add(_documents(first, last))
    return path


@pytest.mark.parametrize("k", [10, 100, 1000])
@pytest.mark.parametrize("hides", ["nothing", "the near half", "the nearest theme", "any half"])
def test_a_filter_costs_no_recall(path: Path, k: int, hides: str) -> None:
    """Recall is .95 at least when a filter hides what is near, with documents beside the index."""
    shares = []
    with (
        Corpus.open(path, encoder=ENCODER) as corpus,
        Corpus.open(path, encoder=ENCODER, vectors="exact") as exact,
    ):
        assert corpus.searches is not None
        assert corpus.searches.indexed == MANY
        for question in QUESTIONS:
            subject = question % SUBJECTS
            filter = {
                "nothing": None,
                "the near half": {"theme": {"$in": ENCODER.far(subject)}},
                "the nearest theme": {"theme": {"$ne": subject // (SUBJECTS // THEMES)}},
                "any half": {"n": {"$gte": MANY // 2}},
            }[hides]
            query = ENCODER.encode([f"question {question}"])[0]
            found = corpus.search_vector(query, k, filter=filter)
            best = exact.search_vector(query, k, filter=filter)
            assert found.approximate
            assert len(found) == len(best) == k
            shares.append(len(set(found.ids) & set(best.ids)) / k)
    assert np.mean(shares) >= 0.95


def test_what_was_deleted_is_made_up_for(tmp_path: Path) -> None:
    """When all that was near is deleted, what is nearest now is found."""
    path = tmp_path / "c"
    with Corpus.open(path, encoder=ENCODER, vectors=KIND) as corpus:
        corpus.add(_documents(0, MANY))
    shares = []
    with (
        Corpus.open(path, encoder=ENCODER) as corpus,
        Corpus.open(path, encoder=ENCODER, vectors="exact") as exact,
    ):
        gone = range(1, THEMES, 7)
        corpus.delete([d.id for d in _documents(0, MANY) if d.metadata["theme"] in gone])
        for n in range(12):
            number = 10 * SUBJECTS * MANY + 10 * gone[n % len(gone)] + n % 10
            query = ENCODER.encode([f"question {number}"])[0]
            found = corpus.search_vector(query, 100)
            assert found.approximate
            shares.append(np.isin(exact.search_vector(query, 100).ids, found.ids).mean())
    assert np.mean(shares) >= 0.95


def _recall(index: Neighbours, matrix: NDArray[np.float16], at: NDArray[np.int64], k: int) -> float:
    rows = matrix.astype(np.float32)
    best = [np.argsort(-(rows @ rows[n]))[:k] for n in at]
    return float(np.mean([np.isin(b, index.near(rows[n], k)).mean() for b, n in zip(best, at)]))


@pytest.mark.parametrize("dimension", [16, 48])
def test_without_clusters_more_is_looked_at(dimension: int) -> None:
    """Vectors that lie nowhere together are found nevertheless, in more lists and more names."""
    matrix = halved(np.random.default_rng(0).standard_normal((8000, dimension), np.float32))
    index = Neighbours.learnt(matrix)
    recall = index.extend(matrix, trained=len(matrix))
    assert recall >= neighbours.PROMISED
    for k in (10, 100, 800):
        assert _recall(index, matrix, np.arange(20), k) >= neighbours.PROMISED


def test_later_vectors_are_measured_apart() -> None:
    """When vectors come that are unlike those the lists were made for, more is looked at."""
    rng = np.random.default_rng(1)
    old, new = rng.standard_normal((2, 60, 32))
    first = halved(old[rng.integers(60, size=4000)] + 0.5 * rng.standard_normal((4000, 32)))
    later = halved(new[rng.integers(60, size=1000)] + 0.9 * rng.standard_normal((1000, 32)))
    index = Neighbours.learnt(first)
    index.extend(first, trained=len(first))
    probes = index.probes
    both = np.concatenate([first, later])
    recall = index.extend(both, trained=len(first))
    assert index.probes > probes
    for k in (10, 100, 400):
        assert _recall(index, both, np.arange(4000, 4040), k) >= recall - 0.03
        assert recall >= neighbours.PROMISED


def test_an_index_that_finds_too_little_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Search stays exact, says so once, and an index is tried again for four times as many."""
    monkeypatch.setattr(neighbours, "_WIDER", (1,))
    monkeypatch.setattr(neighbours, "_FIRST", 10)
    rng = np.random.default_rng(4)

    class Anywhere(Themes):
        def _vector(self, number: int) -> NDArray[np.float64]:
            return rng.standard_normal(DIMENSION)

    path, encoder = tmp_path / "c", Anywhere()
    with Corpus.open(path, encoder=encoder, vectors="auto:1000") as corpus:
        corpus.add(_documents(0, 1500))
    assert [r.levelno for r in caplog.records if "finds only" in r.message] == [logging.WARNING]
    for first, last, tried in ((1500, 3000, 1), (3000, 6500, 2)):
        with Corpus.open(path, encoder=encoder) as corpus:
            assert corpus.searches is not None
            assert corpus.searches.how == "exact"
            assert not corpus.search_vector(np.ones(DIMENSION), 10).approximate
            assert corpus.verify().ok
            corpus.add(_documents(first, last))
        assert len([r for r in caplog.records if "finds only" in r.message]) == tried
    assert not list(path.glob("neighbours-*"))
