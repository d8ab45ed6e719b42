"""How long a replay takes: 300 queries and the default settings of three stages.

    python -m tests.bench.replay [--queries 300] [--documents 5000]

Documents and models are made up, since only how many there are counts: 1,000 from each arm. Run by
hand; it asserts nothing.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import stepwell as sw
from stepwell.evaluate import Dataset
from stepwell.testing import WordEncoder
from stepwell.tune import record, tune

WORDS = [f"w{at}" for at in range(60)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--documents", type=int, default=5000)
    args = parser.parse_args()
    rng = np.random.default_rng(0)

    def text(n: int) -> str:
        return " ".join(rng.choice(WORDS, n))

    def read(query: str, passages: list[str]) -> list[float]:
        return [float(hash((query, each)) % 1000) for each in passages]

    queries = {f"q{at}": text(6) for at in range(args.queries)}
    qrels = {id: {str(at): 1 for at in rng.choice(args.documents, 20)} for id in queries}
    with sw.Corpus.temporary(encoder=WordEncoder()) as corpus:
        corpus.add([sw.Document(str(at), text(12)) for at in range(args.documents)])
        cascade = sw.Cascade([sw.Hybrid(corpus), sw.BiEncoder(corpus), sw.CrossEncoder(read, k=10)])
        began = time.perf_counter()
        recording = record(cascade, Dataset("made up", queries, qrels))
        print(f"recorded {recording} in {time.perf_counter() - began:.1f} s")
        began, worked = time.perf_counter(), time.process_time()
        tuned = tune(recording)
        took, worked = time.perf_counter() - began, time.process_time() - worked
        what = f"{tuned.settings} settings of {tuned.queries} queries"
        print(f"replayed {what} in {took:.1f} s, of which {worked:.1f} s of a processor")


if __name__ == "__main__":
    main()
