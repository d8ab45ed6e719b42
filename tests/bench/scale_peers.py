"""What else people search with, as each one's documentation says, and what bounds indexing here."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from stepwell.corpus import writing
from stepwell.corpus.analyzers import analyzer
from stepwell.corpus.lexical import Lexical
from stepwell.corpus.record import Record
from tests.bench.scale_tasks import (
    FILTERS,
    Answer,
    K,
    Task,
    documents,
    encoder,
    lines,
    on_disk,
    queries,
    timed,
    watched,
)

_PART = 1000


def rank_bm25(folder: Path, size: int, options: dict[str, Any]) -> Answer:
    """rank-bm25: scores of every document, then the best thousand."""
    from rank_bm25 import BM25Okapi

    def search(text: str) -> object:
        scores = index.get_scores(text.lower().split())
        best = np.argpartition(-scores, min(K, size - 1))[:K]
        return best[np.argsort(-scores[best])]

    with watched() as memory:
        began = time.perf_counter()
        index = BM25Okapi([text.lower().split() for text in lines(folder, size)])
        answer = _made(began, size, memory)
    return {**answer, "search": timed(search, queries(folder)[:40])}


def bm25s(folder: Path, size: int, options: dict[str, Any]) -> Answer:
    """bm25s with its stemmer, saved, and loaded again as a memory map."""
    import bm25s as library
    import Stemmer

    stemmer = Stemmer.Stemmer("english")
    place = folder / f"bm25s-{size}"
    asked = queries(folder)

    def search(text: str) -> object:
        tokens = library.tokenize(text, stopwords="en", stemmer=stemmer, show_progress=False)
        return index.retrieve(tokens, k=min(K, size), show_progress=False)

    with watched() as memory:
        began = time.perf_counter()
        tokens = library.tokenize(
            list(lines(folder, size)), stopwords="en", stemmer=stemmer, show_progress=False
        )
        index = library.BM25()
        index.index(tokens, show_progress=False)
        index.save(place)
        answer = _made(began, size, memory)
    began = time.perf_counter()
    index = library.BM25.load(place, mmap=True)
    answer["open"] = time.perf_counter() - began
    return {**answer, "disk": on_disk(place), "search": timed(search, asked)}


def chroma(folder: Path, size: int, options: dict[str, Any]) -> Answer:
    """Chroma with a persistent client and its own settings, but for cosine."""
    import chromadb

    place = folder / f"chroma-{size}"
    model = encoder(folder)
    asked = [*model.encode(queries(folder)[: options["dense"]], kind="query")]
    shutil.rmtree(place, ignore_errors=True)
    client = chromadb.PersistentClient(str(place), chromadb.Settings(anonymized_telemetry=False))
    collection = client.create_collection("texts", configuration={"hnsw": {"space": "cosine"}})
    with watched() as memory:
        began = time.perf_counter()
        for part in _parts(documents(folder, size)):
            texts = [each.text for each in part]
            collection.add(
                ids=[each.id for each in part],
                embeddings=model.encode(texts),
                documents=texts,
                metadatas=[dict(each.metadata) for each in part],
            )
        answer = _made(began, size, memory)

    def search(vector: Any, where: Any = None) -> list[str]:
        found = collection.query(query_embeddings=[vector], n_results=K, where=where, include=[])
        ids: list[str] = found["ids"][0]
        return ids

    answer |= {"disk": on_disk(place), "search": timed(search, asked)}
    for name, where in FILTERS.items():
        answer[f"filter {name}"] = timed(lambda vector, where=where: search(vector, where), asked)
    found = [{*search(vector)} for vector in asked[:20]]
    matrix = np.concatenate([model.encode(part) for part in _parts(lines(folder, size))])
    exact = [{*map(str, np.argsort(-(matrix @ vector))[:K])} for vector in asked[:20]]
    shares = [len(ids & best) / len(best) for ids, best in zip(found, exact)]
    return {**answer, "recall": float(np.mean(shares))}


def floors(folder: Path, size: int, options: dict[str, Any]) -> Answer:
    """Documents a second of each thing that adding a document needs, alone."""
    place = folder / f"floors-{size}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    answer: Answer = {}
    began = time.perf_counter()
    for _ in documents(folder, size):
        pass
    answer["making documents"] = size / (time.perf_counter() - began)
    work = {"checking them": 0.0, "the record alone": 0.0, "the term index alone": 0.0}
    Record.create(place, {}, None)
    record = Record(place)
    writer = Lexical.create(place / "lexical", analyzer=analyzer("english")).writer()
    first, waiting = 0, [*documents(folder, size)]
    began = time.perf_counter()
    for batch in writing.batches(waiting, writing.BATCH, repeats=False):
        work["checking them"] += time.perf_counter() - began
        rows = range(first, first := first + len(batch))
        began = time.perf_counter()
        with record.writing() as connection:
            writing._insert(connection, rows, batch)
        work["the record alone"] += time.perf_counter() - began
        began = time.perf_counter()
        writer.add(rows, (each.document.text for each in batch))
        writer.commit()
        work["the term index alone"] += time.perf_counter() - began
        began = time.perf_counter()
    writer.close()
    work["the term index alone"] += time.perf_counter() - began
    return {**answer, **{name: size / seconds for name, seconds in work.items()}}


def _made(began: float, size: int, memory: Answer) -> Answer:
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "documents/s": size / seconds, **memory}


def _parts(each: Iterable[Any]) -> Iterable[list[Any]]:
    part = []
    for one in each:
        part.append(one)
        if len(part) == _PART:
            yield part
            part = []
    if part:
        yield part


PEERS: tuple[Task, ...] = (rank_bm25, bm25s, chroma, floors)
