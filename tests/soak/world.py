"""What is searched in a soak: documents and questions drawn from a seed, and cascades over them.

Each cascade that can fail has a twin that cannot: the same stages with the same model in this
process. What the twin answers is the one right answer.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import stepwell as sw
from stepwell.candidates import Candidates
from stepwell.remote import RemoteReranker
from stepwell.testing import WordScorer
from tests.remote.server import overlap

TEAMS = ("sre", "web", "data", "sales")
FILTERS: tuple[dict[str, Any] | None, ...] = (
    None,
    {"team": "sre"},
    {"team": {"$in": ["web", "data"]}},
)
KS = (3, 10)
DEPTH = 30


def made_documents(chance: random.Random, n: int = 400) -> list[sw.Document]:
    """Documents of 15 to 60 words, the early words of a vocabulary of 300 the frequent ones."""
    words = [f"{a}{b}" for a in _starts(chance) for b in ("", "s", "ing")][:300]
    weights = [1 / (at + 3) for at in range(len(words))]
    return [
        sw.Document(
            f"d{at:03d}",
            " ".join(chance.choices(words, weights, k=chance.randint(15, 60))),
            {"team": TEAMS[at % len(TEAMS)]},
        )
        for at in range(n)
    ]


def _starts(chance: random.Random) -> Iterator[str]:
    for _ in range(100):
        yield "".join(chance.choices("bcdfghklmnprstvw", k=1)) + "".join(
            chance.choices(("a", "e", "i", "o", "u"), k=1) + chance.choices("bdgklmnprst", k=2)
        )


def made_queries(chance: random.Random, documents: list[sw.Document], n: int = 30) -> list[str]:
    """Some words of some document."""
    drawn = [chance.choice(documents).text.split() for _ in range(n)]
    return [" ".join(chance.sample(words, k=chance.randint(3, 6))) for words in drawn]


class InjectedError(Exception):
    """A failure that was ordered."""


class Flaky:
    """Fails, or dawdles, now and then; counts what it raised."""

    def __init__(self, seed: str, name: str = "flaky", *, fails: float = 0.1) -> None:
        self.name, self.fails, self.raised = name, fails, 0
        self._chance, self._lock = random.Random(seed), threading.Lock()

    def run(self, candidates: Candidates, /) -> Candidates:
        with self._lock:
            drawn = self._chance.random()
            if drawn < self.fails:
                self.raised += 1
        if drawn < self.fails:
            raise InjectedError("ordered")
        if drawn < 1.5 * self.fails:
            time.sleep(0.02)
        return candidates


@dataclass(frozen=True, slots=True)
class Setup:
    """A cascade under test.

    Attributes:
        cascade: What is asked.
        twin: What cannot fail.
        flaky: The stage in it that raises on purpose, if there is one.
        strict: Whether its failures are raised.
        asked: How many of the questions it is asked; a slow one few, or its twin takes minutes.
    """

    cascade: sw.Cascade
    twin: sw.Cascade
    flaky: Flaky | None = None
    strict: bool = False
    asked: int = 30


@dataclass(slots=True)
class World:
    """All that is asked, and what may be closed while it is."""

    documents: list[sw.Document]
    queries: list[str]
    corpus: sw.Corpus
    setups: dict[str, Setup]
    closable: list[Any]
    by_id: dict[str, sw.Document] = field(init=False)

    def __post_init__(self) -> None:
        self.by_id = {document.id: document for document in self.documents}

    def questions(self, setup: str) -> list[str]:
        """What a cascade is asked."""
        return self.queries[: self.setups[setup].asked]


def made_corpus(seed: int, path: Path) -> tuple[list[sw.Document], list[str]]:
    """Write the corpus; return its documents and the questions."""
    chance = random.Random(seed)
    documents = made_documents(chance)
    queries = made_queries(chance, documents)
    with sw.Corpus.open(path) as corpus:
        corpus.add(documents)
    return documents, queries


def made_world(
    seed: int, corpus: sw.Corpus, documents: list[sw.Document], queries: list[str], url: str
) -> World:
    """Cascades: local models, a remote, a guarded remote, a flaky stage that is skipped or raised.

    Args:
        seed: Of the flaky stages.
        corpus: Of the documents.
        documents: As they are in it.
        queries: To ask.
        url: Of a rerank server that scores by `overlap`.
    """
    plain, guarded = (
        RemoteReranker("cohere", url=url, key="none", timeout=2.0, attempts=2, batch=size)
        for size in (8, DEPTH)
    )
    local = sw.CrossEncoder(k=10, depth=8, cache=False)
    flaky, strict = Flaky(f"{seed} skip"), Flaky(f"{seed} raise")

    def recalled(*stages: Any, **options: Any) -> sw.Cascade:
        return sw.Cascade([sw.BM25(corpus, k=DEPTH), *stages], **options)

    def by_overlap(name: str) -> sw.CrossEncoder:
        return sw.CrossEncoder(_overlaps, k=10, name=name)

    def hybrid(last: sw.CrossEncoder) -> sw.Cascade:
        return sw.Cascade([sw.Hybrid(corpus, 60), sw.BiEncoder(corpus, 20), last])

    words = sw.CrossEncoder(WordScorer(), k=10, name="words")
    fallback = sw.CrossEncoder(WordScorer(), k=10, name="fallback")
    remote = sw.CrossEncoder(guarded, k=10, name="remote")
    watched = sw.Guarded(remote, fallback, attempts=2, failures=5, rest=0.5)
    setups = {
        "local": Setup(hybrid(local), hybrid(sw.CrossEncoder(k=10, depth=8, cache=False)), asked=8),
        "remote": Setup(
            recalled(sw.CrossEncoder(plain, k=10, name="remote")), recalled(by_overlap("remote"))
        ),
        "guarded": Setup(recalled(watched), recalled(by_overlap("remote"))),
        "flaky": Setup(recalled(flaky, words), recalled(words), flaky),
        "strict": Setup(
            recalled(strict, words, on_failure={"flaky": "raise"}), recalled(words), strict, True
        ),
    }
    # What `stepwell serve` is asked for; it is another process that answers.
    setups["served"] = Setup(sw.Cascade.default(corpus), sw.Cascade.default(corpus), asked=8)
    return World(documents, queries, corpus, setups, [plain, guarded, local.scorer])


def _overlaps(query: str, texts: list[str]) -> list[float]:
    return [overlap(query, text) for text in texts]
