"""A rerank server in a process of its own, to be killed: `python -m tests.soak.reranker PORT SEED`.

It answers in Cohere's shape, and one request in ten wrongly: 429, 500, half an answer, too late.
"""

from __future__ import annotations

import random
import sys
import time
from typing import Any

from tests.remote.server import serving

WRONG = (429, 500, 503, b'{"results": [{"index": 0, "relev', 3.0, 400)


def main() -> None:
    port, seed = int(sys.argv[1]), sys.argv[2]
    chance = random.Random(seed)

    def fault_of(_: Any) -> Any:
        return chance.choice(WRONG) if chance.random() < 0.1 else None

    with serving("cohere", port=port) as served:
        served.fault_of, served.keep = fault_of, False
        print(served.url, flush=True)
        while True:
            time.sleep(60)


if __name__ == "__main__":
    main()
