"""The cache folder: entries are built aside, moved into place whole, and checked when read."""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import platformdirs
from filelock import FileLock

from stepwell.errors import ConfigurationError

VARIABLE = "STEPWELL_CACHE"
MANIFEST = "manifest.json"

_temporary: dict[Path, Path] = {}


@dataclass(frozen=True, slots=True)
class Entry:
    """A whole entry of the cache: its folder, and the facts that its maker wrote down."""

    folder: Path
    facts: dict[str, Any]


def cache_root() -> Path:
    """Return the folder of the cache: in ``STEPWELL_CACHE``, or in the user's cache folder."""
    chosen = os.environ.get(VARIABLE)
    home = Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("stepwell")
    return home / "models"


def digest(path: Path, /) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(folder: Path, /) -> Entry | None:
    """Return the entry in `folder`, or None where there is none or it is not whole."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        whole = all(
            (folder / name).stat().st_size == size and digest(folder / name) == sum_
            for name, (size, sum_) in manifest["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Entry(folder, manifest["facts"]) if whole else None


def fetch(
    name: str,
    make: Callable[[Path], dict[str, Any]],
    /,
    *,
    fits: Callable[[dict[str, Any]], bool] = lambda facts: True,
) -> Entry:
    """Return the entry `name`, making it where it is absent, damaged or does not fit.

    One process makes it while others wait. Where the cache cannot be written, what is in it is
    still used; what is not goes to a temporary folder that lasts as long as the process.

    Args:
        name: A file name.
        make: Fills an empty folder and returns facts, which must be JSON.
        fits: Whether an entry of these facts is still the right one.

    Raises:
        ConfigurationError: The disk is full or fails.
    """
    root = cache_root()
    for place in (root, _temporary.get(root, root)):
        entry = read(place / name)
        if entry is not None and fits(entry.facts):
            return entry
    if not _writable(root):
        root = _substitute(root)
    try:
        with FileLock(root / f"{name}.lock"):
            entry = read(root / name)
            if entry is not None and fits(entry.facts):
                return entry
            return _build(root, name, make)
    except OSError as error:
        message = f"cannot fill the cache {root}: {error}; free space there or set {VARIABLE}"
        raise ConfigurationError(message) from error


def _build(root: Path, name: str, make: Callable[[Path], dict[str, Any]]) -> Entry:
    # The lock is held, so what lies here was left by a process that died.
    for left in root.glob(f".{name}.*"):
        shutil.rmtree(left, ignore_errors=True)
    part = root / f".{name}.{uuid4().hex[:8]}"
    part.mkdir()
    try:
        facts = make(part)
        files = {
            path.relative_to(part).as_posix(): (path.stat().st_size, digest(path))
            for path in sorted(part.rglob("*"))
            if path.is_file()
        }
        manifest = json.dumps({"facts": facts, "files": files}, indent=1)
        (part / MANIFEST).write_text(manifest, encoding="utf-8")
        if (root / name).exists():
            shutil.rmtree(root / name)
        part.rename(root / name)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Entry(root / name, facts)


def _writable(root: Path) -> bool:
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            return True
    except OSError:
        return False


def _substitute(root: Path) -> Path:
    if root not in _temporary:
        message = (
            f"the cache folder {root} cannot be written; what is made now is lost when the "
            f"process ends: set {VARIABLE} to a folder that can be"
        )
        warnings.warn(message, UserWarning, stacklevel=2)
        _temporary[root] = Path(tempfile.mkdtemp(prefix="stepwell-"))
        atexit.register(shutil.rmtree, _temporary[root], ignore_errors=True)
    return _temporary[root]
