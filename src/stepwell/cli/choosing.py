"""Which cascade a command runs: a preset by name, or a cascade file."""

from __future__ import annotations

from pathlib import Path

from stepwell.cascade import Cascade
from stepwell.corpus.searchable import Searchable
from stepwell.errors import InputError
from stepwell.stages.presets import DEFAULT, preset


def chosen_cascade(
    corpus: Searchable, *, preset_name: str | None, file: Path | None, k: int
) -> Cascade:
    """The cascade of a preset or a file; by default three-stage, or bm25 without vectors.

    Args:
        corpus: What it searches.
        preset_name: One of `PRESETS`.
        file: As `Cascade.load` reads it.
        k: What a preset's last stage keeps; a file says that itself.

    Raises:
        InputError: Both are given.
        ConfigurationError: There is no such preset, or the file is faulty.
    """
    if file is None:
        name = preset_name or (DEFAULT if corpus.encoder else "bm25")
        return Cascade(preset(name, corpus, k))
    if preset_name is not None:
        raise InputError("--preset and --cascade exclude each other")
    return Cascade.load(file, corpus)
