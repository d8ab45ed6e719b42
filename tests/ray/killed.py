"""A run that is killed: python -m tests.ray.killed ADDRESS CORPUS LOG."""

from __future__ import annotations

import sys
from pathlib import Path

from stepwell.ray import RayEncoder
from tests.ray.models import Noted
from tests.ray.test_encoding import documents, loaded

if __name__ == "__main__":
    address, place, log = sys.argv[1:]
    encoder = RayEncoder(Noted(Path(log), 0.003), address=address, workers=1, batch=32)
    loaded(Path(place), encoder, documents(600), progress=lambda n: print("done", n, flush=True))
