"""A process that adds documents until the disk refuses, saying what was acknowledged.

Run as `python -m tests.corpus.filling PATH ENCODED LARGEST`: no file of it grows beyond LARGEST
bytes; 0 for no limit but the disk's.
"""

from __future__ import annotations

import json
import random
import resource
import sys

from stepwell import Corpus, CorpusError, Document
from tests.corpus.encoders import BagOfWords


def main(path: str, encoded: str, largest: str) -> None:
    if int(largest):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest), int(largest)))
    rng = random.Random(3)
    done = 0
    try:
        with Corpus.open(path, encoder=BagOfWords() if int(encoded) else None) as corpus:
            for turn in range(10_000):
                ids = [f"{turn}-{n}" for n in range(rng.randint(1, 60))]
                corpus.upsert(
                    Document(id, " ".join(str(rng.random()) for _ in range(20))) for id in ids
                )
                done += len(ids)
                print(json.dumps({"ids": ids}), flush=True)
    except CorpusError as error:
        print(json.dumps({"error": str(error)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
