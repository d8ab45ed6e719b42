from __future__ import annotations

import os

import pytest

from tests.soak.soak import soak
from tests.soak.traffic import ASYNC_DOORS, DOORS

MUST = (
    "degraded: remote",
    "degraded: guarded",
    "degraded: flaky",
    "failed on purpose, told",
    "failed on purpose, raised",
    "cancelled",
    "door: many",
    "door: http",
    "door: http rerank",
)


@pytest.mark.skipif(os.name != "posix", reason="open files cannot be counted")
def test_some_seconds_of_everything(capsys: pytest.CaptureFixture[str]) -> None:
    """Under traffic, failures, kills and closed models no answer is lost, wrong or unmarked.

    Memory is judged by `python -m tests.soak --minutes 30`; here only that it does not run away.
    """
    with capsys.disabled():
        report = soak(20.0, seed=1, pause=0.05, say=lambda _: None, allowed=0.5)
    assert report.faults == []
    counts = report.counts
    for what in (*MUST, *(f"door: {name}" for name in (*DOORS, *ASYNC_DOORS))):
        assert counts[what], "\n".join((what, *report.lines))
