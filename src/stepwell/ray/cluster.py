"""The cluster that this process works with: one that is there, or one made on this machine."""

from __future__ import annotations

import logging
import os
import socket
from types import ModuleType

from stepwell.errors import ConfigurationError, RemoteError, StepwellError, import_extra

EXTRA = "ray"
REACH = 5.0
"""Seconds to wait for an address to answer; Ray itself would try for a minute."""


def connect(address: str | None = None) -> ModuleType:
    """Ray, with this process connected; a process that is connected already stays so.

    The connection lasts until the process ends or `ray.shutdown()` is called: others may use it.

    Args:
        address: "host:port" of a cluster that this machine belongs to, "auto" for the one that
            runs on it, "local" to start one of this machine alone. None takes RAY_ADDRESS, else the
            one that runs here, else starts one.

    Raises:
        ConfigurationError: It is no such address.
        RemoteError: No cluster answers there, or this machine is no part of it.
        MissingExtraError: Ray is not installed.
    """
    ray = import_extra("ray", extra=EXTRA)
    if address is not None and not str(address).strip():
        raise ConfigurationError(f"address must be 'host:port', 'auto' or 'local', not {address!r}")
    if ray.is_initialized():
        return ray
    named = address or os.environ.get("RAY_ADDRESS")
    if named and named not in ("auto", "local"):
        _reach(named)
    # Ray reports how it is used to its makers unless it is told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # And replaces Python's `print` when it draws a bar.
    os.environ.setdefault("RAY_TQDM_PATCH_PRINT", "0")
    try:
        ray.init(
            address=address,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise unreachable(named or "this machine", type(error).__name__) from error
    return ray


def _reach(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in address:
        raise ConfigurationError(
            f"address must be 'host:port', 'auto' or 'local', not {address!r}; "
            "run this on a machine of the cluster rather than through a client's URL"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH).close()
    except (OSError, OverflowError) as error:
        raise unreachable(address, getattr(error, "strerror", None) or str(error)) from error


def unreachable(where: str, reason: str) -> RemoteError:
    """The error of a cluster that does not answer."""
    return RemoteError(
        f"no Ray cluster at {where} ({reason}); start one with: ray start --head, and join this "
        "machine to it with: ray start --address=HOST:PORT",
        api="ray",
    )


def failed(error: BaseException, doing: str) -> StepwellError:
    """What to raise for an error of Ray, or of a worker; no text that was worked on is in it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, StepwellError):
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    cause = getattr(error, "cause", None)
    inner = type(cause if isinstance(cause, BaseException) else error).__name__
    return RemoteError(
        f"{doing} on Ray failed ({inner}); the logs of its workers say why", api="ray"
    )
