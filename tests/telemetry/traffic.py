"""Traffic that touches every instrument, on real cascades."""

from __future__ import annotations

import stepwell as sw
from stepwell.stages.guarded import Guarded
from stepwell.telemetry import configure
from tests.remote.server import QUERY, TEXTS, serving
from tests.telemetry.cascades import DOCUMENTS, Fail, Recall, Score

RISING = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


def run() -> None:
    """Whole answers and degraded ones, errors, retries, an opening breaker, a cache used twice."""
    configure(good={"score": 5.0})
    late = Score([2.0, 1.0, *[float("nan")] * 4], truncated=3, unscored=4)
    search = sw.Cascade([sw.Hybrid([Recall("one"), Recall("two")]), late], name="search")
    search.search("q", deadline=30)
    search.search("q", deadline=1e-9)
    deep = Score(RISING, read=2, left=4, audited=1, changed=1, alarm=1)
    sw.Cascade([Recall(), deep], name="search").search("q")
    whole = sw.Cascade([Recall(), Score(RISING)], name="search")
    whole.search_many(["q", "r"])
    sw.Cascade([Recall(documents=[])], name="search").search("nothing is found")
    guarded = Guarded(Fail("remote"), attempts=2, failures=1, rest=60)
    sw.Cascade([Recall(), guarded]).search("q")
    read = sw.CrossEncoder(lambda query, texts: [len(text) for text in texts], cache=True)
    for _ in range(2):
        sw.Cascade([read]).rank("q", DOCUMENTS)
    with serving("tei", 503) as server:
        from stepwell.remote import RemoteReranker

        stage = sw.CrossEncoder(RemoteReranker("tei", url=server.url))
        sw.Cascade([stage]).rank(QUERY, TEXTS)
    sw.Cascade([Fail()]).search_each(["q"])
    with sw.Shadow(sw.Cascade([Recall(), Score(RISING)])) as shadow:
        sw.Cascade([Recall()], name="search", shadow=shadow).search("q")
        shadow.wait(20)
