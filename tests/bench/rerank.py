"""How fast the same cross-encoder reranks here and where people run it today.

    python -m tests.bench.rerank [--quality] [--sizes 20 50 100] [--turns 5] [--model FOLDER]

Each contender has a process; they take turns at the same query and passages, which no contender has
seen before. Needs the extra `bench` and ../shared/data; the model is made where it is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stepwell.models.calibrate import rank_correlation
from tests.bench import local_cross_encoder as local
from tests.bench.contenders import CONTENDERS

TOKENS = 228
SEED = 5
BASE = "sentence-transformers"


class Worker:
    """A contender's process."""

    def __init__(self, name: str, model: Path) -> None:
        self.name = name
        command = [sys.executable, "-m", "tests.bench.contenders", name, str(model)]
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True
        )
        self.ready = float(self._read()["ready"])
        self.megabytes = 0.0

    def score(self, query: str, passages: Sequence[str]) -> tuple[float, float, list[float]]:
        """Return seconds, seconds of processor time, and scores."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"query": query, "passages": list(passages)}) + "\n")
        self.process.stdin.flush()
        answer = self._read()
        self.megabytes = answer["megabytes"]
        return answer["seconds"], answer["work"], answer["scores"]

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            raise SystemExit(f"{self.name} ended:\n{self.log.read()[-2000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def machine() -> str:
    """Return one line about what this runs on."""
    from importlib.metadata import version

    model, flags = platform.processor(), ""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":")[1].strip()
            if line.startswith("flags"):
                flags = line
    except OSError:
        pass
    known = [x for x in ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8") if x in flags]
    packages = ("openvino", "onnxruntime", "torch", "sentence-transformers", "langchain-classic")
    packages += ("llama-index-core", "rerankers", "flashrank")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    load = os.getloadavg()[0]
    return f"{model}, {os.cpu_count()} cores, {' '.join(known)}, load {load:.1f}; {versions}"


def questions(seed: int) -> list[str]:
    """Return questions of nfcorpus's test split, shuffled."""
    texts = local.questions("nfcorpus")
    asked = [texts[key] for key in sorted(local.qrels("nfcorpus", "test"))]
    random.Random(seed).shuffle(asked)
    return asked


def passages(kind: str, tokenizer: Any) -> list[str]:
    """Return passages: cut to `TOKENS` tokens with special ones and a short query, or uncut.

    None is longer than a model of 512 tokens reads, so that every contender reads the same.
    """
    chance = random.Random(SEED)
    if kind == "even":
        texts = list(local.corpus("nfcorpus").values())
        marks = [encoding.offsets for encoding in tokenizer.encode_batch(texts)]
        cut = TOKENS - 10
        made = [text[: at[cut - 1][1]] for text, at in zip(texts, marks) if len(at) > cut]
    else:
        texts = [t for name in ("nfcorpus", "squad11-dev") for t in local.corpus(name).values()]
        texts += list(local.corpus("cosqa-dev").values())
        made = [t for t, e in zip(texts, tokenizer.encode_batch(texts)) if 5 < len(e.ids) < 440]
    chance.shuffle(made)
    return made


def speed(workers: list[Worker], sizes: Sequence[int], turns: int, tokenizer: Any) -> None:
    """Print the table of times."""
    for kind in ("even", "mixed"):
        texts = passages(kind, tokenizer)
        asked = questions(SEED)
        for size in sizes:
            times: dict[str, list[float]] = {worker.name: [] for worker in workers}
            work: dict[str, list[float]] = {worker.name: [] for worker in workers}
            agree: dict[str, list[float]] = {worker.name: [] for worker in workers}
            lengths = []
            for turn in range(turns + 1):
                query = asked.pop()
                some = [texts.pop() for _ in range(size)]
                lengths += [len(e.ids) for e in tokenizer.encode_batch(some)]
                base: list[float] = []
                for worker in workers:
                    seconds, spent, scores = worker.score(query, some)
                    base = base or scores
                    if turn:
                        times[worker.name].append(seconds)
                        work[worker.name].append(spent)
                        agree[worker.name].append(rank_correlation(base, scores))
            tokens = f"{statistics.mean(lengths):.0f} tokens ({min(lengths)}-{max(lengths)})"
            print(f"\n{size} passages of {tokens}, {turns} turns")
            print(
                f"{'':22}{'median s':>9}{'least s':>9}{'speed-up':>9}{'cpu s':>8}{'rank corr.':>11}"
            )
            for worker in workers:
                ratio = statistics.median(
                    a / b for a, b in zip(times[BASE], times[worker.name], strict=True)
                )
                print(
                    f"{worker.name:22}{statistics.median(times[worker.name]):9.3f}"
                    f"{min(times[worker.name]):9.3f}{ratio:8.2f}x"
                    f"{statistics.median(work[worker.name]):8.3f}"
                    f"{statistics.mean(agree[worker.name]):11.4f}",
                    flush=True,
                )


def quality(workers: list[Worker], count: int, depth: int) -> None:
    """Print nDCG@10 of re-ranking BM25's best, by the original and by Stepwell."""
    import ir_measures
    from rank_bm25 import BM25Okapi

    for name, split in (("nfcorpus", "test"), ("cranfield", "graded")):
        texts, judged, asked = local.corpus(name), local.qrels(name, split), local.questions(name)
        ids = list(texts)
        index = BM25Okapi([text.lower().split() for text in texts.values()])
        picked = random.Random(SEED).sample(sorted(judged), min(count, len(judged)))
        runs: dict[str, dict[str, dict[str, float]]] = {"bm25": {}}
        for query in picked:
            known = index.get_scores(asked[query].lower().split())
            best = [ids[at] for at in np.argsort(-known)[:depth]]
            runs["bm25"][query] = {each: float(-at) for at, each in enumerate(best)}
            for worker in workers:
                _, _, scores = worker.score(asked[query], [texts[each] for each in best])
                runs.setdefault(worker.name, {})[query] = dict(zip(best, scores, strict=True))
        wanted = {query: judged[query] for query in picked}
        print(f"\n{name}: {len(picked)} queries, BM25's best {depth} re-ranked, nDCG@10")
        for run, scored in runs.items():
            value = ir_measures.calc_aggregate([ir_measures.nDCG @ 10], wanted, scored)
            print(f"{run:24}{next(iter(value.values())):8.4f}", flush=True)


def hits(model: Path) -> None:
    """Print what a pair that is kept costs."""
    from stepwell.models import load_scorer
    from stepwell.models.pair_cache import CachedScorer

    texts = list(local.corpus("nfcorpus").values())[:100]
    with tempfile.TemporaryDirectory() as folder:
        for label, path in (("in memory", None), ("in memory, file beside", Path(folder) / "p.db")):
            scorer = CachedScorer(load_scorer(str(model), backend="auto"), path=path)
            scorer.score("what is it?", texts)
            taken = []
            for _ in range(200):
                start = time.perf_counter()
                scorer.score("what is it?", texts)
                taken.append((time.perf_counter() - start) / len(texts) * 1e6)
            one = min(_one(scorer, texts[0]) for _ in range(200))
            print(
                f"a kept pair, {label}: median {statistics.median(taken):.2f} us among 100, "
                f"{one:.1f} us by itself"
            )
            scorer._kept.clear()
            if path is not None:
                start = time.perf_counter()
                scorer.score("what is it?", texts)
                print(f"from the file: {(time.perf_counter() - start) / len(texts) * 1e6:.2f} us")
            scorer.close()


def _one(scorer: Any, text: str) -> float:
    start = time.perf_counter()
    scorer.score("what is it?", [text])
    return (time.perf_counter() - start) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[20, 50, 100])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=list(CONTENDERS), choices=list(CONTENDERS))
    parser.add_argument("--quality", action="store_true")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--depth", type=int, default=50)
    options = parser.parse_args()
    from stepwell.models.texts import load_tokenizer

    model = options.model or local.build()
    print(machine())
    names = [BASE, *(name for name in options.only if name != BASE)]
    if options.quality:
        names = [BASE, "stepwell"]
    workers = []
    for name in names:
        workers.append(Worker(name, model))
        print(f"{name} ready in {workers[-1].ready:.1f} s", flush=True)
    if options.quality:
        quality(workers, options.queries, options.depth)
    else:
        speed(workers, options.sizes, options.turns, load_tokenizer(model / "tokenizer.json"))
    print("\npeak memory: " + ", ".join(f"{w.name} {w.megabytes:.0f} MB" for w in workers))
    for worker in workers:
        worker.close()
    if not options.quality:
        hits(model)


if __name__ == "__main__":
    main()
