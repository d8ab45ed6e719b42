"""Many read while one writes; every answer is of one moment."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stepwell import Corpus, Document
from tests.corpus.encoders import BagOfWords

QUERY = BagOfWords().encode(["common"])[0]


def _version(n: int) -> list[Document]:
    return [Document(str(at), f"common words {n} {at}", {"turn": n}) for at in range(30)]


def test_readers_see_every_document_once_while_all_are_replaced(tmp_path: Path) -> None:
    """While one thread upserts all documents over and over, no search ever misses one."""
    problems: list[str] = []
    stop = threading.Event()

    def read(ask: Callable[[Corpus], list[str]], corpus: Corpus) -> int:
        asked = 0
        while not stop.is_set():
            found = ask(corpus)
            asked += 1
            if sorted(found) != sorted(map(str, range(30))):
                problems.append(f"{len(found)} found: {sorted(found)}")
        return asked

    with (
        Corpus.open(tmp_path / "c", encoder=BagOfWords()) as corpus,
        Corpus.open(tmp_path / "c", encoder=BagOfWords()) as other,
        ThreadPoolExecutor(8) as pool,
    ):
        corpus.add(_version(0))
        asks = [
            lambda c: c.search_text("common", 100).ids,
            lambda c: c.search_text("common", 100, filter={"turn": {"$gte": 0}}).ids,
            lambda c: c.search_vector(QUERY, 100).ids,
            lambda c: c.match({"turn": {"$gte": 0}}),
        ]
        running = [pool.submit(read, ask, c) for ask in asks for c in (corpus, other)]
        try:
            for n in range(1, 9):
                corpus.upsert(_version(n))
        finally:
            stop.set()
        assert all(each.result() > 0 for each in running)
        assert problems == []
        assert corpus.verify().ok


def test_threads_that_write_take_turns(tmp_path: Path) -> None:
    """Writers in threads wait for each other; nothing is lost."""
    with Corpus.open(tmp_path / "c", encoder=None, lock_timeout=60) as corpus:
        with ThreadPoolExecutor(4) as pool:
            for n in range(12):
                pool.submit(corpus.add, [Document(f"{n}-{at}", "text") for at in range(5)])
        assert len(corpus) == 60
        assert len(corpus.search_text("text", 100)) == 60
        assert corpus.verify().ok


def _count(path: str, found: multiprocessing.Queue[int]) -> None:
    with Corpus.open(path, encoder=None, read_only=True) as corpus:
        found.put(len(corpus.search_text("common", 100)))


def test_other_processes_read_what_is_written(tmp_path: Path) -> None:
    """A new process finds what a corpus that is still open here has acknowledged."""
    spawn = multiprocessing.get_context("spawn")
    found: multiprocessing.Queue[int] = spawn.Queue()
    with Corpus.open(tmp_path / "c", encoder=None) as corpus:
        corpus.add(_version(1))
        process = spawn.Process(target=_count, args=(str(tmp_path / "c"), found))
        process.start()
        assert found.get(timeout=60) == 30
        process.join()
        found.close()


def test_a_forked_process_has_connections_of_its_own(tmp_path: Path) -> None:
    """A corpus that was open when the process forked answers on both sides."""
    if "fork" not in multiprocessing.get_all_start_methods():
        return
    fork = multiprocessing.get_context("fork")
    with Corpus.open(tmp_path / "c", encoder=None) as corpus:
        corpus.add(_version(1))
        corpus.search_text("common", 3)
        found = fork.SimpleQueue()
        process = fork.Process(target=lambda: found.put(len(corpus.search_text("common", 100))))
        process.start()
        process.join(60)
        assert found.get() == 30
        assert len(corpus.search_text("common", 100)) == 30
