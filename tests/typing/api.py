"""The public API as a type checker sees it: checked, never run."""

from __future__ import annotations

from typing import assert_type

import stepwell as sw


async def search() -> None:
    corpus = sw.Corpus.open("handbook.stepwell")
    assert_type(corpus.add([sw.Document(id="a1", text="...", metadata={"team": "sre"})]), int)
    assert_type(corpus.get("a1"), sw.Document | None)
    cascade = sw.Cascade(
        [sw.BM25(corpus, k=1000), sw.BiEncoder(corpus, k=50), sw.CrossEncoder(k=10)]
    )
    result = cascade.search("logs", k=5, filter={"team": "sre"}, deadline=0.2)
    assert_type(result, sw.Result)
    assert_type(result.hits[0], sw.Hit)
    assert_type(result.hits[0].score, float)
    assert_type(result.trace, sw.Trace)
    assert_type(result.degraded, bool)
    assert_type(str(result.trace.why("a7")), str)
    assert_type(cascade.rank("question", ["text"]), sw.Result)
    assert_type(await cascade.asearch("logs"), sw.Result)
    assert_type(cascade.search_many(["a", "b"]), list[sw.Result])
    assert_type(sw.Cascade.default(corpus, k=10), sw.Cascade)


@sw.stage
def halve(candidates: sw.Candidates) -> sw.Candidates:
    return candidates.top(max(len(candidates) // 2, 1))


def stages() -> None:
    hybrid: sw.Stage = sw.Hybrid([sw.BM25(["a", "b"], backend="rank-bm25")], weights=[1.0])
    sw.Cascade([hybrid, halve, sw.TopK(3)], on_failure={"halve": "skip"})


class Mine:
    name = "mine"

    def run(self, candidates: sw.Candidates, /) -> sw.Candidates:
        return candidates


stage: sw.Stage = Mine()
