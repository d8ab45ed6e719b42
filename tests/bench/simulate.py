"""How the cascade behaves from a million documents to a billion, and up to 10,000 queries a second.

    python -m tests.bench.simulate [--sizes 10000 100000] [--json out.json]

The costs of the stages are measured here and now, through the real stages on one core's worth of
work each; machines, shards and replicas are simulated. Printed: what was measured, what is
assumed, a table, and how the simulation compares with theory and with a real run. By hand; nothing
is asserted (tests/bench/test_simulate.py does).

Each pool of cores serves in the order of arrival, so a query's way through it is a recursion over
arrivals with a heap of the cores' free times (Kiefer and Wolfowitz, 1955): exact, and with no event
to schedule. Stages follow one another, so they are simulated one after the other.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import queue
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import stepwell as sw
from stepwell.candidates import Candidates
from stepwell.models import Kind, Vectors, load_encoder, load_scorer
from tests.bench import synthetic
from tests.bench.encode import machine

Times = NDArray[np.float64]

DOCUMENTS = (10**6, 10**7, 10**8, 10**9)
RATES = (10, 100, 1_000, 10_000)
DEPTH = 1_000  # recalled, and re-scored from stored vectors
PAIRS = 50  # read by the cross-encoder
PART = 16  # of them in one request to a replica

SHARD = 10**7  # documents of a shard at most
CORES, MEMORY = 16, 64e9  # of a machine
BYTES = 2.4e3  # of memory a document, docs/scale.md
FILL = 0.7  # of the memory
LOAD = 0.6  # of the cores, where they are dimensioned
COPIES = 2  # of everything, at least: a machine may die
HOP = 0.0005  # seconds from one machine to another and back

ASSUMED = (
    "a shard is a node of a Milvus that recalls and re-scores in the time that an embedded corpus "
    "of as many documents takes: Stepwell runs no embedded corpus in shards, and no Milvus was "
    "measured",
    f"a query is encoded, recalls {DEPTH:,} by BM25, re-scores them from stored vectors on the "
    f"shards that hold them, and has {PAIRS} read by the cross-encoder in requests of {PART}",
    f"a shard holds {SHARD:,} documents at most; BM25 over n documents takes a power of n, from 0 "
    "to 1, through the two sizes that were measured, and varies as the larger size did",
    "documents are spread evenly, a query asks every shard and waits for the slowest; a shard "
    "recalls all and re-scores its share",
    "each piece of work has a core for itself, as fast as these; costs are time of a core",
    f"a machine has {CORES} cores and {MEMORY / 1e9:.0f} GB; a document takes {BYTES / 1e3} kB of "
    f"{FILL:.0%} of that, what Milvus is reckoned to need and not what was measured here",
    f"pools are dimensioned for {LOAD:.0%} load and {COPIES} copies; queries arrive as a Poisson "
    "process, none equal, no cache, no deadline, nothing fails",
    f"{HOP * 1e3:g} ms for each of two hops of the network",
)


# -- what a pool of cores does ---------------------------------------------------------------------


def served(arrivals: Times, takes: Times, cores: int) -> Times:
    """When each leaves a pool that serves in the order of arrival.

    Args:
        arrivals: (n,) seconds, in any order.
        takes: (n,) seconds of one core.
        cores: How many work at a time.
    """
    left = np.empty(len(arrivals))
    free = [0.0] * cores
    order = np.argsort(arrivals, kind="stable")
    for at, came, needs in zip(order.tolist(), arrivals[order].tolist(), takes[order].tolist()):
        done = max(came, free[0]) + needs
        heapq.heapreplace(free, done)
        left[at] = done
    return left


def poisson(rate: float, n: int, chance: np.random.Generator) -> Times:
    """(n,) arrivals at so many a second."""
    return np.cumsum(chance.exponential(1 / rate, n))


def erlang_c(load: float, cores: int) -> float:
    """The chance to wait in M/M/c (Erlang, 1917); `load` in cores."""
    blocked = 1.0
    for n in range(1, cores + 1):
        blocked = load * blocked / (n + load * blocked)
    return blocked / (1 - load / cores * (1 - blocked))


# -- costs, measured -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Costs:
    """Seconds of one core.

    Attributes:
        recall: By size of the corpus, one a query.
        encode: Of a query, one a query.
        rescore: Of `DEPTH` stored vectors, one a query.
        pairs: Of the cross-encoder, one a pair.
    """

    recall: dict[int, Times]
    encode: Times
    rescore: Times
    pairs: Times

    def recalled(self, documents: float) -> float:
        """Mean seconds to recall from so many."""
        (few, fast), (many, slow) = ((n, float(self.recall[n].mean())) for n in sorted(self.recall))
        power = min(max(math.log(slow / fast) / math.log(many / few), 0.0), 1.0)
        return slow * (documents / many) ** power

    def drawn(self, documents: float, n: int, chance: np.random.Generator) -> Times:
        """(n,) seconds to recall from so many, spread as those of the largest size measured."""
        largest = self.recall[max(self.recall)]
        return chance.choice(largest, n) * self.recalled(documents) / float(largest.mean())


def measured(sizes: tuple[int, int], *, queries: int, pairs: int) -> Costs:
    """Run each stage over real corpora of these sizes."""
    real = synthetic.passages(2_000)
    asked = synthetic.questions(queries) or [text[:60] for text in real[:queries]]
    recall, rescore = {}, np.empty(0)
    for size in sizes:
        with filled(size, real) as corpus:
            recall[size], rescore = timed([sw.BM25(corpus, k=DEPTH), sw.BiEncoder(corpus)], asked)
    scorer, encoder = load_scorer(), load_encoder()
    scorer.score(asked[0], real[:4])
    # One at a time: one core, and no text twice.
    encode = [seconds(encoder.encode, [f"{text}?"], kind="query") for text in asked]
    pair = [seconds(scorer.score, asked[n % len(asked)], [real[-1 - n]]) for n in range(pairs)]
    return Costs(recall, np.array(encode), rescore, np.array(pair))


class Free:
    """An encoder that costs nothing: what is timed is what is done with its vectors."""

    name, dimension = "free", 384

    def __init__(self) -> None:
        rows = np.random.default_rng(1).standard_normal((4096, self.dimension), np.float32)
        self._rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def encode(self, texts: Sequence[str], /, *, kind: Kind = "passage") -> Vectors:
        return self._rows[[zlib.crc32(text.encode()) % 4096 for text in texts]]


@contextmanager
def filled(size: int, real: list[str]) -> Iterator[sw.Corpus]:
    """A corpus of so many documents, in a folder of its own."""
    with sw.Corpus.temporary(encoder=Free()) as corpus:
        corpus.add(
            synthetic.document(n, text) for n, text in enumerate(synthetic.texts(size, real))
        )
        yield corpus


def seconds(work: Callable[..., object], *args: Any, **named: Any) -> float:
    """What a call takes of a core: others that share it do not count, as a clock's time would."""
    began = time.process_time()
    work(*args, **named)
    return time.process_time() - began


def timed(stages: list[sw.Stage], asked: list[str]) -> list[Times]:
    """Seconds of each stage for each question, after a first round that warms."""
    took: list[list[float]] = [[] for _ in stages]
    for round in range(2):
        for text in asked:
            found = Candidates.start(text)
            for at, stage in enumerate(stages):
                began = time.process_time()
                found = stage.run(found)
                if round:
                    took[at].append(time.process_time() - began)
    return [np.array(each) for each in took]


# -- the system ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sized:
    """What a load needs.

    Attributes:
        shards: Parts of the corpus.
        front: Cores that encode queries.
        search: Cores that serve one shard, on all its copies.
        ranking: Cores of the cross-encoder's replicas.
        machines: All of them, of `CORES` cores.
    """

    shards: int
    front: int
    search: int
    ranking: int
    machines: int


def sized(costs: Costs, documents: int, rate: float) -> Sized:
    """The cores and machines for so many documents and queries a second."""
    shards = math.ceil(documents / SHARD)
    on_shard = costs.recalled(documents / shards) + float(costs.rescore.mean()) / shards
    front, search, ranking = (
        max(math.ceil(rate * work / LOAD), COPIES)
        for work in (costs.encode.mean(), on_shard, PAIRS * costs.pairs.mean())
    )
    by_memory = COPIES * math.ceil(documents * BYTES / (MEMORY * FILL))
    searching = max(by_memory, math.ceil(shards * search / CORES), COPIES)
    return Sized(
        shards,
        front,
        search,
        ranking,
        searching + max(math.ceil((front + ranking) / CORES), COPIES),
    )


def simulated(costs: Costs, documents: int, rate: float, *, seed: int = 0) -> dict[str, Any]:
    """Latency and throughput of a system that was sized for this load."""
    chance = np.random.default_rng(seed)
    size = sized(costs, documents, rate)
    n = int(max(3_000, 2 * rate))
    arrivals = poisson(rate, n, chance)
    encoded = served(arrivals, chance.choice(costs.encode, n), size.front)
    recalled = np.zeros(n)
    for _ in range(size.shards):
        takes = costs.drawn(documents / size.shards, n, chance)
        takes += chance.choice(costs.rescore, n) / size.shards
        np.maximum(recalled, served(encoded + HOP, takes, size.search), out=recalled)
    parts = [min(PART, PAIRS - start) for start in range(0, PAIRS, PART)]
    takes = np.concatenate([chance.choice(costs.pairs, (n, each)).sum(axis=1) for each in parts])
    came = np.tile(recalled + HOP, len(parts))
    done = served(came, takes, size.ranking).reshape(len(parts), n).max(axis=0)
    steady = slice(n // 4, None)  # the first quarter fills the pools
    took = (done - arrivals)[steady]
    first, last = np.quantile(done, (0.25, 0.95))
    p50, p95, p99 = np.quantile(took, (0.5, 0.95, 0.99))
    searched = float(np.median((recalled - arrivals)[steady]))
    return {
        "documents": documents,
        "rate": rate,
        **asdict(size),
        "search_ms": searched * 1e3,
        "p50_ms": p50 * 1e3,
        "p95_ms": p95 * 1e3,
        "p99_ms": p99 * 1e3,
        "throughput": float(0.7 * n / (last - first)),
    }


# -- the checks ------------------------------------------------------------------------------------


def against_theory(*, cores: int = 4, load: float = 0.75, n: int = 200_000) -> dict[str, float]:
    """M/M/c: the mean wait beside Erlang's, and Little's law by looking at random moments."""
    chance = np.random.default_rng(7)
    arrivals, takes = poisson(load * cores, n, chance), chance.exponential(1.0, n)
    left = served(arrivals, takes, cores)
    steady = slice(n // 10, None)
    wait = float((left - arrivals - takes)[steady].mean())
    looks = chance.uniform(arrivals[n // 10], arrivals[-1], n // 10)
    inside = np.searchsorted(arrivals, looks) - np.searchsorted(np.sort(left), looks)
    return {
        "wait": wait,
        "erlang": erlang_c(load * cores, cores) / (cores * (1 - load)),
        "inside": float(inside.mean()),
        "little": load * cores * float((left - arrivals)[steady].mean()),
    }


def against_real(*, documents: int = 2_000, queries: int = 60, load: float = 0.7) -> dict[str, Any]:
    """A real cascade behind one worker under Poisson arrivals, and its simulation.

    What the simulation is given is when each query came and how long the cascade worked on it in
    this very run; what it must find is when each was answered. So the waiting is checked, and
    neither the costs of the stages nor how they grow.
    """
    real = synthetic.passages(2_000)
    asked = synthetic.questions(queries) or [text[:60] for text in real[:queries]]
    with filled(documents, real) as corpus:
        model = load_scorer()
        cascade = sw.Cascade([sw.BM25(corpus, k=100), sw.CrossEncoder(model, k=5, depth=5)])
        alone = [seconds(cascade.search, text) for text in asked]
        rate = load / float(np.mean(alone))
        gaps = np.random.default_rng(3).exponential(1 / rate, len(asked)).tolist()
        arrivals, takes, left = _driven(cascade, asked, gaps)
    made = served(arrivals, takes, 1)
    quantiles = (0.5, 0.95)
    return {
        "queries": len(asked),
        "real_ms": [float(q) * 1e3 for q in np.quantile(left - arrivals, quantiles)],
        "simulated_ms": [float(q) * 1e3 for q in np.quantile(made - arrivals, quantiles)],
        "waited_ms": float((left - arrivals - takes).mean() * 1e3),
        "largest_gap_ms": float(np.abs(made - left).max() * 1e3),
    }


def _driven(cascade: sw.Cascade, asked: list[str], gaps: list[float]) -> tuple[Times, Times, Times]:
    line: queue.SimpleQueue[tuple[str, float] | None] = queue.SimpleQueue()
    rows: list[tuple[float, float, float]] = []

    def work() -> None:
        while (next := line.get()) is not None:
            text, came = next
            began = time.perf_counter()
            cascade.search(text)
            ended = time.perf_counter()
            rows.append((came, ended - began, ended))

    worker = threading.Thread(target=work)
    worker.start()
    for text, gap in zip(asked, gaps):
        time.sleep(gap)
        line.put((text, time.perf_counter()))
    line.put(None)
    worker.join()
    came, takes, left = np.array(rows).T
    return came - came[0], takes, left - came[0]


# -- the report ------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs=2, default=(10_000, 100_000))
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    costs = measured(tuple(given.sizes), queries=given.queries, pairs=given.pairs)
    rows = [simulated(costs, n, rate) for n in DOCUMENTS for rate in RATES]
    checks = {"theory": against_theory(), "real": against_real()}
    print(machine())
    for size, took in costs.recall.items():
        print(f"BM25 top {DEPTH:,} of {size:,}: {_spread(took)}")
    print(f"encoding a query: {_spread(costs.encode)}")
    print(f"re-scoring {DEPTH:,} stored vectors: {_spread(costs.rescore)}")
    print(f"cross-encoder, a pair: {_spread(costs.pairs)}")
    print("assumed:", *(f"- {each}" for each in ASSUMED), sep="\n")
    Console(width=140).print(_table(rows))
    for name, values in checks.items():
        print(name, json.dumps(values))
    if given.json:
        raw = {"checks": checks, "rows": rows, "machine": machine(), "assumed": ASSUMED}
        given.json.write_text(json.dumps(raw, indent=2), encoding="utf-8")


def _spread(took: Times) -> str:
    p50, p95 = np.quantile(took, (0.5, 0.95)) * 1e3
    return f"mean {took.mean() * 1e3:.2f} ms, p50 {p50:.2f}, p95 {p95:.2f}"


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="simulated, on costs measured here", title_justify="left")
    heads = ("documents", "queries/s", "shards", "cores a shard", "cores ranking", "machines")
    for head in (*heads, "searched ms", "p50 ms", "p95 ms", "p99 ms", "answered/s"):
        table.add_column(head, justify="right", min_width=13 if head == "documents" else None)
    for row in rows:
        counts = ("documents", "rate", "shards", "search", "ranking", "machines")
        times = ("search_ms", "p50_ms", "p95_ms", "p99_ms")
        table.add_row(
            *(f"{row[each]:,}" for each in counts),
            *(f"{row[each]:.0f}" for each in times),
            f"{row['throughput']:,.0f}",
        )
    return table


if __name__ == "__main__":
    main()
