"""What OpenTelemetry hears of a shadow."""

from __future__ import annotations

import stepwell as sw
from tests.telemetry.cascades import Recall
from tests.telemetry.conftest import Kept


def test_live_and_shadow_are_told_apart(sdk: Kept) -> None:
    """Each side's durations are under its own name, the shadow's span is no part of the live one,
    and one overlap is recorded for each that was compared."""
    other = sw.Cascade([Recall(), sw.TopK(2)])
    with sw.Shadow(other, name="candidate", limit=1) as shadow:
        live = sw.Cascade([Recall()], name="search", shadow=shadow)
        for query in ("logs", "keys", "doors"):
            live.search(query)
            assert shadow.wait(20)
    live.search("cats")
    durations = sdk.points("stepwell.cascade.duration")
    assert {each.attributes["stepwell.cascade.name"]: each.count for each in durations} == {
        "search": 4,
        "candidate": 3,
    }
    (overlap,) = sdk.points("stepwell.shadow.overlap")
    names = {"stepwell.cascade.name": "search", "stepwell.shadow.name": "candidate"}
    assert (dict(overlap.attributes), overlap.count) == (names, 3)
    outcomes = sdk.points("stepwell.shadow.queries")
    assert {each.attributes["stepwell.shadow.outcome"]: each.value for each in outcomes} == {
        "compared": 3,
        "dropped": 1,
    }
    spans = sdk.named("stepwell.cascade")
    assert [span.parent for span in spans] == [None] * 7
