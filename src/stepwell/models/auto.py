"""``backend="auto"``: whatever runs a cross-encoder fastest here and ranks as it does."""

from __future__ import annotations

import shutil
import sys
import warnings
from collections.abc import Sequence

from stepwell.errors import ConfigurationError, import_extra
from stepwell.models.calibrate import Pair
from stepwell.models.engines import open_engine
from stepwell.models.fast import FastScorer, Loaded
from stepwell.models.hub import EXTRA, local_only, short
from stepwell.models.pairs import Joiner
from stepwell.models.prepare import ORGANISATION, full_name, prepared
from stepwell.models.protocols import PairScorer
from stepwell.models.registry import Handle, ModelKey
from stepwell.models.store import MANIFEST, Entry
from stepwell.models.texts import load_tokenizer

SHORTEST = 16


def load_auto(
    name: str,
    /,
    *,
    device: str | None = None,
    revision: str | None = None,
    max_length: int | None = None,
    max_windows: int = 4,
    pairs: Sequence[Pair] | None = None,
) -> PairScorer:
    """Return the fastest scorer of a cross-encoder that ranks as the original does.

    On a GPU that is torch in half precision, loaded at once. On a CPU the model is converted to
    static int8 once, into the cache, and checked against the original; where the check fails, or
    OpenVINO is not there, the next best is taken with a warning, and `.backend` says which.

    Args:
        name: Path, or name on the hub.
        device: ``"cpu"``, ``"cuda"``, or None for a GPU where there is one.
        revision: Commit or tag.
        max_length: Tokens of one forward pass; None is the model's own limit.
        max_windows: Forward passes that one long passage may cost, 1 or more.
        pairs: Questions and passages to quantise on, 60 or more; None for Python's documentation.

    Raises:
        MissingExtraError: The model is not converted yet, and the extra for it is not installed.
        ConfigurationError: No such model, no cross-encoder, a damaged one, or a length above its.
    """
    if type(max_windows) is not int or max_windows < 1:
        raise ConfigurationError(f"max_windows must be 1 or more, not {max_windows!r}")
    device = device or ("cuda" if _has_gpu() else "cpu")
    if device == "cpu":
        entry = prepared(name, revision=revision, pairs=pairs)
        notes, handle = entry.facts["notes"], _converted(name, revision, entry)
    else:
        notes, handle = _on_device(name, device, revision)
    for note in notes:
        warnings.warn(f"{short(name)}: {note}", UserWarning, stacklevel=3)
    if handle is None:
        from stepwell.models.named import NamedScorer

        return NamedScorer(
            name, device=device, revision=revision, max_length=max_length, max_windows=max_windows
        )
    own = entry.facts["length"] if device == "cpu" else handle().length
    return FastScorer(
        handle,
        backend=handle.key.precision,
        length=_length(short(name), max_length, own),
        max_windows=max_windows,
    )


def _length(label: str, wanted: int | None, own: int) -> int:
    if wanted is None:
        return own
    if type(wanted) is not int or not SHORTEST <= wanted <= own:
        raise ConfigurationError(f"{label!r} reads {SHORTEST} to {own} tokens, not {wanted!r}")
    return wanted


def _has_gpu() -> bool:
    # Asking torch takes seconds where it is not loaded yet, and most machines have no GPU.
    if "torch" not in sys.modules and shutil.which("nvidia-smi") is None:
        return False
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def _converted(name: str, revision: str | None, entry: Entry) -> Handle[Loaded] | None:
    facts = entry.facts
    if facts["backend"] == "torch":
        return None
    key = ModelKey(
        short(name), revision=facts["revision"], precision=facts["backend"], task="pairs"
    )
    return Handle(key, _Converted(name, revision, entry))


class _Converted:
    """Opens a converted model; an object and no closure, so that its holder can be pickled."""

    def __init__(self, name: str, revision: str | None, entry: Entry) -> None:
        self._name, self._revision, self._entry = name, revision, entry

    def __call__(self) -> Loaded:
        entry = self._entry
        if not (entry.folder / MANIFEST).exists():
            # Unpickled on another machine, or the cache was cleared.
            entry = prepared(self._name, revision=self._revision)
            if entry.facts["backend"] != self._entry.facts["backend"]:
                message = f"{short(self._name)!r} was converted anew and otherwise; load it again"
                raise ConfigurationError(message)
        tokenizer = load_tokenizer(entry.folder / "tokenizer.json")
        engine = open_engine(entry.folder, entry.facts)
        return Loaded(engine, Joiner(tokenizer), entry.facts["length"])


def _on_device(
    name: str, device: str, revision: str | None
) -> tuple[list[str], Handle[Loaded] | None]:
    import_extra("torch", extra=EXTRA)
    from stepwell.models.source import NotConvertibleError

    key = ModelKey(
        short(name), revision=revision or "", device=device, precision="torch-fp16", task="pairs"
    )
    handle = Handle(key, _OnDevice(name, revision, device))
    try:
        handle()
    except NotConvertibleError as reason:
        return [f"{reason}, so sentence-transformers runs it"], None
    return [], handle


class _OnDevice:
    """Loads a model onto a GPU."""

    def __init__(self, name: str, revision: str | None, device: str) -> None:
        self._name, self._revision, self._device = name, revision, device

    def __call__(self) -> Loaded:
        from stepwell.models.source import joinable, load_source
        from stepwell.models.torch_engine import TorchEngine

        offline = local_only(self._name, organisation=ORGANISATION, revision=self._revision)
        source = load_source(full_name(self._name), revision=self._revision, offline=offline)
        joiner = joinable(source)
        engine = TorchEngine(source.model, device=self._device, pad=source.pad, limit=source.length)
        return Loaded(engine, joiner, source.length)
