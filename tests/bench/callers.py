"""Many callers of one model against one big batch: throughput, the event loop, equal answers.

    python -m tests.bench.callers ../shared/data/cranfield --callers 64 --turns 5

Three ways to answer the same queries, each turn with other queries, so that nothing is kept from
the turn before: one `search_many`, so many concurrent `ainvoke` of the LangChain retriever over the
same cascade, and the same without shared batches. Printed: queries a second, medians of the turns
and their ratio; the longest time for which the event loop was blocked; whether scores are equal.
Garbage that imports left is put aside first (`gc.freeze`): collecting it takes a tenth of a second
whoever triggers it, and would count as a blocked loop. Run by hand; nothing is asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import platform
import statistics
import time
from pathlib import Path

import stepwell as sw
from stepwell.evaluate import Dataset
from stepwell.ingest import read_beir
from stepwell.langchain import CascadeRetriever
from stepwell.stages import blends
from stepwell.stages.presets import RECALL

TICK = 0.001


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--depth", type=int, default=10, help="passages read for each query")
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    data = Dataset.load(args.dataset, split=args.split)
    queries = [data.queries[key] for key in sorted(data.queries)]
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    with sw.Corpus.temporary() as corpus:
        corpus.add(read_beir(args.dataset).documents)
        rows = []
        for turn in range(args.turns):
            start = turn * args.callers
            asked = queries[start : start + args.callers]
            if len(asked) < args.callers:
                parser.error(f"{len(queries)} queries are too few for {args.turns} turns")
            rows.append(one_turn(corpus, asked, args.depth))
            print("  ".join(f"{name} {value:.3g}" for name, value in rows[-1].items()), flush=True)
    print("median over turns:")
    for name in rows[0]:
        print(f"  {name:34} {statistics.median(row[name] for row in rows):.3g}")


def one_turn(corpus: sw.Corpus, asked: list[str], depth: int) -> dict[str, float]:
    batch, seconds = cascade_of(corpus, depth, shared=True), time.perf_counter()
    whole = batch.search_many(asked, k=10)
    batch_s = time.perf_counter() - seconds
    shared_s, stall, answers = asyncio.run(together(cascade_of(corpus, depth, shared=True), asked))
    alone_s, alone_stall, _ = asyncio.run(together(cascade_of(corpus, depth, shared=False), asked))
    equal = sum(
        [(hit.id, hit.score) for hit in result.hits]
        == [(document.id, document.metadata["relevance_score"]) for document in documents]
        for result, documents in zip(whole, answers, strict=True)
    )
    return {
        "search_many, queries/s": len(asked) / batch_s,
        "ainvoke shared, queries/s": len(asked) / shared_s,
        "ainvoke not shared, queries/s": len(asked) / alone_s,
        "shared to search_many": batch_s / shared_s,
        "not shared to search_many": batch_s / alone_s,
        "loop blocked at most, ms (shared)": stall * 1e3,
        "loop blocked at most, ms (not)": alone_stall * 1e3,
        "answers equal": equal / len(asked),
    }


def cascade_of(corpus: sw.Corpus, depth: int, *, shared: bool) -> sw.Cascade:
    """The recommended cascade, loaded, with nothing kept."""
    read = sw.CrossEncoder(blend=blends.CROSS_ENCODER_AFTER_HYBRID, shared=shared)
    read.scorer.close()
    middle = sw.BiEncoder(corpus, depth, blend=blends.BI_ENCODER_AFTER_HYBRID)
    cascade = sw.Cascade([sw.Hybrid(corpus, RECALL), middle, read])
    cascade.search("warm")
    return cascade


async def together(cascade: sw.Cascade, asked: list[str]) -> tuple[float, float, list[list]]:
    """Seconds for all, the longest that the loop was blocked, and the documents of each."""
    retriever = CascadeRetriever(cascade=cascade, k=10)
    await retriever.ainvoke("warm")
    stalls: list[float] = []

    async def tick() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(TICK)
            stalls.append(time.perf_counter() - before - TICK)

    gc.collect()
    gc.freeze()
    ticking = asyncio.create_task(tick())
    began = time.perf_counter()
    answers = await asyncio.gather(*(retriever.ainvoke(query) for query in asked))
    seconds = time.perf_counter() - began
    ticking.cancel()
    return seconds, max(stalls), answers


if __name__ == "__main__":
    main()
