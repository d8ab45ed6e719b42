"""What may be stage one, side by side: the embedded corpus, Milvus, Chroma, and a store you have.

    python -m tests.bench.choosing ../shared/data/nfcorpus [--sizes 10000 100000] [--json out.json]

Each holds the same documents (those of the data set, repeated with edits), vectors and metadata,
in a process of its own, and answers the same questions through Stepwell's own recall stages. Its
vectors come from hashed words at no cost, so that a second of loading is the store's. Printed: how
fast it is loaded, what it takes on disk and in memory, how long it takes to open, to recall by
words and by vectors, filtered too, and from a change until a search sees it. Run by hand; nothing
is asserted. Needs the extras `chroma`, `faiss` and `milvus`, and langchain-chroma.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import stepwell as sw
from stepwell.ingest import read_beir
from stepwell.langchain import as_stage
from tests.bench.encode import machine

DIMENSION, WORDS = 384, 2**16
GROUPS = 100  # a filter for one of them passes one document in a hundred
CHANGED = 100
QUESTIONS = 30


@cache
def _rows() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((WORDS, DIMENSION), np.float32)


def hashed(texts: Sequence[str]) -> NDArray[np.float32]:
    """(n, 384) unit vectors, each the sum of its words' random ones."""
    out = np.empty((len(texts), DIMENSION), np.float32)
    for row, text in enumerate(texts):
        at = [zlib.crc32(word.encode()) % WORDS for word in text.lower().split()] or [0]
        out[row] = _rows()[at].sum(axis=0)
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    return out


def edited(passages: Sequence[str], count: int, seed: int = 0) -> Iterator[sw.Document]:
    """Passages in turn, a fifth of the words of each replaced by those of others."""
    draw = random.Random(seed)
    pool = [word for passage in passages for word in passage.split()]
    for number in range(count):
        words = passages[number % len(passages)].split()[:100]
        for at in range(len(words)):
            if draw.random() < 0.2:
                words[at] = draw.choice(pool)
        yield sw.Document(f"d{number}", " ".join(words), {"group": draw.randrange(GROUPS)})


@dataclass
class Store:
    """One contender: how it is opened, and changed; recall goes through Stepwell's stages."""

    name: str
    open: Callable[[Path], Any]
    upsert: Callable[[Any, list[sw.Document]], object]
    recall: Callable[[Any, str, int], Any]
    close: Callable[[Any], object] = lambda opened: opened.close()
    by: tuple[str, ...] = ("words", "vectors")


def _corpus_stage(corpus: Any, by: str, k: int) -> Any:
    return sw.BM25(corpus, k=k) if by == "words" else sw.Dense(corpus, k=k)


class _Embeddings:
    """LangChain's interface to the same vectors."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return hashed(texts).tolist()  # type: ignore[no-any-return]

    def embed_query(self, text: str) -> list[float]:
        return hashed([text])[0].tolist()  # type: ignore[no-any-return]


def _langchain(folder: Path) -> Any:
    from chromadb.config import Settings
    from langchain_chroma import Chroma

    return Chroma(
        "passages",
        embedding_function=_Embeddings(),  # type: ignore[arg-type]
        persist_directory=str(folder / "chroma"),
        collection_metadata={"hnsw:space": "cosine"},
        client_settings=Settings(anonymized_telemetry=False, is_persistent=True),
    )


def _put_langchain(store: Any, documents: list[sw.Document]) -> None:
    for start in range(0, len(documents), 1000):
        part = documents[start : start + 1000]
        store.add_texts(
            [each.text for each in part],
            [dict(each.metadata) for each in part],
            ids=[each.id for each in part],
        )


def _embedded(vectors: str) -> Callable[[Path], Any]:
    return lambda folder: sw.Corpus.open(folder / "corpus", encoder=hashed, vectors=vectors)


STORES = {
    store.name: store
    for store in (
        Store("Corpus", _embedded("auto"), sw.Corpus.upsert, _corpus_stage),
        Store("Corpus, exact", _embedded("exact"), sw.Corpus.upsert, _corpus_stage),
        Store("Corpus, Chroma", _embedded("chroma"), sw.Corpus.upsert, _corpus_stage),
        Store(
            "Milvus Lite",
            lambda folder: sw.MilvusCorpus(folder / "corpus.db", encoder=hashed),
            sw.MilvusCorpus.upsert,
            _corpus_stage,
        ),
        Store(
            "LangChain's Chroma",
            _langchain,
            _put_langchain,
            lambda store, by, k: as_stage(store, k=k),
            close=lambda store: None,
            by=("vectors",),
        ),
    )
}


@dataclass
class Row:
    """What was measured of one store at one size; times in milliseconds but where it says so."""

    store: str
    documents: int
    loaded: float = 0.0
    disk_mb: float = 0.0
    memory_mb: float = 0.0
    open_s: float = 0.0
    change: float = 0.0
    times: dict[str, float] = field(default_factory=dict)
    recall: float | None = None
    filtered: float | None = None


def measured(name: str, passages: Sequence[str], questions: Sequence[str], size: int) -> Row:
    """One store at one size, from nothing."""
    store, row = STORES[name], Row(name, size)
    documents = list(edited(passages, size))
    _rows()
    before = psutil.Process().memory_info().rss
    folder = Path(tempfile.mkdtemp(prefix="stepwell-choosing-"))
    try:
        opened = store.open(folder)
        began = time.perf_counter()
        store.upsert(opened, documents)
        # Closing waits for the index that a thread makes: it is part of the cost.
        store.close(opened)
        row.loaded = size / (time.perf_counter() - began)
        row.disk_mb = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 2**20
        began = time.perf_counter()
        opened = store.open(folder)
        _ask(store, opened, "vectors", 10, questions[:1])
        row.open_s = time.perf_counter() - began
        _search(store, opened, documents, questions, row)
        row.memory_mb = (psutil.Process().memory_info().rss - before) / 2**20
        row.change = statistics.median(_changes(store, opened, passages, size))
        store.close(opened)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return row


def _ask(
    store: Store, opened: Any, by: str, k: int, questions: Sequence[str], **options: Any
) -> tuple[float, list[list[str]]]:
    # Ten hits of k candidates: what a next stage is given, without the texts of all.
    cascade = sw.Cascade([store.recall(opened, by, k)])
    times, found = [], []
    for question in questions:
        began = time.perf_counter()
        cascade.search(question, k=10, **options)
        times.append(1000 * (time.perf_counter() - began))
        found.append(cascade.search(question, k=k, **options).ids)
    return statistics.median(times), found


def _search(
    store: Store, opened: Any, documents: list[sw.Document], questions: Sequence[str], row: Row
) -> None:
    for by in store.by:
        for k in (100, 1000):
            _ask(store, opened, by, k, questions[:3])
            row.times[f"{by}, {k:,}"], found = _ask(store, opened, by, k, questions)
        few = {"filter": {"group": 7}}
        row.times[f"{by}, 100, filtered"], passed = _ask(store, opened, by, 100, questions, **few)
    matrix = hashed([document.text for document in documents])
    kept = min(1000, len(documents))
    nearest = [np.argsort(-(matrix @ hashed([q])[0]), kind="stable")[:kept] for q in questions]
    shares = [
        len({f"d{at}" for at in best} & set(ids)) / kept
        for best, ids in zip(nearest, found, strict=True)
    ]
    row.recall = statistics.fmean(shares)
    allowed = sum(document.metadata["group"] == 7 for document in documents)
    row.filtered = statistics.fmean(len(ids) / min(100, allowed) for ids in passed)


def _changes(store: Store, opened: Any, passages: Sequence[str], size: int) -> Iterator[float]:
    """From a change of a hundred documents until a search that sees it has answered."""
    for turn in range(5):
        fresh = list(edited(passages[turn * CHANGED :], CHANGED, seed=turn + 1))
        began = time.perf_counter()
        store.upsert(opened, fresh)
        _, found = _ask(store, opened, "vectors", 10, [fresh[0].text])
        took = 1000 * (time.perf_counter() - began)
        if fresh[0].id not in found[0]:
            raise SystemExit(f"{store.name}: a search does not see what was written before it")
        yield took


def _table(rows: Sequence[Row]) -> Table:
    """One size: a column a store, a row a measure."""
    table = Table(title=f"{rows[0].documents:,} documents")
    table.add_column("")
    for row in rows:
        table.add_column(row.store, justify="right")
    searches = list(dict.fromkeys(each for row in rows for each in row.times))
    lines: list[tuple[str, Callable[[Row], str]]] = [
        ("loaded, documents a second", lambda row: f"{row.loaded:,.0f}"),
        ("on disk, MB", lambda row: f"{row.disk_mb:,.0f}"),
        ("in memory, MB", lambda row: f"{row.memory_mb:,.0f}"),
        ("to open and ask, s", lambda row: f"{row.open_s:.2f}"),
        *((f"{each}, ms", partial(_time, each)) for each in searches),
        ("recall@1000 by vectors", lambda row: f"{row.recall:.3f}"),
        ("filtered by vectors: found of those that pass", lambda row: f"{row.filtered:.2f}"),
        (f"a change of {CHANGED} until it is seen, ms", lambda row: f"{row.change:,.0f}"),
    ]
    for head, shown in lines:
        table.add_row(head, *(shown(row) for row in rows))
    return table


def _time(search: str, row: Row) -> str:
    return f"{row.times[search]:.1f}" if search in row.times else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000])
    parser.add_argument("--stores", nargs="+", choices=list(STORES), default=list(STORES))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    data = read_beir(args.dataset)
    passages = [document.text for document in data.documents if document.text.split()]
    questions = [" ".join(passage.split()[3:11]) for passage in passages[:QUESTIONS]]
    print(f"{machine()}, load {os.getloadavg()[0]:.1f}")
    rows = []
    for size in args.sizes:
        for name in args.stores:
            # Its own process: what another store left in memory is not its.
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                rows.append(pool.apply(partial(measured, name, passages, questions, size)))
            print(f"{name}, {size:,} documents: done", flush=True)
        Console(width=120).print(_table([row for row in rows if row.documents == size]))
    if args.json:
        args.json.write_text(json.dumps([vars(row) for row in rows], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
