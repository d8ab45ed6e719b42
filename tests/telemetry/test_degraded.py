"""A degraded answer says so: the result, its trace, the documents, a warning, a metric."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from stepwell import Cascade, Hybrid, Result
from stepwell.stages.guarded import Guarded
from tests.telemetry.cascades import SECRET, Fail, Recall, Score
from tests.telemetry.conftest import Kept

RISING = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
LATE = [2.0, 1.0, *[float("nan")] * 4]


def resting() -> Guarded:
    """A stage that has failed as often as it may."""
    guarded = Guarded(Fail("last"), failures=1, rest=86_400)
    guarded.breaker.heard(failed=True)  # type: ignore[union-attr]
    return guarded


WAYS: dict[str, tuple[list[Any], float | None, str]] = {
    "failed": ([Recall(), Fail("last")], None, "'last' failed (TimeoutError)"),
    "skipped": ([Recall(), Score(RISING, "last")], 1e-9, "'last' skipped (deadline)"),
    "cut short": (
        [Recall(), Score(LATE, "last", unscored=4)],
        30,
        "'last' partial (deadline: 4 not scored)",
    ),
    "an arm": ([Hybrid([Recall(), Fail("last")])], None, "'last' failed (TimeoutError)"),
    "replaced": (
        [Recall(), Guarded(Fail("last"), Score(RISING, "second"))],
        None,
        "'last' failed (TimeoutError)",
    ),
    "resting": ([Recall(), resting()], None, "'last' failed (StageError)"),
    "inside": (
        [Recall(), Cascade([Fail("last")], name="inner")],
        None,
        "'last' failed (TimeoutError)",
    ),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> tuple[list[Any], float | None, str]:
    stages, deadline, said = WAYS[request.param]
    return stages, deadline, said


def test_result_trace_warning_and_metric_say_so(
    way: tuple[list[Any], float | None, str], sdk: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    """However an answer was degraded; one warning that names the stage and not the text."""
    stages, deadline, said = way
    with caplog.at_level(logging.WARNING, "stepwell"):
        result: Result = Cascade(stages).search(SECRET, deadline=deadline)
    assert result.hits
    assert result.degraded
    assert result.trace.degraded
    assert result.trace.to_dict()["degraded"] is True
    warnings = [line for line in caplog.messages if line.startswith("a degraded answer")]
    assert warnings == [f"a degraded answer: stage {said}"]
    assert "basilisk" not in caplog.text
    assert sdk.total("stepwell.stage.degraded", stage_name="last") == 1
    assert sdk.total("stepwell.cascade.duration", cascade_degraded=True) == 1


def test_langchain_documents_say_so(way: tuple[list[Any], float | None, str]) -> None:
    """Each document's metadata, in each way."""
    pytest.importorskip("langchain_core", reason="the extra langchain is not installed")
    from stepwell.langchain import CascadeRetriever

    stages, deadline, _ = way
    found = CascadeRetriever(cascade=Cascade(stages), deadline=deadline).invoke("q")
    assert found
    assert all(each.metadata["stepwell"]["degraded"] is True for each in found)


def test_llama_index_nodes_say_so(way: tuple[list[Any], float | None, str]) -> None:
    """Each node's metadata, in each way."""
    pytest.importorskip("llama_index.core", reason="the extra llama-index is not installed")
    from stepwell.llama_index import CascadeRetriever

    stages, deadline, _ = way
    found = CascadeRetriever(cascade=Cascade(stages), deadline=deadline).retrieve("q")
    assert found
    assert all(each.node.metadata["stepwell"]["degraded"] is True for each in found)


def test_a_whole_answer_says_nothing(sdk: Kept, caplog: pytest.LogCaptureFixture) -> None:
    """No warning, no count."""
    with caplog.at_level(logging.WARNING, "stepwell"):
        result = Cascade([Recall(), Score(RISING)]).search("q", deadline=30)
    assert not result.degraded
    assert caplog.messages == []
    assert sdk.points("stepwell.stage.degraded") == []


def test_opening_a_breaker_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """The query that makes a stage rest says for how long; those after it do not repeat it."""
    cascade = Cascade([Recall(), Guarded(Fail("last"), failures=2, rest=60)])
    with caplog.at_level(logging.WARNING, "stepwell"):
        for _ in range(4):
            cascade.search("q")
    assert sum("is left alone for 60 s" in line for line in caplog.messages) == 1
