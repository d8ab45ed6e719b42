"""Chroma gives the answers of the exact search, embedded or by its server."""

from __future__ import annotations

import gc
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepwell import Corpus, CorpusError, Document
from stepwell.corpus import reading
from tests.corpus.encoders import BagOfWords
from tests.corpus.killing import ROOT

httpx = pytest.importorskip("httpx", reason="chromadb is not installed")
pytest.importorskip("chromadb", reason="chromadb is not installed")

# chromadb's client never closes the connections to its server: the collector warns of them.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)

TEXTS = [f"text number {n} about topic {n % 5} and w{n % 83} w{n % 71}" for n in range(700)]
QUERIES = BagOfWords().encode(["topic 3 w9", "number 44", "w70 w71 w72"])


@pytest.fixture(autouse=True)
def _ask_chroma_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few vectors would be searched exactly."""
    monkeypatch.setattr(reading, "_FEW", 5)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program = Path(sys.executable).with_name("chroma")
    if not program.exists():
        pytest.skip("chroma's server is not installed beside this Python")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("server")
    process = subprocess.Popen(
        [program, "run", "--path", str(folder), "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(autouse=True)
def _close_connections() -> Iterator[None]:
    """What is still open at the end would warn when all tests are over."""
    yield
    for each in gc.get_objects():
        if isinstance(each, httpx.Client):
            each.close()


@pytest.fixture(params=["chroma", "server"])
def vectors(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue("server") if request.param == "server" else request.param


def _fill(corpus: Corpus) -> None:
    corpus.add(Document(str(n), text, {"n": n}) for n, text in enumerate(TEXTS))
    corpus.delete(str(n) for n in range(0, 100, 3))
    corpus.upsert([Document("44", "quite new", {"n": 44}), Document("x", "number 44")])


def _same(one: Corpus, other: Corpus) -> None:
    for query in QUERIES:
        for filter in (None, {"n": {"$lt": 300}}, {"n": {"$in": [1, 2, 44]}}):
            for k in (1, 10, 600):
                found = one.search_vector(query, k, filter=filter)
                expected = other.search_vector(query, k, filter=filter)
                assert found.ids == expected.ids
                assert found.scores.tolist() == expected.scores.tolist()


def test_the_answers_are_those_of_the_exact_search(vectors: str, tmp_path: Path) -> None:
    """Ids, scores and order agree, with filters, after changes and after a reopening."""
    path = tmp_path / "c"
    with Corpus.temporary(encoder=BagOfWords()) as exact:
        _fill(exact)
        with Corpus.open(path, encoder=BagOfWords(), vectors=vectors) as corpus:
            _fill(corpus)
            assert corpus.verify().ok
            _same(corpus, exact)
        with Corpus.open(path, encoder=BagOfWords()) as corpus:
            assert corpus.repaired == ()
            assert corpus.verify().ok
            _same(corpus, exact)


def test_reencoding_and_compaction_reach_chroma(vectors: str) -> None:
    """After both the collection holds the new vectors and nothing else."""
    other = BagOfWords(name="other", dimension=32)
    with Corpus.temporary(encoder=BagOfWords(), vectors=vectors) as corpus:
        _fill(corpus)
        corpus.reencode(other)
        corpus.compact()
        assert corpus.verify().ok
        assert corpus.search_vector(other.encode(["quite new"])[0], 1).ids == ["44"]
        assert len(list(corpus.path.glob("chroma-*"))) == (vectors == "chroma")


def test_an_embedded_chroma_that_is_damaged_is_rebuilt(tmp_path: Path) -> None:
    """Deleted or overwritten, its files are made anew from the vector file."""
    path = tmp_path / "c"
    with Corpus.open(path, encoder=BagOfWords(), vectors="chroma") as corpus:
        corpus.add(Document(str(n), text) for n, text in enumerate(TEXTS[:50]))
    moved = path.rename(tmp_path / "moved")  # this process' Chroma still has the old files open
    shutil.rmtree(next(moved.glob("chroma-*")))
    with Corpus.open(moved, encoder=BagOfWords()) as corpus:
        assert corpus.verify().ok
    again = moved.rename(tmp_path / "again")
    file = next(again.glob("chroma-*")) / "chroma.sqlite3"
    file.write_bytes(b"x" * file.stat().st_size)
    with Corpus.open(again, encoder=BagOfWords()) as corpus:
        assert "Chroma index was rebuilt" in corpus.repaired[0]
        assert corpus.verify().ok
        _same(corpus, corpus)


def test_what_another_process_adds_is_found(tmp_path: Path) -> None:
    """A reader that was open before finds what another process wrote since."""
    code = (
        "import sys; from stepwell import Corpus, Document\n"
        "from tests.corpus.encoders import BagOfWords\n"
        "with Corpus.open(sys.argv[1], encoder=BagOfWords()) as corpus:\n"
        "    corpus.add([Document('theirs', 'wholly new words')])\n"
        "    corpus.delete(['5'])\n"
    )
    path = tmp_path / "c"
    with Corpus.open(path, encoder=BagOfWords(), vectors="chroma") as corpus:
        corpus.add(Document(str(n), text) for n, text in enumerate(TEXTS[:50]))
        corpus.search_vector(QUERIES[0], 3)
        subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, check=True)
        query = BagOfWords().encode(["wholly new words"])[0]
        assert corpus.search_vector(query, 1).ids == ["theirs"]
        assert "5" not in corpus.search_vector(query, 100).ids
        corpus.add([Document("ours", "other words")])
        assert corpus.verify().problems in ((), ("Chroma lacks 1 rows of the record",))


def test_what_another_process_adds_hides_nothing_from_a_filter(tmp_path: Path) -> None:
    """Rows that Chroma does not know of yet never stand in for nearer ones that a filter allows."""
    code = (
        "import sys; from stepwell import Corpus, Document\n"
        "from tests.corpus.encoders import BagOfWords\n"
        "with Corpus.open(sys.argv[1], encoder=BagOfWords()) as corpus:\n"
        "    corpus.add(Document(f'late {n}', 'nothing of it', {'of': 'b'}) for n in range(50))\n"
    )
    path = tmp_path / "c"
    query = BagOfWords().encode(["the wanted words"])[0]
    with Corpus.open(path, encoder=BagOfWords(), vectors="chroma") as corpus:
        corpus.add(Document(f"a{n}", f"the wanted words {n}", {"of": "a"}) for n in range(300))
        corpus.add(Document(f"b{n}", f"some wanted thing {n}", {"of": "b"}) for n in range(300))
        corpus.search_vector(query, 3)
        subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, check=True)
        found = corpus.search_vector(query, 20, filter={"of": "b"}).ids
        assert len(found) == 20
        assert all(id.startswith("b") for id in found)


def test_a_server_that_is_away_is_named(tmp_path: Path) -> None:
    """The error has the address."""
    with pytest.raises(CorpusError, match=r"127\.0\.0\.1:9.*start it"):
        Corpus.open(tmp_path / "c", encoder=BagOfWords(), vectors="http://127.0.0.1:9")
