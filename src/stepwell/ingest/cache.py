"""Corpora that are kept between runs, because encoding a collection costs minutes."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import platformdirs

from stepwell.corpus import Corpus
from stepwell.errors import CorpusError
from stepwell.ingest.reading import Reading
from stepwell.ingest.sync import sync
from stepwell.models import Encoder

Progress = Callable[[int, int], None]


def cache_folder() -> Path:
    """Where kept corpora lie: `STEPWELL_CACHE`, or the user's cache folder of the platform."""
    chosen = os.environ.get("STEPWELL_CACHE")
    return Path(chosen) if chosen else platformdirs.user_cache_path("stepwell")


def cached_corpus(
    name: str,
    read: Callable[[], Reading],
    *,
    key: Sequence[str],
    encoder: Encoder | None,
    analyzer: str = "english",
    progress: Progress | None = None,
) -> Corpus:
    """Open a kept corpus for reading, after building it where there is none.

    Args:
        name: Begins the name of its folder.
        read: Reads the documents; called only when they are needed.
        key: What the documents depend on; another key is another corpus.
        encoder: None for a corpus without vectors.
        analyzer: See `Corpus.open`.
        progress: Called with the number of documents done and of documents there are.

    Raises:
        CorpusError: Another process is building the same corpus.
    """
    parts = (*key, analyzer, encoder.name if encoder else "none")
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:16]
    place = cache_folder() / f"{slug(name)}-{digest}.stepwell"
    finished = place.with_suffix(".complete")
    if finished.exists():
        try:
            return Corpus.open(place, encoder=encoder, read_only=True)
        except CorpusError:
            # Of an older version, or damaged: it derives from the source and is made again.
            finished.unlink()
            shutil.rmtree(place, ignore_errors=True)
    with Corpus.open(place, encoder=encoder, analyzer=analyzer) as corpus:
        fill(corpus, read(), progress=progress)
    finished.touch()
    return Corpus.open(place, encoder=encoder, read_only=True)


def slug(name: str) -> str:
    """The name with everything but letters, digits, `.`, `_` and `-` replaced by `-`."""
    return re.sub(r"[^\w.-]+", "-", name)


def fill(corpus: Corpus, reading: Reading, *, progress: Progress | None = None) -> None:
    """Bring a corpus in step with a reading, reporting done and total."""
    sync(corpus, reading, progress=progress and (lambda done: progress(done, reading.total)))
