"""Where a model's name leads: a folder, the local cache, or the hub, asked once and briefly."""

from __future__ import annotations

import os
from pathlib import Path

from stepwell.errors import ConfigurationError, import_extra

EXTRA = "sentence-transformers"
TIMEOUT = 10.0
REMEDY = (
    "give the path of a folder that holds the model, or download it while the hub can be reached "
    "(and unset HF_HUB_OFFLINE), or leave the model out to use the embedded one"
)


def local_only(name: str, /, *, organisation: str, revision: str | None = None) -> bool:
    """Return whether `name` can be loaded with no network, having checked that it exists at all.

    Asked before the libraries load anything, because they retry for minutes and then name a file
    instead of the model.

    Args:
        name: A path, or a repository of the hub.
        organisation: Where the hub keeps names without one.
        revision: Commit or tag.

    Raises:
        MissingExtraError: The extra is not installed.
        ConfigurationError: No such model, or none that can be reached.
    """
    import_extra("sentence_transformers", extra=EXTRA)
    if Path(name).is_dir():
        return True
    if not name.strip() or Path(name).is_absolute() or name.startswith((".", "~")):
        raise ConfigurationError(f"no model at {name!r}: no such folder; {REMEDY}")
    names = [name] if "/" in name else [f"{organisation}/{name}", name]
    if any(_cached(each, revision) for each in names):
        return True
    reasons = [_ask(each, revision) for each in names]
    if None in reasons:
        return False
    raise ConfigurationError(f"no model {name!r}: not a folder, not cached, {reasons[0]}; {REMEDY}")


def _cached(name: str, revision: str | None) -> bool:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json", revision=revision)
        weights = [
            try_to_load_from_cache(name, file, revision=revision)
            for file in ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json")
        ]
    except HFValidationError:
        return False
    # A half-downloaded model has its configuration and no weights.
    return isinstance(found, str) and any(isinstance(file, str) for file in weights)


def commit_of(name: str, /, *, organisation: str, revision: str | None = None) -> str:
    """Return the commit of a model that the local cache of the hub holds, or ""."""
    if Path(name).is_dir():
        return ""
    try:
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError
    except ImportError:
        return ""
    for each in [name] if "/" in name else [f"{organisation}/{name}", name]:
        try:
            found = try_to_load_from_cache(each, "config.json", revision=revision)
        except HFValidationError:
            continue
        if isinstance(found, str):
            return Path(found).parent.name
    return ""


def _ask(name: str, revision: str | None) -> str | None:
    """Return None if the hub has the model, else why not."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        HfApi().model_info(name, revision=revision, timeout=TIMEOUT)
    except HFValidationError:
        return "and no name that the hub could have"
    except RevisionNotFoundError:
        return f"and the hub has no revision {revision!r} of it"
    except RepositoryNotFoundError:
        return "and the hub has none of that name"
    except OfflineModeIsEnabled:
        return "and the hub is switched off by HF_HUB_OFFLINE"
    except Exception as error:
        # The hub's client changes its network library between versions, and with it the errors.
        return f"and the hub cannot be reached ({type(error).__name__})"
    return None


def short(name: str, /) -> str:
    """Return a name for traces: the last part of a path, the whole of a repository."""
    return os.path.basename(os.path.normpath(name)) if Path(name).is_dir() else name
