"""The key that callers of a server must send, from a file or the environment."""

from __future__ import annotations

import os
from pathlib import Path

from stepwell.errors import ConfigurationError
from stepwell.remote.secret import Secret


def key_from(file: Path | None, variable: str) -> Secret | None:
    """The key in the file, or else in the environment variable; None where neither is.

    Raises:
        ConfigurationError: The file cannot be read, or what it holds is no key.
    """
    if file is None:
        told = os.environ.get(variable)
        return None if told is None else Secret(told, what=f"the key in {variable}")
    try:
        return Secret(file.read_text(encoding="utf-8"), what=f"the key in {file}")
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigurationError(f"--key-file {str(file)!r} cannot be read: {reason}") from error
