"""For people who write stages: the contract as checks, and models small enough for a test.

```python
from stepwell.testing import check_stage

def test_my_stage_keeps_the_contract():
    check_stage(MyStage())
```
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from stepwell.attempt import broken_rule
from stepwell.candidates import Candidates
from stepwell.documents import Document, Query
from stepwell.errors import ConfigurationError, ContractError
from stepwell.filters import Filter
from stepwell.models.protocols import Kind, PairScores, ScoreKind, Vectors
from stepwell.stage import AsyncStage, BatchStage, Stage

__all__ = ["CHECKS", "WordEncoder", "WordScorer", "check_stage", "sample_documents"]

_WORD = re.compile(r"\w+")


# -- models small enough for a test --------------------------------------------------------------


class WordEncoder:
    """An `Encoder` and `TokenEncoder` of hashed words: deterministic, no weights.

    Texts with the same words have the same vector; texts with no word in common are nearly
    orthogonal.

    Args:
        dimension: Length of a vector.
        name: What a corpus records.
    """

    def __init__(self, *, dimension: int = 64, name: str = "words") -> None:
        self.dimension = dimension
        self.name = name

    def encode(self, texts: Sequence[str], /, *, kind: Kind = "passage") -> Vectors:
        """(n, d) unit rows; the first axis alone for a text without words."""
        rows = [tokens.sum(axis=0) for tokens in self.encode_tokens(texts, kind=kind)]
        matrix = np.stack(rows) if rows else np.empty((0, self.dimension), dtype=np.float32)
        matrix[~matrix.any(axis=1), 0] = 1.0
        unit: Vectors = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
        return unit

    def encode_tokens(self, texts: Sequence[str], /, *, kind: Kind = "passage") -> list[Vectors]:
        """One (words, d) array of unit rows a text; queries and passages alike."""
        del kind
        return [
            np.stack([self._word(word) for word in words])
            if (words := _WORD.findall(text.lower()))
            else np.empty((0, self.dimension), dtype=np.float32)
            for text in texts
        ]

    def _word(self, word: str) -> Vectors:
        seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
        row = np.random.default_rng(seed).standard_normal(self.dimension).astype(np.float32)
        unit: Vectors = row / np.linalg.norm(row)
        return unit


class WordScorer:
    """A `PairScorer` that counts the query's words in the passage; reads `limit` words of it.

    Args:
        limit: Words read; a passage with more counts as truncated.
    """

    name = "shared words"
    kind: ScoreKind = "similarity"

    def __init__(self, *, limit: int = 1000) -> None:
        self.limit = limit

    def score(
        self, query: str, passages: Sequence[str], /, *, stop: Callable[[], bool] | None = None
    ) -> PairScores:
        """The share of the query's words that the passage holds, 0 to 1."""
        values = np.full(len(passages), np.nan, dtype=np.float32)
        asked = set(_WORD.findall(query.lower()))
        truncated = read = 0
        for at, passage in enumerate(passages):
            if stop is not None and stop():
                break
            words = _WORD.findall(passage.lower())
            values[at] = len(asked & set(words[: self.limit])) / max(len(asked), 1)
            truncated += len(words) > self.limit
            read += 1
        return PairScores(values, truncated=truncated, windows=read)


# -- the contract --------------------------------------------------------------------------------


def sample_documents() -> list[Document]:
    """Texts of the kinds that break stages: empty, long, repeated, of several scripts."""
    texts = [
        "Logs rotate daily; run logrotate -f to rotate them now.",
        "When the disk fills up, the oldest logs are compressed.",
        "Logs rotate daily; run logrotate -f to rotate them now.",
        "",
        "!?",
        "Die Protokolle werden täglich rotiert.",
        "ログは毎日ローテーションされます。",
        "rotate " * 1500,
        "\ud800 a lone surrogate",
        "The office cat is fed at noon.",
    ]
    return [
        Document(f"s{at}", text, {"even": at % 2 == 0, "parent": f"s{at // 4}"})
        for at, text in enumerate(texts)
    ]


def check_stage(stage: Stage, *, query: str = "how do I rotate the logs?") -> None:
    """Run every check on a stage, over `sample_documents` and, if it recalls, what it recalls.

    Args:
        stage: The stage.
        query: What to ask; one that the stage finds something for.

    Raises:
        ContractError: It broke a rule; the message says which.
    """
    for check in CHECKS:
        check(stage, query)


def is_named(stage: Stage, query: str) -> None:
    """It has a name and `run`."""
    name = getattr(stage, "name", None)
    _require(stage, isinstance(name, str) and bool(name), "its name is no non-empty string")
    _require(stage, callable(getattr(stage, "run", None)), "it has no run(candidates)")


def answers_legally(stage: Stage, query: str) -> None:
    """Same query, no invented or repeated ids, finite scores that never increase."""
    for before in _sets(stage, query):
        after = stage.run(before)
        rule = broken_rule(stage, before, after)
        _require(stage, not rule, rule)
        failed = [record.name for record in after.children if record.degraded]
        _require(stage, not failed, f"inside it {failed} failed")


def answers_alike_again(stage: Stage, query: str) -> None:
    """The same candidates give the same answer, alone and from several threads."""
    before = _sets(stage, query)[0]
    first = stage.run(before)
    with ThreadPoolExecutor(4) as pool:
        for again in pool.map(lambda _: stage.run(before), range(4)):
            _require(stage, _same(first, again), "it answered the same candidates differently")


def changes_nothing_given(stage: Stage, query: str) -> None:
    """The candidates and documents it was given stay as they were."""
    if _only_recalls(stage):
        return
    documents = sample_documents()
    before = Candidates.of(query, documents, scores=np.linspace(1.0, 0.1, len(documents)))
    ids, score = before.ids.copy(), before.score.copy()
    columns = {name: column.copy() for name, column in before.scores.items()}
    stage.run(before)
    same = np.array_equal(ids, before.ids) and np.array_equal(score, before.score)
    same = same and columns.keys() == before.scores.keys()
    same = same and all(np.array_equal(columns[name], before.scores[name]) for name in columns)
    _require(stage, same, "it changed the candidates it was given")
    _require(stage, documents == sample_documents(), "it changed a document it was given")


def keeps_earlier_scores(stage: Stage, query: str) -> None:
    """A score that came with a candidate stays with it."""
    if _only_recalls(stage) or getattr(stage, "expands", False):
        return
    documents = sample_documents()
    given = np.linspace(0.1, 1.0, len(documents))
    after = stage.run(Candidates.of(query, documents, scores=given))
    _require(stage, "given" in after.scores, "it lost the scores of an earlier stage")
    had = {document.id: value for document, value in zip(documents, given)}
    now = [had[id] for id in after.ids.tolist()]
    _require(
        stage,
        np.array_equal(after.scores["given"], now),
        "it gave a candidate another one's scores",
    )


def bears_blank_queries(stage: Stage, query: str) -> None:
    """A blank query is answered legally; recall finds nothing."""
    for blank in ("", " \t\n"):
        for before in _sets(stage, blank):
            rule = broken_rule(stage, before, stage.run(before))
            _require(stage, not rule, f"for a blank query {rule}")
        found = _recalled(stage, Candidates.start(blank))
        _require(stage, not found, "it recalled something for a blank query without a filter")


def bears_missing_documents(stage: Stage, query: str) -> None:
    """A candidate whose document was deleted meanwhile is no failure."""
    if _only_recalls(stage):
        return
    before = Candidates.of(query, sample_documents())
    gone = before.recalled(
        "gone", ["gone", *before.ids], range(len(before) + 1, 0, -1), source=before.source
    )
    rule = broken_rule(stage, gone, stage.run(gone))
    _require(stage, not rule, f"with a deleted document {rule}")


def honours_the_filter(stage: Stage, query: str) -> None:
    """What it recalls matches the query's filter."""
    allowed = Filter.parse({"even": True})
    found = _recalled(stage, Candidates.start(Query(query, filter=allowed)))
    documents = found.documents() if found else []
    illegal = [
        d.id for d in documents if d is not None and allowed and not allowed.matches(d.metadata)
    ]
    _require(stage, not illegal, f"it recalled what the filter excludes, such as {illegal[:3]}")


def is_one_in_all_ways(stage: Stage, query: str) -> None:
    """`arun` and `run_many`, where it has them, answer as `run` does."""
    sets = _sets(stage, query)
    answers = [stage.run(each) for each in sets]
    if isinstance(stage, AsyncStage):
        awaited = [_await(stage, each) for each in sets]
        same = all(_same(one, other) for one, other in zip(answers, awaited))
        _require(stage, same, "arun answers otherwise than run")
    if isinstance(stage, BatchStage):
        many = stage.run_many(sets)
        same = len(many) == len(sets) and all(_same(*pair) for pair in zip(answers, many))
        _require(stage, same, "run_many answers otherwise than run")


CHECKS: tuple[Callable[[Stage, str], None], ...] = (
    is_named,
    answers_legally,
    answers_alike_again,
    changes_nothing_given,
    keeps_earlier_scores,
    bears_blank_queries,
    bears_missing_documents,
    honours_the_filter,
    is_one_in_all_ways,
)
"""The contract, one check a rule; `check_stage` runs them all."""


def _only_recalls(stage: Stage) -> bool:
    return bool(getattr(stage, "recall_only", False))


def _sets(stage: Stage, query: str) -> list[Candidates]:
    """What a cascade could give the stage; one that only recalls is never given a set."""
    if _only_recalls(stage):
        return [Candidates.start(query)]
    documents = sample_documents()
    return [Candidates.of(query, documents), Candidates.of(query, documents[:1])]


def _recalled(stage: Stage, start: Candidates) -> Candidates | None:
    """What the stage recalls; None of a stage that refuses to come first."""
    try:
        after = stage.run(start)
    except ConfigurationError:
        return None
    rule = broken_rule(stage, start, after)
    _require(stage, not rule, f"on recall {rule}")
    return after if len(after) else None


def _await(stage: AsyncStage, candidates: Candidates) -> Candidates:
    # In a thread of its own, so that it also works where a loop is running already.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(stage.arun(candidates))).result()


def _same(one: Candidates, other: Candidates) -> bool:
    return (
        np.array_equal(one.ids, other.ids)
        and np.array_equal(one.score, other.score)
        and one.scores.keys() == other.scores.keys()
        and all(
            np.array_equal(values, other.scores[name], equal_nan=True)
            for name, values in one.scores.items()
        )
    )


def _require(stage: Stage, holds: bool, rule: str) -> None:
    if not holds:
        name = getattr(stage, "name", type(stage).__name__)
        raise ContractError(f"stage {name!r} broke the contract: {rule}", stage=str(name))
