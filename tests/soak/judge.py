"""Whether each answer is right, or marked and legal; and that each request had exactly one."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import stepwell as sw
from tests.soak.world import FILTERS, KS, World

TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: which cascade, the question, how many, which filter, and seconds allowed."""

    setup: str
    query: str
    k: int
    filter: int
    deadline: float | None

    @property
    def options(self) -> dict[str, Any]:
        return {"k": self.k, "filter": FILTERS[self.filter], "deadline": self.deadline}


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer as it came through some door.

    Attributes:
        ids: In order.
        scores: In order.
        degraded: Whether it says that it is; one value a document where documents say so.
        failed: Stages that failed on purpose, by its trace.
        told: Whether a degraded answer says which stage and why; None where the door cannot.
    """

    ids: Sequence[str]
    scores: Sequence[float]
    degraded: Sequence[bool]
    failed: int = 0
    told: bool | None = None


class Judge:
    """Collects verdicts; safe among threads.

    Attributes:
        counts: By what happened.
        faults: Sentences, the first of each kind of many.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self._lock = threading.Lock()
        self._right = {
            (name, query, at): setup.twin.search(query, k=max(KS), filter=wanted)
            for name, setup in world.setups.items()
            for query in world.questions(name)
            for at, wanted in enumerate(FILTERS)
        }
        scorer = sw.CrossEncoder(cache=False).scorer
        self._order = {
            query: np.argsort(-scorer.score(query, self.brought).values, kind="stable").tolist()
            for query in world.questions("served")
        }
        assert all(len(each) for each in self._right.values()), "a question without an answer"
        assert not any(each.degraded for each in self._right.values())

    def count(self, *what: str) -> None:
        with self._lock:
            self.counts.update(what)

    def fault(self, kind: str, text: str) -> None:
        with self._lock:
            self.counts[f"fault: {kind}"] += 1
            if self.counts[f"fault: {kind}"] <= 5:
                self.faults.append(f"{kind}: {text}")

    def answered(self, door: str, ask: Ask, seen: Seen) -> None:
        """Judge an answer."""
        self.count("answered", f"door: {door}", *["failed on purpose, told"] * seen.failed)
        where = f"{door} {ask}"
        if len(set(seen.degraded)) > 1:
            self.fault("mark", f"documents of one answer differ in it: {where}")
        if any(seen.degraded):
            self.count("degraded", f"degraded: {ask.setup}")
            if seen.told is False:
                self.fault("trace", f"degraded, and no stage says why: {where}")
            return self._legal(where, ask, seen)
        if seen.failed:
            self.fault("mark", f"a stage failed and the answer looks whole: {where}")
        right = self._right[ask.setup, ask.query, ask.filter]
        if list(seen.ids) != right.ids[: ask.k]:
            return self.fault("wrong", f"{seen.ids} is not {right.ids[: ask.k]}: {where}")
        for made, hit in zip(seen.scores, right.hits):
            if abs(made - hit.score) > TOLERANCE:
                return self.fault("wrong", f"{hit.id} has {made}, not {hit.score}: {where}")
        return None

    @property
    def brought(self) -> list[str]:
        """Texts to be ranked by `stepwell serve`."""
        return [document.text for document in self.world.documents[:6]]

    def reranked(self, query: str, answer: dict[str, Any]) -> None:
        """Judge an answer of the rerank API, in Cohere's shape."""
        self.count("answered", "door: http rerank")
        order = [each["index"] for each in answer["results"]]
        scores = [each["relevance_score"] for each in answer["results"]]
        if order != self._order[query] or scores != sorted(scores, reverse=True):
            self.fault("wrong", f"{order} is not {self._order[query]}: http rerank {query!r}")

    def raised(self, door: str, ask: Ask, error: BaseException) -> None:
        """Judge an error: only a stage that must raise may, and only what was ordered."""
        self.count("raised", f"door: {door}")
        setup = self.world.setups[ask.setup]
        if setup.strict and isinstance(error, sw.StageError) and "InjectedError" in str(error):
            return self.count("failed on purpose, raised")
        if isinstance(error, sw.OverloadedError):
            return self.count("overloaded")
        return self.fault("error", f"{type(error).__name__}: {error}: {door} {ask}")

    def _legal(self, where: str, ask: Ask, seen: Seen) -> None:
        """A degraded answer has documents of the corpus, once, allowed, enough, in order."""
        right = self._right[ask.setup, ask.query, ask.filter]
        documents = [self.world.by_id.get(id) for id in seen.ids]
        wanted = sw.Filter.parse(FILTERS[ask.filter])
        if None in documents or len(set(seen.ids)) != len(seen.ids):
            self.fault("illegal", f"invented or doubled ids {seen.ids}: {where}")
        elif wanted and not all(each and wanted.matches(each.metadata) for each in documents):
            self.fault("illegal", f"not what the filter allows: {where}")
        elif len(seen.ids) != len(right.ids[: ask.k]):
            self.fault("illegal", f"{len(seen.ids)} of {len(right.ids[: ask.k])}: {where}")
        elif any(a < b for a, b in zip(seen.scores, seen.scores[1:])):
            self.fault("illegal", f"scores increase, {list(seen.scores)}: {where}")


def seen_of(result: sw.Result) -> Seen:
    """An answer of the library itself."""
    return Seen(
        result.ids,
        [hit.score for hit in result.hits],
        [result.degraded],
        _failed(result.trace.to_dict()),
        _told(result.trace.to_dict()),
    )


def seen_of_parts(ids: list[str], scores: list[float], details: list[dict[str, Any]]) -> Seen:
    """An answer of a framework, whose documents carry the mark and the trace."""
    trace = details[0]["trace"] if details else {"stages": []}
    marks = [bool(each["degraded"]) for each in details]
    return Seen(ids, scores, marks, _failed(trace), _told(trace))


def seen_of_json(answer: dict[str, Any]) -> Seen:
    """An answer of `stepwell serve`."""
    found = answer["documents"]
    ids, scores = [each["id"] for each in found], [each["score"] for each in found]
    return Seen(ids, scores, [answer["degraded"]], 0, _told(answer["trace"]))


def _failed(trace: dict[str, Any]) -> int:
    return sum(each.get("reason") == "InjectedError" for each in trace["stages"])


def _told(trace: dict[str, Any]) -> bool:
    def reasons(stages: list[dict[str, Any]]) -> list[bool]:
        own = [each["status"] in ("partial", "skipped", "failed") for each in stages]
        given = [bool(each.get("reason")) for each in stages]
        inner = [said for each in stages for said in reasons(each.get("children", []))]
        return [why for bad, why in zip(own, given) if bad] + inner

    said = reasons(trace["stages"])
    return bool(said) and all(said)
