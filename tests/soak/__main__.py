"""Mixed traffic for as long as is asked, with failures that are ordered, and every answer judged.

    python -m tests.soak --minutes 30 --seed 1

Threads, event loops, batches, LangChain, LlamaIndex and HTTP ask cascades of local and remote
models, with and without deadlines, while the remote is killed and restarted, answers wrongly, a
stage fails at random and models are closed in use. A request that has no answer, an answer that is
wrong or degraded without saying so, and what grows by more than 5% after the warm-up are faults;
the process then ends with 1. Below ten minutes all is warm-up: growth counts only above a half.
It needs the extra `test`.
"""

from __future__ import annotations

import argparse
import sys

from tests.soak.soak import soak
from tests.soak.watch import ALLOWED

ENOUGH = 10.0
"""Minutes from which on growth says something of leaks."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.05, help="seconds between two requests")
    args = parser.parse_args()
    allowed = ALLOWED if args.minutes >= ENOUGH else 0.5
    print(f"growth of memory, threads or files by more than {allowed:.0%} is a leak")
    report = soak(args.minutes * 60, seed=args.seed, pause=args.pause, say=print, allowed=allowed)
    sys.exit(1 if report.faults else 0)


if __name__ == "__main__":
    main()
