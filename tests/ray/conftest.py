"""A real cluster of several nodes in this machine; one for all tests here."""

from __future__ import annotations

import builtins
import gc
import os
import sys
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import psutil
import pytest

STORE = 80 * 2**20
PRINT = builtins.print
HERE = Path(__file__).parent
# Ray's own: pydantic's deprecated arguments, sockets and pipes that it leaves to the collector.
IGNORED = (
    "ignore::pydantic.warnings.PydanticDeprecatedSince20",
    "ignore::DeprecationWarning:ray",
    "ignore::FutureWarning:ray",
    "ignore::UserWarning:ray",
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_SERVE_MAX_PER_REPLICA_RETRY_COUNT"] = "1"  # three starts of a model show no more

Node: TypeAlias = Any
STARTED: pytest.StashKey[Machines] = pytest.StashKey()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            for each in IGNORED:
                item.add_marker(pytest.mark.filterwarnings(each))


class Machines:
    """The cluster; `extra` is a machine more, for a test to kill."""

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self.address: str = cluster.address

    def add(self) -> Node:
        return self._cluster.add_node(num_cpus=1, object_store_memory=STORE)

    def kill(self, node: Node) -> None:
        """All at once, as a machine that loses power: workers else end what they are at."""
        for raylet in node.all_processes["raylet"]:
            for process in psutil.Process(raylet.process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self._cluster.remove_node(node, allow_graceful=False)

    def all_there(self) -> None:
        self._cluster.wait_for_nodes()

    def end(self) -> None:
        self._cluster.shutdown()

    @contextmanager
    def extra(self) -> Iterator[Node]:
        node = self.add()
        self.all_there()
        try:
            yield node
        finally:
            if node in self._cluster.list_all_nodes():
                self.kill(node)


@pytest.fixture(scope="module")
def machines(request: pytest.FixtureRequest) -> Machines:
    """Two nodes of one core each, to which this process is connected; kept from file to file."""
    stash = request.config.stash
    if STARTED not in stash:
        from ray.cluster_utils import Cluster

        from stepwell.ray.cluster import connect

        head = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}
        stash[STARTED] = Machines(Cluster(initialize_head=True, head_node_args=head))
        request.config.add_cleanup(lambda: end(request.config))
        stash[STARTED].add()
        stash[STARTED].all_there()
        connect(stash[STARTED].address)
    return stash[STARTED]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, Any, Any]:
    """End the cluster before a test of another folder, to which its warnings would be errors."""
    done = yield
    if nextitem is None or HERE not in nextitem.path.parents:
        end(item.config)
    return done


def end(config: pytest.Config) -> None:
    """End the cluster, if there is one, with all that it leaves to the collector."""
    if STARTED not in config.stash:
        return
    import ray

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if ray.is_initialized() and "ray.serve" in sys.modules:
            sys.modules["ray.serve"].shutdown()
        ray.shutdown()
        config.stash[STARTED].end()
        del config.stash[STARTED]
        gc.collect()
    assert builtins.print is PRINT, "Ray has put its own print in the place of Python's"


@pytest.fixture
def deployed(machines: Machines) -> Iterator[Callable[..., Any]]:
    """Deploys a scorer under a name of its own, and takes it down in the end."""
    from itertools import count

    from stepwell.ray import RayScorer

    made: list[RayScorer] = []
    names = count()

    def one(model: Any = None, **options: Any) -> RayScorer:
        options = {"app": f"app-{os.getpid()}-{next(names)}", "cpus": 0.1, **options}
        made.append(RayScorer(model, **options))
        return made[-1]

    yield one
    for each in made:
        each.close()
