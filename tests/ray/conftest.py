"""A real cluster of several nodes in this machine; one for all tests here."""

from __future__ import annotations

import gc
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import psutil
import pytest

STORE = 80 * 2**20
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

Node: TypeAlias = Any


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

    @contextmanager
    def extra(self) -> Iterator[Node]:
        node = self.add()
        self._cluster.wait_for_nodes()
        try:
            yield node
        finally:
            if node in self._cluster.list_all_nodes():
                self.kill(node)


@pytest.fixture(scope="session")
def machines() -> Iterator[Machines]:
    """Two nodes of one core each, to which this process is connected."""
    import ray
    from ray.cluster_utils import Cluster

    from stepwell.ray.cluster import connect

    head = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        made = Machines(cluster)
        made.add()
        cluster.wait_for_nodes()
        connect(cluster.address)
        yield made
    finally:
        # After the last test of this process, which may be one of another folder.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if ray.is_initialized() and "ray.serve" in sys.modules:
                sys.modules["ray.serve"].shutdown()
            ray.shutdown()
            cluster.shutdown()
            gc.collect()


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
