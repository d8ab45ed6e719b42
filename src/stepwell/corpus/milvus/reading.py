"""What is asked of the collection: ids and scores, and documents in the order they were written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from stepwell.corpus.milvus.conditions import both
from stepwell.corpus.milvus.entities import key_of
from stepwell.corpus.milvus.link import Link
from stepwell.corpus.reading import Found
from stepwell.errors import InputError

MOST = 16_384
"""Hits that Milvus gives to one search or query."""
_PAGE = 8_192
# Ids asked for at a time; fewer with their texts, so that an answer stays below 64 MB.
_KEYS, _TEXTS = 1_000, 256

Row = dict[str, Any]


def found(search: Callable[[int], list[Row]], k: int) -> Found:
    """The best k, ties to the document that was written first.

    Args:
        search: Gives as many hits as it is asked for, best first, with `score`, `id` and `seq`.
        k: How many at most.

    Raises:
        InputError: There are more than Milvus gives to one search.
    """
    limit = min(k + 1, MOST)
    while True:
        rows = search(limit)
        # Milvus breaks ties as it likes: all that tie with the last must be seen.
        if len(rows) < limit or limit == MOST or rows[k - 1]["score"] > rows[-1]["score"]:
            break
        limit = min(limit * 4, MOST)
    if k > MOST == len(rows):
        raise InputError(
            f"Milvus gives at most {MOST:,} hits to a search, not {k:,}; ask for fewer"
        )
    best = sorted(rows, key=lambda row: (-row["score"], row["seq"]))[:k]
    return Found([row["id"] for row in best], np.array([row["score"] for row in best], np.float64))


def hits(answer: Any, *, metric: str) -> list[Row]:
    """What a search of the client found, best first, each with its `score`."""
    # A BM25 score is above 0; Milvus Lite gives it as a distance, which is below.
    score = abs if metric == "BM25" else float
    return [{**dict(hit["entity"]), "score": score(float(hit["distance"]))} for hit in answer[0]]


def by_keys(link: Link, ids: Sequence[str], fields: list[str], **asked: Any) -> dict[str, Row]:
    """What is stored of the documents with these ids, by id; without those that are not there."""
    rows: dict[str, Row] = {}
    size = _TEXTS if "text" in fields else _KEYS
    for part in _parts(list(dict.fromkeys(ids)), size):
        keys = [key_of(id) for id in part]
        for row in link.call("get", ids=keys, output_fields=["id", *fields], **asked):
            rows[row["id"]] = row
    return rows


def scores_of(search: Callable[[str, int], list[Row]], ids: Sequence[str]) -> dict[str, float]:
    """The score of each of these ids that a search among them finds.

    Args:
        search: Takes an expression and how many.
        ids: Whose.
    """
    scores: dict[str, float] = {}
    for part in _parts(list(dict.fromkeys(ids)), _KEYS):
        keys = ", ".join(f'"{key_of(id)}"' for id in part)
        for row in search(f"pk in [{keys}]", len(part)):
            scores[row["id"]] = row["score"]
    return scores


def in_order(link: Link, expression: str, upto: int, **asked: Any) -> Iterator[str]:
    """The ids of all that match, in the order they were written, a page in memory at a time.

    Args:
        link: Where.
        expression: What matches.
        upto: Documents written from here on are left out.
        asked: More arguments of a query.
    """
    ranges = [(0, upto)]
    while ranges:
        low, high = ranges.pop()
        rows = link.call(
            "query",
            filter=both(expression, f"seq >= {low} and seq < {high}"),
            output_fields=["id", "seq"],
            limit=_PAGE + 1,
            **asked,
        )
        if len(rows) <= _PAGE or high - low < 2:
            yield from (row["id"] for row in sorted(rows, key=lambda row: row["seq"]))
            continue
        # Any page of them tells where about half of them are.
        middle = max(sorted(row["seq"] for row in rows)[len(rows) // 2], low + 1)
        ranges += [(middle, high), (low, middle)]


def count(link: Link, **asked: Any) -> int:
    """How many documents there are."""
    rows = link.call("query", filter="", output_fields=["count(*)"], **asked)
    return int(rows[0]["count(*)"])


def _parts(ids: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
