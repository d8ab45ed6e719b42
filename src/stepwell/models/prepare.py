"""From a model's name to a converted model in the cache, made there once with a progress bar."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stepwell.errors import ConfigurationError
from stepwell.models.calibrate import Pair
from stepwell.models.hub import commit_of, local_only, short
from stepwell.models.store import Entry, digest, fetch

FORMAT = 1
ORGANISATION = "cross-encoder"
WEIGHTS = ("*.safetensors", "*.bin", "*.json", "*.txt", "*.model")

BACKENDS = {
    "openvino": ["openvino-int8", "openvino-fp32"],
    "onnx": ["onnx-int8", "onnx-fp32"],
}
NO_OPENVINO = (
    "OpenVINO is not installed, so ONNX Runtime runs it, more slowly; "
    "run: pip install 'stepwell[openvino]'"
)

Told = Callable[[str, int, int], None]


def prepared(
    name: str, /, *, revision: str | None = None, pairs: Sequence[Pair] | None = None
) -> Entry:
    """Return the converted form of a cross-encoder, converting it where the cache has none.

    What is in the cache is used with no torch, no network and no original.

    Args:
        name: Path, or name on the hub.
        revision: Commit or tag.
        pairs: Questions and passages like those it will read; fewer than 60 are joined by pairs of
            Python's documentation. None takes what is in the cache, however it was made.

    Raises:
        MissingExtraError: It is not converted yet, and converting needs ``sentence-transformers``.
        ConfigurationError: No such model, no cross-encoder, or a damaged one.
    """
    runtime = "openvino" if find_spec("openvino") else "onnx"
    given = _hash(json.dumps([list(pair) for pair in pairs]))[:6] if pairs else ""
    commit = commit_of(name, organisation=ORGANISATION, revision=revision)
    folder = Path(name)
    identity = _fingerprint(folder) if folder.is_dir() else f"{name}@{revision or ''}"
    key = _hash(f"{FORMAT} {identity}")[:12]

    def fits(facts: dict[str, Any]) -> bool:
        moved = bool(commit) and facts["commit"] != commit
        return not moved and (not given or facts["pairs"] == given)

    def make(place: Path) -> dict[str, Any]:
        job = {
            "name": full_name(name),
            "revision": revision,
            "offline": local_only(name, organisation=ORGANISATION, revision=revision),
            "folder": str(place),
            "pairs": [list(pair) for pair in pairs] if pairs else None,
            "backends": BACKENDS[runtime],
        }
        with _progress(short(name)) as told:
            facts = _run(job, told)
        notes = [*([] if runtime == "openvino" else [NO_OPENVINO]), *facts["notes"]]
        version = "+".join(part for part in (facts["commit"] or key, given) if part)
        return {**facts, "notes": notes, "pairs": given, "revision": version}

    label = re.sub(r"[^\w.-]+", "-", short(name))[:60]
    return fetch(f"{label}-{key}-{runtime}", make, fits=fits)


def full_name(name: str, /) -> str:
    """Return a path as it is, and a name on the hub with its organisation."""
    return name if Path(name).is_dir() or "/" in name else f"{ORGANISATION}/{name}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _fingerprint(folder: Path) -> str:
    """Return a digest of what is in a model's folder, wherever that lies."""
    files = sorted({path for pattern in WEIGHTS for path in folder.glob(pattern)})
    stats = [(path, path.stat()) for path in files]
    return _hash(
        json.dumps([[p.name, _digest(p, stat.st_size, stat.st_mtime_ns)] for p, stat in stats])
    )


@lru_cache(maxsize=256)
def _digest(path: Path, size: int, changed: int) -> str:
    del size, changed
    return digest(path)


def _run(job: dict[str, Any], told: Told) -> dict[str, Any]:
    """Run one conversion in a process of its own and return its facts."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said,
        subprocess.Popen(
            [sys.executable, "-m", "stepwell.models.convert"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            encoding="utf-8",
            env=environment,
        ) as child,
    ):
        try:
            facts = _follow(child, job, told)
        except BaseException:
            child.kill()
            raise
        if facts is not None:
            return facts
        child.wait()
        said.seek(0)
        last = ([line.strip() for line in said if line.strip()] or ["it said nothing"])[-1]
    message = f"converting {job['name']!r} ended with code {child.returncode}: {last}"
    raise ConfigurationError(f"{message}; use backend='torch' instead")


def _follow(child: Any, job: dict[str, Any], told: Told) -> dict[str, Any] | None:
    try:
        child.stdin.write(json.dumps(job))
        child.stdin.close()
    except BrokenPipeError:
        return None
    for line in child.stdout:
        message = json.loads(line)
        if "error" in message:
            raise ConfigurationError(message["error"])
        if "facts" in message:
            facts: dict[str, Any] = message["facts"]
            return facts
        told(message["step"], message["done"], message["of"])
    return None


@contextmanager
def _progress(label: str) -> Iterator[Told]:
    """Show a bar on a terminal, and nothing elsewhere."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"Preparing {label}", total=None)

        def told(step: str, done: int, of: int) -> None:
            bar.update(
                task,
                description=f"Preparing {label}, once: {step}",
                completed=done,
                total=of if of > 1 else None,
            )

        yield told
