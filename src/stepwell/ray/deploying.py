"""The application on Ray Serve: found where it runs, or deployed."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray import serve
from ray.exceptions import ActorAlreadyExistsError, RayError
from ray.serve.config import AutoscalingConfig
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ApplicationStatus

from stepwell.errors import ConfigurationError, RemoteError
from stepwell.models.loading import ScorerSpec
from stepwell.ray.cluster import failed
from stepwell.ray.replica import Replica

_SCALING = tuple(AutoscalingConfig.model_fields)
LOOK = 0.1
"""Seconds between two looks at what a deployment is doing."""
# What failed serves nobody: it is the remains of a program that ended before it took it down.
_GONE = (
    ApplicationStatus.NOT_STARTED,
    ApplicationStatus.DELETING,
    ApplicationStatus.DEPLOY_FAILED,
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to deploy where nothing runs; the fields are arguments of `RayScorer`."""

    model: ScorerSpec
    known_as: str
    backend: str
    replicas: int | Mapping[str, Any]
    cpus: float
    gpus: float
    pairs: int
    wait: float


def found_or_deployed(
    app: str, wanted: Wanted, *, patience: float
) -> tuple[Any, dict[str, Any], bool]:
    """A handle of the application of this name, its facts, and whether it was deployed now.

    Args:
        app: The name.
        wanted: What to deploy.
        patience: Seconds for its first replica to be ready.

    Raises:
        ConfigurationError: Another model, or something else, runs under this name; or Ray Serve
            does not know how many replicas are wanted.
        RemoteError: It does not become ready.
    """
    _check_scale(wanted.replicas)
    me = uuid.uuid4().hex
    try:
        _start()
        there = serve.status().applications.get(app)
        found = there is not None and there.status not in _GONE
        if not found:
            # Several at a time: what else runs on this Serve stays.
            serve.run_many([_target(app, wanted, me)], wait_for_applications_running=False)
    except (RayError, RayServeException, RuntimeError) as error:
        raise failed(error, f"deploying {app!r}") from error
    try:
        _await_ready(app, time.monotonic() + patience)
        handle = handle_of(app)
        facts = facts_of(handle, app, patience)
    except BaseException:
        if not found:
            serve.delete(app, _blocking=False)
        raise
    if facts["known_as"] != wanted.known_as:
        raise ConfigurationError(
            f"the application {app!r} on Ray Serve runs {facts['known_as']!r} and not "
            f"{wanted.known_as!r}; give this one a name of its own with app="
        )
    # Of several that deploy it at once the last one does: it is that one's, and found by the rest.
    return handle, facts, facts.pop("deployed_by", "") == me


def handle_of(app: str) -> Any:
    """What requests are sent through.

    Raises:
        RemoteError: No application of this name runs.
    """
    try:
        return serve.get_app_handle(app)
    except (RayError, RayServeException) as error:
        raise RemoteError(
            f"no application {app!r} runs on Ray Serve; deploy it with RayScorer(app={app!r})",
            api="ray",
        ) from error


def facts_of(handle: Any, app: str, patience: float) -> dict[str, Any]:
    """What a replica says of its model.

    Raises:
        ConfigurationError: The application is none of Stepwell's.
        RemoteError: It does not answer.
    """
    try:
        facts = handle.facts.remote().result(timeout_s=patience)
    except (RayError, RayServeException, TimeoutError) as error:
        if isinstance(getattr(error, "cause", error), AttributeError):
            facts = None
        else:
            raise failed(error, f"asking {app!r}") from error
    if not isinstance(facts, dict) or "known_as" not in facts:
        raise ConfigurationError(
            f"the application {app!r} on Ray Serve is no RayScorer; name another with app="
        )
    return facts


def delete(app: str) -> None:
    """Take the application down, if it is still there."""
    try:
        serve.delete(app)
    except (RayError, RayServeException, RuntimeError) as error:
        raise failed(error, f"deleting {app!r}") from error


def _start() -> None:
    for attempt in range(2):
        try:
            serve.start(proxy_location="Disabled")
            return
        except ActorAlreadyExistsError:  # another program was first
            if attempt:
                raise


def _check_scale(replicas: int | Mapping[str, Any]) -> None:
    """Ray Serve takes a setting that it does not know, and ignores it."""
    unknown = set() if isinstance(replicas, int) else set(replicas) - set(_SCALING)
    if unknown:
        raise ConfigurationError(
            f"replicas names {', '.join(map(repr, sorted(unknown)))}, which Ray Serve's "
            f"AutoscalingConfig does not have; it has {', '.join(sorted(_SCALING))}"
        )


def _target(app: str, wanted: Wanted, by: str) -> Any:
    fixed = isinstance(wanted.replicas, int)
    scaled: dict[str, Any] = {"num_replicas" if fixed else "autoscaling_config": wanted.replicas}
    made: Any = serve.deployment(
        Replica,
        name="Ranker",
        ray_actor_options={"num_cpus": wanted.cpus, "num_gpus": wanted.gpus},
        # As many as fill a batch, and one more that is ready when it is done.
        max_ongoing_requests=2 * wanted.pairs,
        health_check_period_s=2,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=5,
        graceful_shutdown_wait_loop_s=0.2,
        **scaled,
    )
    bound = made.bind(wanted.model, wanted.known_as, by, wanted.backend, wanted.pairs, wanted.wait)
    return serve.RunTarget(bound, name=app, route_prefix=None)


def _await_ready(app: str, until: float) -> None:
    while (there := serve.status().applications.get(app)) is None or (
        there.status is not ApplicationStatus.RUNNING
    ):
        if there is not None and there.status is ApplicationStatus.DEPLOY_FAILED:
            raise RemoteError(f"{app!r} cannot be deployed: {_reason(there.message)}", api="ray")
        if time.monotonic() >= until:
            raise RemoteError(
                f"{app!r} on Ray Serve is not ready in time: the cluster may lack the cores, GPUs "
                "or memory of a replica; see: serve status",
                api="ray",
            )
        time.sleep(LOOK)


def _reason(message: str) -> str:
    """The last line of a traceback: the error itself."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "its replicas fail to start"
