"""Where sources lie: known to the corpus' folder, and to no document that leaves it."""

from __future__ import annotations

import json
import os
from hashlib import blake2b
from pathlib import Path
from secrets import token_hex
from typing import Any

from stepwell.corpus.refusals import disk

FILE = "sources.json"


def token(place: Path) -> str:
    """The name of a folder and a short hash of its path: the same each time, and no path."""
    digest = blake2b(str(place).encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()
    return f"{place.name}-{digest}"


def places(corpus: Path) -> dict[str, str]:
    """The path that each source was last read from; empty where nothing is known."""
    try:
        known: Any = json.loads((corpus / FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def keep_place(corpus: Path, source: str, place: Path) -> None:
    """Remember where a source was read from; the file appears whole or not at all.

    Raises:
        CorpusError: The disk is full, or may not be written to.
    """
    known = places(corpus)
    if known.get(source) == str(place):
        return
    made = corpus / f"{FILE}.{token_hex(4)}"
    with disk(corpus):
        made.write_text(json.dumps({**known, source: str(place)}, indent=2), "utf-8")
        os.replace(made, corpus / FILE)
