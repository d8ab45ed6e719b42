"""Approximate search: nearly the exact answers, whatever is written, lost or killed meanwhile."""

from __future__ import annotations

import logging
import pickle
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

import stepwell as sw
from stepwell import ConfigurationError, Corpus, CorpusError, Document
from stepwell.corpus import approximating, store
from stepwell.corpus.index_record import Indexed
from stepwell.corpus.record import keep
from stepwell.corpus.writing import changed
from stepwell.models.protocols import Kind, Vectors
from tests.corpus.killing import ROOT

pytest.importorskip("faiss", reason="the extra faiss is not installed")

MANY, KIND = 6000, "auto:2000"
CENTRES = np.random.default_rng(5).standard_normal((60, 64))


class Clustered:
    """Texts of one first word lie together, as those of one subject do."""

    name, dimension = "clustered", 64

    def encode(self, texts: Sequence[str], /, *, kind: Kind = "passage") -> Vectors:
        del kind
        rows = []
        for text in texts:
            own = np.random.default_rng(zlib.crc32(text.encode())).standard_normal(64)
            rows.append(CENTRES[zlib.crc32(text.split()[0].encode()) % 60] + 0.9 * own)
        return np.array(rows, np.float32).reshape(-1, 64)


QUERIES = Clustered().encode([f"subject{n} query" for n in range(20)])


def _documents(first: int, last: int) -> Iterator[Document]:
    return (
        Document(str(n), f"subject{n % 60} text {n}", {"n": n, "subject": n % 60})
        for n in range(first, last)
    )


def _indexed(corpus: Corpus) -> Indexed | None:
    return Indexed.parse(corpus._store.state().neighbours)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("neighbours") / "c"
    with Corpus.open(path, encoder=Clustered(), vectors=KIND) as corpus:
        corpus.add(_documents(0, MANY))
    return path


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    """A corpus with an index, to be changed."""
    copy = tmp_path / "c"
    copy.mkdir()
    for file in made.rglob("*"):
        to = copy / file.relative_to(made)
        to.parent.mkdir(exist_ok=True, parents=True)
        if file.is_file():
            to.write_bytes(file.read_bytes())
    with Corpus.open(copy, encoder=Clustered()):
        return copy


def _recall(corpus: Corpus, exact: Corpus, k: int, filter: object = None) -> float:
    shares = []
    for query in QUERIES:
        found = corpus.search_vector(query, k, filter=filter)  # type: ignore[arg-type]
        best = exact.search_vector(query, k, filter=filter)  # type: ignore[arg-type]
        assert len(found) == len(best)
        assert not best.approximate
        scores = dict(zip(best.ids, best.scores))
        assert all(scores[id] == s for id, s in zip(found.ids, found.scores) if id in scores)
        assert (np.diff(found.scores) <= 0).all()
        shares.append(len(set(found.ids) & set(best.ids)) / len(best))
    return float(np.mean(shares))


@pytest.mark.parametrize("k", [10, 100, 1000])
def test_nearly_all_of_the_best_are_found(made: Path, k: int) -> None:
    """Above the size named recall is at least .95, and scores are those of exact search."""
    with (
        Corpus.open(made, encoder=Clustered()) as corpus,
        Corpus.open(made, encoder=Clustered(), vectors="exact") as exact,
    ):
        assert corpus.search_vector(QUERIES[0], k).approximate
        assert _recall(corpus, exact, k) >= 0.95


def test_it_shows(made: Path) -> None:
    """The corpus, its verification and the trace of a search say that it is approximate."""
    with Corpus.open(made, encoder=Clustered()) as corpus:
        searches = corpus.searches
        assert searches is not None
        assert (searches.how, searches.vectors, searches.indexed) == ("approximate", MANY, MANY)
        assert searches.recall is not None
        assert searches.recall >= 0.95
        assert corpus.verify().searches == searches
        result = sw.Cascade([sw.Dense(corpus, k=100)]).search("subject1 query")
        assert result.trace.records[0].notes["search"] == "approximate"
        assert "approximate" in str(result.trace)


@pytest.mark.parametrize(
    "filter",
    [
        {"n": {"$gte": 1500}},
        {"subject": {"$gte": 20}},
        {"n": {"$lt": 700}},
        {"subject": 59},
        {"n": {"$in": [3, 4]}},
    ],
)
def test_a_filter_hides_nothing_else(made: Path, filter: dict[str, object]) -> None:
    """With a wide, a narrow or a far filter as many are found as exact search finds, and nearly
    the same."""
    with (
        Corpus.open(made, encoder=Clustered()) as corpus,
        Corpus.open(made, encoder=Clustered(), vectors="exact") as exact,
    ):
        for k in (20, 800):
            assert _recall(corpus, exact, k, filter) >= 0.95


def test_what_is_written_shows_at_once(path: Path) -> None:
    """Other processes' additions are found, their deletions not, before the index knows of them."""
    code = (
        "import sys; from stepwell import Corpus, Document\n"
        "from tests.corpus.test_neighbours import Clustered\n"
        "with Corpus.open(sys.argv[1], encoder=Clustered()) as corpus:\n"
        "    corpus.add([Document('new', 'subject3 query'), Document('twin', 'subject3 query')])\n"
        "    corpus.delete([str(n) for n in range(3, 600, 60)])\n"
    )
    with Corpus.open(path, encoder=Clustered()) as corpus:
        gone = {str(n) for n in range(3, 600, 60)}
        assert gone & set(corpus.search_vector(QUERIES[3], 200).ids)
        before = _indexed(corpus)
        subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, check=True)
        found = corpus.search_vector(QUERIES[3], 200)
        assert found.approximate
        assert found.ids[:2] == ["new", "twin"]
        assert not gone & set(found.ids)
        assert _indexed(corpus) == before
        corpus.add([Document("0 again", "subject3 text 3")])  # its vector was there before
        assert "0 again" in corpus.search_vector(Clustered().encode(["subject3 text 3"])[0], 3).ids


def test_the_index_grows_with_the_corpus(path: Path) -> None:
    """It is extended while its lists do, and learns them anew when there is four times as much."""
    with Corpus.open(path, encoder=Clustered()) as corpus:
        corpus.add(_documents(MANY, MANY + 600))
    with Corpus.open(path, encoder=Clustered()) as corpus:
        now = _indexed(corpus)
        assert now is not None
        assert (now.slots, now.trained) == (MANY + 600, MANY)
        corpus.add(_documents(MANY + 600, 5 * MANY))
    with Corpus.open(path, encoder=Clustered()) as corpus:
        now = _indexed(corpus)
        assert now is not None
        assert now.slots == now.trained == 5 * MANY
        assert len(list(path.glob("neighbours-*"))) == 1
        assert corpus.verify().ok


def test_compaction_takes_the_index_along(path: Path) -> None:
    """When the vector file is made anew so is its index, in the background or at once."""
    with Corpus.open(path, encoder=Clustered()) as corpus:
        corpus.delete([str(n) for n in range(2000)])
    for compact in (False, True):
        with (
            Corpus.open(path, encoder=Clustered()) as corpus,
            Corpus.open(path, encoder=Clustered(), vectors="exact") as exact,
        ):
            if compact:
                corpus.compact()
            now = _indexed(corpus)
            assert now is not None
            assert (now.slots, now.space) == (4000, corpus._store.state().space)
            assert _recall(corpus, exact, 500) >= 0.95
            assert corpus.verify().ok


def test_there_and_back(path: Path) -> None:
    """Opening exactly changes nothing that is kept; rebuilding does, either way."""
    with Corpus.open(path, encoder=Clustered(), vectors="exact") as corpus:
        for same in (corpus, pickle.loads(pickle.dumps(corpus))):
            assert same.searches.how == "exact"
            same.close()
    with Corpus.open(path, encoder=None) as corpus:
        assert corpus.searches is not None
        assert corpus.searches.how == "approximate"
        corpus.rebuild(vectors="exact")
        assert corpus.searches.how == "exact"
        assert not list(path.glob("neighbours-*"))
        with pytest.raises(CorpusError, match=r"vectors='exact'.*rebuild .*--vectors auto"):
            Corpus.open(path, encoder=None, vectors="auto")
        corpus.rebuild(vectors="auto:3000")
        assert corpus.searches.how == "approximate"
        with pytest.raises(ConfigurationError, match="auto:N"):
            corpus.rebuild(vectors="auto:many")
        assert corpus.verify().ok


@pytest.mark.parametrize("how", ["spoilt", "cut off", "empty", "gone"])
def test_a_damaged_index_is_given_up(
    path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Who may write says so, and the next write makes another; who may not searches exactly."""
    file = next(path.glob("neighbours-*"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.unlink()
    if how != "gone":
        file.write_bytes({"spoilt": data, "cut off": data[:1000], "empty": b""}[how])
    with Corpus.open(path, encoder=Clustered(), read_only=True) as corpus:
        for _ in range(2):
            assert not corpus.search_vector(QUERIES[0], 10).approximate
        assert [r.levelno for r in caplog.records if "exactly" in r.message] == [logging.WARNING]
        assert "index of neighbours cannot be used" in corpus.verify().problems[0]
    with Corpus.open(path, encoder=Clustered()) as corpus:
        assert "the index of neighbours was given up" in corpus.repaired[0]
        assert corpus.verify().ok
        corpus.add([Document("one", "subject1 more")])
    with Corpus.open(path, encoder=Clustered()) as corpus:
        assert corpus.repaired == ()
        assert corpus.search_vector(QUERIES[0], 10).approximate


def test_it_is_made_when_it_is_first_missed(path: Path) -> None:
    """Where there is none yet, a search by vector begins one, unless nothing may be written."""
    with Corpus.open(path, encoder=None) as corpus:
        with corpus._store.record.writing() as connection:
            keep(connection, neighbours="")
            changed(connection)
        approximating.drop_leftovers(corpus._store)
        corpus.search_text("text", 10)
    for options in ({"read_only": True}, {"vectors": "exact"}, {}):
        with Corpus.open(path, encoder=Clustered(), **options) as corpus:
            assert _indexed(corpus) is None
            assert not corpus.search_vector(QUERIES[0], 10).approximate
    with Corpus.open(path, encoder=Clustered()) as corpus:
        assert corpus.search_vector(QUERIES[0], 10).approximate
        assert corpus.repaired == ()
        assert corpus.verify().ok


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
@pytest.mark.parametrize("moment", ["learning", "before", "after"])
def test_killed_while_it_is_made(path: Path, moment: str) -> None:
    """Killed at any moment the old index answers, and the next to write makes the new one."""
    code = (
        "import os, signal, sys; from stepwell import Corpus\n"
        "from stepwell.corpus import neighbours\n"
        "from tests.corpus.test_neighbours import Clustered, _documents\n"
        "moment, replace = sys.argv[2], os.replace\n"
        "def die(*_, **__):\n"
        "    if moment == 'after': replace(*_)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "if moment == 'learning': neighbours.Neighbours.extend = die\n"
        "else: neighbours.os.replace = die\n"
        "with Corpus.open(sys.argv[1], encoder=Clustered()) as corpus:\n"
        "    corpus.add(_documents(6000, 6600))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(path), moment], cwd=ROOT, check=False)
    assert ended.returncode == -signal.SIGKILL
    with Corpus.open(path, encoder=Clustered()) as corpus:
        assert corpus.repaired == ()
        assert corpus.verify().ok
        assert len(corpus) == 6600
        assert corpus.search_vector(QUERIES[0], 10).approximate
        corpus.add([Document("one", "subject1 more")])
    with Corpus.open(path, encoder=Clustered()) as corpus:
        now = _indexed(corpus)
        assert now is not None
        assert now.slots == 6601
        assert len(list(path.glob("neighbours-*"))) == 1


def test_without_faiss_search_is_exact(
    made: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says once what to install; answers are exact, and nothing fails."""
    for each in (store, approximating):
        monkeypatch.setattr(each, "installed", lambda: False)
    with Corpus.open(made, encoder=Clustered()) as corpus:
        for query in QUERIES[:3]:
            assert not corpus.search_vector(query, 10).approximate
        assert [r.message for r in caplog.records if "stepwell[faiss]" in r.message] != []
        assert len([r for r in caplog.records if "stepwell[faiss]" in r.message]) == 1
        assert not approximating.overdue(corpus._store)
