"""What `tests.bench.scale` measures, each in a process of its own.

python -m tests.bench.scale_tasks TASK FOLDER SIZE OPTIONS   (answers with one line of JSON)
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

import stepwell as sw
from tests.bench.synthetic import SHELVES, Repeated, document

K = 1000
FILTERS = {"1%": {"shelf": {"$lt": SHELVES // 100}}, ".01%": {"shelf": 7}}

Answer = dict[str, Any]
Task = Callable[[Path, int, dict[str, Any]], Answer]


def lines(folder: Path, size: int) -> Iterator[str]:
    """The first texts, without holding them."""
    with (folder / "texts.txt").open(encoding="utf-8") as file:
        for line in islice(file, size):
            yield line[:-1]


def queries(folder: Path) -> list[str]:
    """What is asked."""
    asked: list[str] = json.loads((folder / "queries.json").read_text("utf-8"))
    return asked


def encoder(folder: Path) -> Repeated:
    """What makes the vectors."""
    kept = json.loads((folder / "passages.json").read_text("utf-8"))
    return Repeated(kept["passages"], np.load(folder / "base.npy"), kept["noise"])


def documents(folder: Path, size: int) -> Iterator[sw.Document]:
    """The documents, as they are needed."""
    return (document(number, text) for number, text in enumerate(lines(folder, size)))


# -- Stepwell --------------------------------------------------------------------------------------


def ingest(folder: Path, size: int, options: dict[str, Any]) -> Answer:
    """Documents into a corpus without vectors."""
    return _ingested(folder, size, folder / f"words-{size}", encoder=None)


def ingest_vectors(folder: Path, size: int, options: dict[str, Any]) -> Answer:
    """Documents into a corpus with vectors that cost nothing to make."""
    made = Timed(encoder(folder))
    place = folder / f"vectors-{size}"
    answer = _ingested(folder, size, place, encoder=made, vectors=options["vectors"])
    return {**answer, "making vectors": made.seconds}


def _ingested(folder: Path, size: int, place: Path, **options: Any) -> Answer:
    shutil.rmtree(place, ignore_errors=True)
    with watched() as memory:
        began, work = time.perf_counter(), time.process_time()
        # Closing waits for the index of neighbours, which a thread makes: it is part of the cost.
        with sw.Corpus.open(place, **options) as corpus:
            corpus.add(documents(folder, size))
            added = time.perf_counter() - began
        seconds, work = time.perf_counter() - began, time.process_time() - work
    return {
        "adding": added,
        "seconds": seconds,
        "processor": work,
        "documents/s": size / seconds,
        "disk": on_disk(place),
        "parts": {each.name: on_disk(each) for each in sorted(place.iterdir())},
        **memory,
    }


class Timed:
    """An encoder, and how long it took in all."""

    local = True

    def __init__(self, inner: Repeated) -> None:
        self.inner = inner
        self.name, self.dimension = inner.name, inner.dimension
        self.seconds = 0.0

    def encode(self, texts: Sequence[str], /, *, kind: Any = "passage") -> Any:
        """What the inner one makes."""
        began = time.perf_counter()
        made = self.inner.encode(texts, kind=kind)
        self.seconds += time.perf_counter() - began
        return made


def words(folder: Path, size: int, options: dict[str, Any]) -> Answer:
    """A corpus opened by a new process, and asked for words."""
    began = time.perf_counter()
    corpus = sw.Corpus.open(folder / f"words-{size}", encoder=None)
    opened = time.perf_counter() - began
    asked = queries(folder)
    answer: Answer = {"open": opened, "first": once(lambda: corpus.search_text(asked[0], K))}
    answer["search"] = timed(lambda text: corpus.search_text(text, K), asked)
    with corpus.snapshot():
        answer["search, snapshot held"] = timed(lambda text: corpus.search_text(text, K), asked)
    answer["snapshot"] = timed(lambda _: corpus.pinned().close(), asked)
    for name, among in FILTERS.items():
        corpus.search_text(asked[0], K, filter=among)  # its rows are remembered afterwards
        answer[f"filter {name}"] = timed(
            lambda text, among=among: corpus.search_text(text, K, filter=among), asked
        )
        fresh = {**among, "$or": [among, {"none": "of this"}]}
        answer[f"filter {name}, new"] = once(lambda fresh=fresh: corpus.match(fresh, 1))
    with watched() as memory:
        for text in asked[:20]:
            corpus.search_text(text, K)
    return {**answer, **memory}


def meaning(folder: Path, size: int, options: dict[str, Any]) -> Answer:
    """A corpus with vectors opened by a new process, and asked for vectors."""
    model = encoder(folder)
    began = time.perf_counter()
    corpus = sw.Corpus.open(folder / f"vectors-{size}", encoder=model)
    opened = time.perf_counter() - began
    asked = [*model.encode(queries(folder)[: options["dense"]], kind="query")]
    answer: Answer = {"open": opened, "first": once(lambda: corpus.search_vector(asked[0], K))}
    answer["search"] = timed(lambda query: corpus.search_vector(query, K), asked)
    answer["recall"] = _recall(corpus, asked)
    for name, among in FILTERS.items():
        corpus.search_vector(asked[0], K, filter=among)
        answer[f"filter {name}"] = timed(
            lambda query, among=among: corpus.search_vector(query, K, filter=among), asked
        )
    answer["re-scoring"] = _rescoring(corpus, asked)
    with watched() as memory:
        for query in asked[:20]:
            corpus.search_vector(query, K)
    return {**answer, **memory}


def _recall(corpus: sw.Corpus, asked: Sequence[Any]) -> float:
    """How much of the exact first thousand the corpus finds, as it searches by itself."""
    from stepwell.corpus.vectors import search_exact

    shares = []
    snapshot = corpus.pinned()
    try:
        places = snapshot.places()
        for query in asked[:20]:
            at, _ = search_exact(places.matrix, query, places.slots, K)
            ids = {id for id in snapshot.ids_of(places.rows[at]) if id is not None}
            shares.append(len(ids & {*corpus.search_vector(query, K).ids}) / max(len(ids), 1))
    finally:
        snapshot.close()
    return float(np.mean(shares))


def _rescoring(corpus: sw.Corpus, asked: Sequence[Any]) -> Answer:
    """A thousand candidates scored again from their stored vectors, as in one search."""
    took = []
    for recalled, vector in zip(asked, [*asked[1:], asked[0]]):
        with corpus.snapshot():
            ids = corpus.search_vector(recalled, K).ids
            began = time.perf_counter()
            corpus.vectors_for(ids) @ vector
            took.append((time.perf_counter() - began) * 1e3)
    return spread(took)


def cascade(folder: Path, size: int, options: dict[str, Any]) -> Answer:
    """The recommended cascade with the packaged models, by stage."""
    corpus = sw.Corpus.open(folder / f"vectors-{size}", encoder=encoder(folder))
    recommended = sw.Cascade.default(corpus, k=10)
    asked = queries(folder)
    recommended.search(asked[-1])
    recommended.search(asked[-2])
    stages: dict[str, list[float]] = {}
    with watched() as memory:
        for text in asked[: options["cascades"]]:
            trace = recommended.search(text).trace
            for record in trace.records:
                stages.setdefault(record.name, []).append(record.ms)
                for child in record.children:
                    stages.setdefault(f"{record.name}: {child.name}", []).append(child.ms)
            stages.setdefault("all", []).append(trace.ms)
    return {"stages": {name: spread(took) for name, took in stages.items()}, **memory}


# -- measuring -------------------------------------------------------------------------------------


def once(call: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1e3


def timed(call: Callable[[Any], object], asked: Sequence[Any]) -> Answer:
    """Milliseconds of each, after as many as ten to get warm, and of the processors on average."""
    for each in asked[-10:]:
        call(each)
    work = time.process_time()
    took = spread([once(lambda each=each: call(each)) for each in asked])
    return {**took, "processor": (time.process_time() - work) / len(asked) * 1e3}


def spread(took: Sequence[float]) -> Answer:
    """Median and 95th percentile."""
    return {"median": float(np.median(took)), "p95": float(np.percentile(took, 95))}


def on_disk(place: Path) -> float:
    """Megabytes that a file or folder takes."""
    files = place.rglob("*") if place.is_dir() else [place]
    return sum(each.stat().st_blocks * 512 for each in files if each.is_file()) / 1e6


@contextmanager
def watched() -> Iterator[Answer]:
    """The most memory in MB meanwhile: resident, its own share of that, and what no file backs."""
    peak: Answer = {}
    over = threading.Event()

    def look() -> None:
        for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
            name, kilobytes = line.split()[:2]
            if name in ("Rss:", "Pss:", "Anonymous:"):
                key = name[:-1].lower()
                peak[key] = max(peak.get(key, 0.0), int(kilobytes) / 1e3)

    def watch() -> None:
        while not over.wait(0.2):
            look()

    look()
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()
        look()


def main() -> None:
    from tests.bench.scale_peers import PEERS

    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    tasks: dict[str, Task] = {
        each.__name__: each for each in (ingest, ingest_vectors, words, meaning, cascade, *PEERS)
    }
    name, folder, size, options = sys.argv[1:]
    with nullcontext(channel):
        answer = tasks[name](Path(folder), int(size), json.loads(options))
        channel.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
