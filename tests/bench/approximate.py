"""Approximate search against exact: recall, time, size and time to build of each way, by size.

    python -m tests.bench.approximate ../shared/data --real 8000 --sizes 0,100000
    python -m tests.bench.approximate ../shared/data --real 8000 --sizes 1000000 --ways exact,ivf

Real passages are encoded once by the packaged encoder (some 70 a second) and kept in `--keep`; more
are grown from them: each is a real vector moved towards a neighbour, and by the difference of two
other neighbours, so that clusters, directions and local dimension stay those of text. Queries are
real questions. A way proposes candidates, which are then scored from the float16 vectors as the
corpus does it; recall is of the exact first 10, 100 and 1,000. `cpu` is the time of processors,
which others on the machine change little; `wall` is what one waits. Peers are used as their own
pages say, one thread for a query; `corpus` is the index of `vectors="auto"` itself, with the width
that it chose. Run by hand; nothing is asserted.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stepwell.corpus.neighbours import Neighbours
from stepwell.corpus.vectors import halved, search_exact
from stepwell.evaluate import Dataset
from stepwell.ingest import read_beir
from stepwell.models.loading import load_encoder

K = 1000
SETS = (
    "squad11-dev",
    "nfcorpus",
    "vespa-docs",
    "chunkeval-800",
    "cranfield",
    "cosqa-dev",
    "anthropic-codebase",
)

# The slots that a way proposes for a query.
Near = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="the folder of the sets")
    parser.add_argument("--real", type=int, default=6000, help="passages to encode")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "approximate")
    parser.add_argument("--sizes", default="0,100000", help="0 for the real ones alone")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--queries", type=int, default=40)
    args = parser.parse_args()
    real, queries = vectors_of(args.data, args.real, args.keep)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    for size in map(int, args.sizes.split(",")):
        compare(real, queries[: args.queries], size or len(real), args.ways.split(","))


def vectors_of(data: Path, count: int, keep: Path) -> tuple[np.ndarray, np.ndarray]:
    """(n, 384) float16 real passages, and questions (m, 384) float32, mixed over the sets."""
    file = keep.with_suffix(f".{count}.npz")
    if not file.exists():
        encoder, rng = load_encoder("embedded"), np.random.default_rng(0)
        texts: list[str] = []
        asked: list[str] = []
        for name in SETS:
            found = Dataset.load(data / name)
            texts += [document.text for document in read_beir(data / name).documents]
            some = [found.queries[id] for id in sorted(found.queries)]
            asked += [some[at] for at in rng.permutation(len(some))[:20]]
        texts = [texts[at] for at in rng.permutation(len(texts))[:count]]
        passages = halved(encoder.encode(texts, kind="passage"))
        np.savez(file, passages=passages, queries=encoder.encode(asked, kind="query"))
    found = np.load(file)
    queries = found["queries"][np.random.default_rng(1).permutation(len(found["queries"]))]
    return found["passages"], queries


def grown(real: np.ndarray, size: int) -> np.ndarray:
    """(size, d) float16: the real vectors, and others among and about them."""
    rng, rows = np.random.default_rng(0), real.astype(np.float32)
    near = np.concatenate(
        [
            np.argpartition(-(rows[start : start + 1000] @ rows.T), 33, axis=1)[:, 1:33]
            for start in range(0, len(rows), 1000)
        ]
    )
    out = np.empty((size, rows.shape[1]), np.float16)
    out[: len(real)] = real[:size]
    for start in range(len(real), size, 50_000):
        n = min(50_000, size - start)
        one, other = rng.integers(len(rows), size=(2, n))
        beside, beyond = (near[at, rng.integers(32, size=n)] for at in (one, other))
        share, step = rng.uniform(0, 0.5, (n, 1)), rng.uniform(0.2, 0.7, (n, 1))
        moved = rows[one] * (1 - share) + rows[beside] * share
        out[start : start + n] = halved(moved + step * (rows[other] - rows[beyond]))
    return out


def compare(real: np.ndarray, queries: np.ndarray, size: int, ways: list[str]) -> None:
    matrix = grown(real, size)
    everything = np.arange(size)
    kind = "real" if size <= len(real) else f"grown from {len(real)} real"
    print(f"\n{size} vectors ({kind}), load {os.getloadavg()[0]:.1f} at the beginning")
    truth = [search_exact(matrix, query, everything, K)[0] for query in queries]
    print(f"{'way':26}{'build s':>8}{'MB':>6}{'cpu ms':>9}{'wall ms':>9}  recall @10 @100 @1000")
    for name in ways:
        begin = time.process_time()
        for at, (width, size_mb, near) in enumerate(WAYS[name](matrix)):
            if at == 0:
                build = time.process_time() - begin

            def search(query: np.ndarray, near: Near = near) -> np.ndarray:
                slots = np.unique(near(query))
                return slots[search_exact(matrix, query, slots, K)[0]]

            search(queries[0])
            cpu, wall = time.process_time(), time.perf_counter()
            found = [search(query) for query in queries]
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            recall = [
                np.mean([np.isin(t[:k], f[:k]).mean() for t, f in zip(truth, found)])
                for k in (10, 100, 1000)
            ]
            print(
                f"{name + ' ' + width:26}{build:8.0f}{size_mb:6.0f}{1e3 * cpu / len(queries):9.2f}"
                f"{1e3 * wall / len(queries):9.2f}  " + " ".join(f"{r:.3f}" for r in recall),
                flush=True,
            )


# -- the ways: each gives (width, size in MB, candidates of a query), built before the first -------

Widths = Iterator[tuple[str, float, Near]]


def exact(matrix: np.ndarray) -> Widths:
    everything = np.arange(len(matrix))
    yield "float16", matrix.nbytes / 1e6, lambda query: everything


def _faiss(matrix: np.ndarray, spec: str) -> tuple[Any, float]:
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.index_factory(matrix.shape[1], spec, faiss.METRIC_INNER_PRODUCT)
    few = np.random.default_rng(0).permutation(len(matrix))[: max(50 * lists(matrix), 20_000)]
    index.train(matrix[np.sort(few)].astype(np.float32))
    for start in range(0, len(matrix), 20_000):
        index.add(matrix[start : start + 20_000].astype(np.float32))
    return index, len(faiss.serialize_index(index)) / 1e6


def lists(matrix: np.ndarray) -> int:
    return int(2 * len(matrix) ** 0.5)


def _proposed(index: Any, wide: int) -> Near:
    def near(query: np.ndarray) -> np.ndarray:
        found = index.search(query[None], min(wide, index.ntotal))[1][0]
        return found[found >= 0]

    return near


def of_the_corpus(matrix: np.ndarray) -> Widths:
    """As `vectors="auto"` makes it."""
    index = Neighbours.learnt(matrix)
    recall = index.extend(matrix, trained=len(matrix))
    with tempfile.TemporaryDirectory() as folder:
        index.save(Path(folder), "index")
        size = (Path(folder) / "index").stat().st_size / 1e6
    width = f"{index.probes}/{index.lists} ({recall:.3f})"
    yield width, size, lambda query: index.near(query, K)


def inverted(matrix: np.ndarray) -> Widths:
    """faiss: IVF, each pair of dimensions in 4 bits (fast scan)."""
    index, size = _faiss(matrix, f"IVF{lists(matrix)},PQ{matrix.shape[1] // 2}x4fs")
    for share in (0.03, 0.06, 0.12, 0.24):
        index.nprobe = max(1, int(share * index.nlist))
        for wide in (2, 4):
            yield f"{share:.0%} x{wide}", size, _proposed(index, wide * K)


def inverted_bytes(matrix: np.ndarray) -> Widths:
    """faiss: IVF, each dimension in a byte."""
    index, size = _faiss(matrix, f"IVF{lists(matrix)},SQ8")
    for share in (0.03, 0.06, 0.12, 0.24):
        index.nprobe = max(1, int(share * index.nlist))
        yield f"{share:.0%}", size, _proposed(index, K)


def flat(matrix: np.ndarray) -> Widths:
    """faiss: every vector in 4 bits for each pair of dimensions, all of them looked at."""
    index, size = _faiss(matrix, f"PQ{matrix.shape[1] // 2}x4fs")
    for wide in (2, 4):
        yield f"x{wide}", size, _proposed(index, wide * K)


def numpy_inverted(matrix: np.ndarray) -> Widths:
    """Lists of faiss' k-means, and nothing but numpy and the float16 file to search them."""
    index, _ = _faiss(matrix, f"IVF{lists(matrix)},SQ8")
    import faiss

    held = [
        faiss.rev_swig_ptr(index.invlists.get_ids(at), index.invlists.list_size(at)).copy()
        for at in range(index.nlist)
    ]
    centres = index.quantizer.reconstruct_n(0, index.nlist)
    for share in (0.03, 0.06, 0.12):
        probes = max(1, int(share * len(centres)))

        def near(query: np.ndarray, probes: int = probes) -> np.ndarray:
            best = np.argpartition(-(centres @ query), probes)[:probes]
            return np.concatenate([held[at] for at in best])

        yield f"{share:.0%}", (centres.nbytes + 8 * len(matrix)) / 1e6, near


def hnswlib_graph(matrix: np.ndarray) -> Widths:
    import hnswlib

    index = hnswlib.Index(space="ip", dim=matrix.shape[1])
    index.init_index(max_elements=len(matrix), ef_construction=200, M=16)
    index.set_num_threads(1)
    index.add_items(matrix.astype(np.float32))
    for ef in (1000, 2000, 4000):
        index.set_ef(ef)
        size = (matrix.nbytes * 2 + len(matrix) * 140) / 1e6
        yield f"ef {ef}", size, lambda query: index.knn_query(query, k=K)[0][0].astype(np.int64)


def usearch_graph(matrix: np.ndarray) -> Widths:
    from usearch.index import Index

    index = Index(ndim=matrix.shape[1], metric="ip", dtype="i8")
    index.add(np.arange(len(matrix)), matrix.astype(np.float32), threads=1)
    for ef in (1000, 2000, 4000):
        index.expansion_search = ef
        yield (
            f"i8 ef {ef}",
            index.serialized_length / 1e6,
            lambda query: index.search(query, 2 * K, threads=1).keys.astype(np.int64),
        )


def chroma_graph(matrix: np.ndarray) -> Widths:
    """As the corpus keeps one, `vectors="chroma"`; its width is what is asked for."""
    from stepwell.corpus.chroma import ChromaIndex

    with tempfile.TemporaryDirectory() as folder:
        index = ChromaIndex("chroma", folder=Path(folder) / "c", token="bench")
        index.add(range(len(matrix)), matrix)
        size = sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file()) / 1e6
        for wide in (1, 2, 3, 5):
            yield f"x{wide}", size, partial(_asked, index, wide)
        index.close()


def _asked(index: Any, wide: int, query: np.ndarray) -> np.ndarray:
    found = index._collection.query(query_embeddings=[query], n_results=wide * K, include=[])
    return np.array([int(id) for id in found["ids"][0]])


WAYS: dict[str, Callable[[np.ndarray], Widths]] = {
    "exact": exact,
    "corpus": of_the_corpus,
    "ivf": inverted,
    "ivf-sq8": inverted_bytes,
    "flat": flat,
    "numpy-ivf": numpy_inverted,
    "hnswlib": hnswlib_graph,
    "usearch": usearch_graph,
    "chroma": chroma_graph,
}

if __name__ == "__main__":
    main()
