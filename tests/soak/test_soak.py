from __future__ import annotations

import pytest

from tests.soak.soak import soak


@pytest.mark.skipif("not hasattr(__import__('os'), 'fork')", reason="open files are counted here")
def test_half_a_minute_of_everything(capsys: pytest.CaptureFixture[str]) -> None:
    """Under traffic, failures, kills and closed models no answer is lost, wrong or unmarked.

    Memory is judged by `python -m tests.soak --minutes 30`; here only that it does not run away.
    """
    with capsys.disabled():
        report = soak(25.0, seed=1, pause=0.05, say=lambda _: None, allowed=0.5)
    assert report.faults == []
    counts = report.counts
    for what in ("degraded: remote", "degraded: guarded", "degraded: flaky", "door: many"):
        assert counts[what], "\n".join(report.lines)
    assert counts["failed on purpose, told"]
    assert counts["failed on purpose, raised"]
    assert counts["cancelled"]
