"""Pairs scored by replicas on Ray Serve, with a node that dies and deadlines that end."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepwell import Cascade, ConfigurationError, CrossEncoder, Document, RemoteError
from stepwell.models import load_scorer
from stepwell.ray import RayScorer
from stepwell.ray import scorer as scoring
from stepwell.stopping import Stop
from tests.ray.models import Lengths, awaited_until, noted

PASSAGES = [
    f"Machine {n} rotates its logs at noon. {'Ask the team. ' * (n % 5)}" for n in range(24)
]
DOCUMENTS = [Document(f"d{n}", text) for n, text in enumerate(PASSAGES)]


@pytest.fixture(scope="module")
def lengths(machines, tmp_path_factory):
    """Finds one application that serves many tests, with settings of the caller's own."""
    log = tmp_path_factory.mktemp("lengths") / "log"
    found: list[RayScorer] = []
    with RayScorer(Lengths(log), app="lengths", cpus=0.1, joined=96, wait=0.05):

        def one(**options: Any) -> tuple[RayScorer, Path]:
            found.append(RayScorer(Lengths(log), app="lengths", **options))
            return found[-1], log

        yield one
        for each in found:
            each.close()


@pytest.fixture(scope="module")
def embedded(machines):
    """The embedded model on a replica."""
    with RayScorer(app="embedded", cpus=0.1, batch=7) as scorer:
        yield scorer


def test_a_killed_node_leaves_no_query_unanswered(machines, deployed, tmp_path: Path) -> None:
    """Queries under way when a replica's machine dies are answered by another, whole."""
    with machines.extra() as node:
        # All cores there are, so that the machine has a replica: no other application may run yet.
        far = deployed(Lengths(tmp_path / "log"), replicas=3, cpus=1.0, batch=4)
        cascade = Cascade(
            [CrossEncoder(far, k=None, blend=1.0)], on_failure={"cross-encoder": "raise"}
        )
        awaited_until(lambda: running(far) == 3)

        def ask(n: int):
            return cascade.rank(f"q{n}@0.01", DOCUMENTS, deadline=40)

        with ThreadPoolExecutor(6) as threads:
            asked = [threads.submit(ask, n) for n in range(30)]
            awaited_until(lambda: len(noted(tmp_path / "log")) > 20)
            machines.kill(node)
            found = [each.result() for each in asked]
    assert not any(each.degraded for each in found)
    for each in found:
        assert {hit.id: hit.score for hit in each.hits} == {
            document.id: float(len(document.text)) for document in DOCUMENTS
        }


def test_copies_hold_no_weights(embedded) -> None:
    """A pickle is a name and a few facts, and this process has loaded no model for it."""
    from stepwell.models.registry import shared

    before = shared.loaded()
    embedded.score("q", PASSAGES)
    assert len(pickle.dumps(embedded)) < 1_000
    assert shared.loaded() == before


def test_scores_are_those_of_the_local_model(embedded) -> None:
    """Values, cuts and windows are equal; so are the answers of a cascade, awaited or not."""
    far, own = embedded, load_scorer()
    long = [*PASSAGES, "rotate the logs " * 400]
    made, expected = far.score("who rotates logs?", long), own.score("who rotates logs?", long)
    assert np.array_equal(made.values, expected.values)
    assert np.array_equal(made.cut, expected.cut)
    assert np.array_equal(made.passes, expected.passes)
    assert (made.windows, made.truncated) == (expected.windows, expected.truncated)
    assert (far.name, far.kind, far.logistic) == (own.name, own.kind, own.logistic)
    cascade, local = Cascade([CrossEncoder(far, k=5)]), Cascade([CrossEncoder(k=5, cache=False)])
    answer = local.rank("machine 7", DOCUMENTS)
    for found in (
        cascade.rank("machine 7", DOCUMENTS, deadline=20),
        asyncio.run(cascade.arank("machine 7", DOCUMENTS)),
    ):
        assert (found.ids, found.degraded) == (answer.ids, False)
        assert [hit.scores for hit in found.hits] == [hit.scores for hit in answer.hits]


def test_a_deadline_keeps_what_was_scored(lengths) -> None:
    """A slow model's first passages are scored, the rest is left, and the replica stops too."""
    far, log = lengths(batch=96)
    many = [Document(f"d{n}", "a" * n) for n in range(1, 97)]
    found = Cascade([CrossEncoder(far, k=None)]).rank("late@0.05", many, deadline=2)
    assert found.degraded
    assert 0 < found.trace.records[0].notes["unscored"] < len(many)
    read = len(noted(log, "late"))
    time.sleep(0.6)
    assert len(noted(log, "late")) <= read + 1
    assert read < len(many) / Lengths.step


def test_a_deadline_that_nothing_meets_is_a_failure(lengths) -> None:
    """Replicas that answer nothing in the time there is have failed; the stage is skipped."""
    far, _ = lengths(batch=4)
    found = Cascade([CrossEncoder(far, k=3)]).rank("never@0.2", DOCUMENTS, deadline=0.2)
    assert found.degraded
    assert len(found.hits) == 3
    assert isinstance(found.trace.records[0].error, RemoteError)


def test_a_cancelled_call_ends_on_its_replica(lengths) -> None:
    """Who gives up awaiting frees the replica: what is not begun is never read."""
    far, log = lengths(batch=4, concurrency=1)

    async def give_up() -> None:
        task = asyncio.create_task(far.ascore("given up@0.05", PASSAGES * 4))
        await asyncio.to_thread(awaited_until, lambda: bool(noted(log, "given up")))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(give_up())
    time.sleep(1.0)
    assert len(noted(log, "given up")) <= 4


def test_a_call_that_is_closed_meanwhile_is_an_error(lengths) -> None:
    """Closed while it scores, it ends with a RemoteError, awaited or not, and nothing hangs."""
    far, log = lengths(batch=4)
    with ThreadPoolExecutor(1) as thread:
        begun = thread.submit(far.score, "closed@0.05", PASSAGES * 4)
        awaited_until(lambda: bool(noted(log, "closed")))
        far.close()
        with pytest.raises(RemoteError, match="was closed"):
            begun.result(10)

    far, _ = lengths(batch=4)

    async def close_meanwhile() -> None:
        task = asyncio.create_task(far.ascore("shut@0.05", PASSAGES * 4))
        await asyncio.to_thread(awaited_until, lambda: bool(noted(log, "shut")))
        far.close()
        with pytest.raises(RemoteError, match="was closed"):
            await task
        assert not task.cancelled()

    asyncio.run(close_meanwhile())


def test_once_closed_it_scores_no_more(lengths) -> None:
    """A closed scorer is an error at each call, and connects to nothing by itself."""
    far, _ = lengths()
    far.close()
    with pytest.raises(RemoteError, match="was closed"):
        far.score("q", ["a"])
    with pytest.raises(RemoteError, match="was closed"):
        asyncio.run(far.ascore("q", ["a"]))
    found = Cascade([CrossEncoder(far)]).rank("q", DOCUMENTS)
    assert found.degraded


def test_a_copy_connects_within_the_deadline(lengths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where connecting takes long, its first query ends in time, and a later one is answered."""
    far, there = lengths()[0], threading.Event()
    monkeypatch.setattr(scoring, "connect", lambda _: there.wait(20))
    with pickle.loads(pickle.dumps(far)) as copied:
        with pytest.raises(RemoteError, match="not reached in time"):
            copied.score("q", ["a"], stop=Stop(time.monotonic() + 0.2))
        assert not there.is_set()
        there.set()
        assert copied.score("q", ["abc"]).values.tolist() == [3.0]


def test_callers_share_a_replicas_batches(lengths) -> None:
    """Pairs of several queries are read together, and each gets its own scores."""
    far, log = lengths(batch=2)
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda n: far.score(f"shared{n}", ["a" * n, "b"]), range(1, 9)))
    assert [each.values.tolist() for each in made] == [[float(n), 1.0] for n in range(1, 9)]
    assert any(len(set(line.split(","))) > 1 for line in noted(log, "shared"))


def test_a_failing_model_is_a_typed_error_without_texts(lengths) -> None:
    """Its own query fails, others of the batch do not, and no passage is quoted."""
    far, _ = lengths(batch=2)
    with ThreadPoolExecutor(2) as threads:
        bad = threads.submit(far.score, "bad", ["poison"])
        good = threads.submit(far.score, "good", ["fine"])
        assert good.result().values.tolist() == [4.0]
        with pytest.raises(RemoteError, match="ValueError") as raised:
            bad.result()
    assert "poison" not in str(raised.value)
    found = Cascade([CrossEncoder(far)]).rank("q", ["poison", "fine"])
    assert found.degraded
    assert "poison" not in found.trace.records[0].reason


def test_serve_adds_replicas_under_load(machines, deployed, tmp_path: Path) -> None:
    """Given a range, Ray Serve's autoscaling starts another replica when requests queue up."""
    scale = {"min_replicas": 1, "max_replicas": 2, "target_ongoing_requests": 1}
    delays = {"upscale_delay_s": 0.2, "metrics_interval_s": 0.2, "look_back_period_s": 0.5}
    far = deployed(Lengths(tmp_path / "log"), replicas={**scale, **delays}, batch=4)
    assert running(far) == 1
    with ThreadPoolExecutor(8) as threads:
        over = time.monotonic() + 30
        while running(far) < 2 and time.monotonic() < over:
            list(threads.map(lambda n: far.score(f"q{n}@0.005", PASSAGES), range(8)))
    assert running(far) == 2


def test_who_finds_an_application_leaves_it(machines, deployed) -> None:
    """`close` takes down what this scorer deployed, and nothing that it found."""
    first = deployed(Lengths(Path("/dev/null")))
    with RayScorer(Lengths(Path("/dev/null")), app=first.app) as second:
        assert second.score("q", ["abc"]).values.tolist() == [3.0]
    copied = pickle.loads(pickle.dumps(first))
    assert copied.score("q", ["ab"]).values.tolist() == [2.0]
    copied.close()
    assert copy.deepcopy(first) is first
    assert first.score("q", ["a"]).values.tolist() == [1.0]
    with pytest.raises(ConfigurationError, match="app="):
        RayScorer(app=first.app)
    first.close()
    with (
        pickle.loads(pickle.dumps(first)) as copied,
        pytest.raises(RemoteError, match="no application"),
    ):
        copied.score("q", ["a"])


def test_a_scale_that_serve_would_ignore_is_refused(machines, deployed) -> None:
    """A setting of no AutoscalingConfig, which Serve takes without a word, is named."""
    with pytest.raises(ConfigurationError, match="'min_replica', which"):
        deployed(Lengths(Path("/dev/null")), app="typo", replicas={"min_replica": 1})


def test_a_model_that_no_replica_can_load_is_an_error(machines, deployed) -> None:
    """A deployment that fails says why, is taken down, and never bars its name to others."""
    from ray import serve

    taken_down = []
    with pytest.MonkeyPatch.context() as killed:  # before it could take it down
        killed.setattr(serve, "delete", lambda name, **_: taken_down.append(name))
        with pytest.raises((ConfigurationError, RemoteError), match="cannot be deployed"):
            deployed(Broken(), app="broken")
    assert taken_down == ["broken"]
    assert serve.status().applications["broken"].status == "DEPLOY_FAILED"
    far = deployed(Lengths(Path("/dev/null")), app="broken")
    assert far.score("q", ["abc"]).values.tolist() == [3.0]


def test_of_two_that_deploy_at_once_one_has_it(
    machines, deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looked before the other deployed finds it, and closing leaves it to the other."""
    from ray import serve

    deploy, owner = serve.run_many, []

    def after_a_look(*given: Any, **options: Any) -> None:
        def after_the_other(*later: Any, **wanted: Any) -> None:
            deploy(*given, **options)
            deploy(*later, **wanted)

        monkeypatch.setattr(serve, "run_many", after_the_other)
        owner.append(deployed(Lengths(Path("/dev/null")), app="both"))

    monkeypatch.setattr(serve, "run_many", after_a_look)
    finder = deployed(Lengths(Path("/dev/null")), app="both")
    finder.close()
    assert owner[0].score("q", ["abc"]).values.tolist() == [3.0]
    owner[0].close()
    assert "both" not in serve.status().applications


def test_nothing_to_score_and_a_time_that_is_over(lengths) -> None:
    """No passages give no scores, and after the deadline nothing is asked."""
    far, _ = lengths()
    assert far.score("q", []).values.shape == (0,)
    made = far.score("q", ["a"], stop=Stop(time.monotonic() - 1))
    assert np.isnan(made.values).all()


@pytest.mark.parametrize(
    "options", [{"replicas": 0}, {"replicas": (3, 1)}, {"batch": 0}, {"timeout": 0}]
)
def test_wrong_settings_are_refused(options) -> None:
    """A setting that is none is named before anything is deployed."""
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        RayScorer(**options)


class Broken:
    name, kind = "broken", "logit"

    def score(self, query, passages, /, *, stop=None):
        raise OSError("the weights are gone")


def running(scorer: RayScorer) -> int:
    from ray import serve

    deployment = serve.status().applications[scorer.app].deployments["Ranker"]
    return deployment.replica_states.get("RUNNING", 0)
