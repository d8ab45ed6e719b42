"""What is made of hits, whatever order an engine gives equal ones in."""

from __future__ import annotations

import pytest

from stepwell import InputError
from stepwell.corpus.milvus.reading import MOST, Row, found


def hits(scores: list[float]) -> list[Row]:
    """As an engine gives them: best first, of equal ones the latest first."""
    rows = [{"id": str(at), "seq": at, "score": score} for at, score in enumerate(scores)]
    return sorted(rows, key=lambda row: (-row["score"], -row["seq"]))


def test_all_that_tie_with_the_last_are_looked_at() -> None:
    """Of two hundred equal hits the first written are answered, though the engine gives others."""
    rows = hits([2.0, *[1.0] * 200, 0.5])
    asked: list[int] = []

    def search(limit: int) -> list[Row]:
        asked.append(limit)
        return rows[:limit]

    best = found(search, 3)
    assert best.ids == ["0", "1", "2"]
    assert best.scores.tolist() == [2.0, 1.0, 1.0]
    assert asked == [4, 16, 64, 256]


def test_more_than_an_engine_gives_is_refused() -> None:
    """Where there may be more hits than one search gives, a short list is an error."""
    rows = hits([1.0] * (MOST + 5))
    with pytest.raises(InputError, match="at most 16,384"):
        found(lambda limit: rows[:limit], MOST + 1)
    assert len(found(lambda limit: rows[:7], MOST + 1)) == 7
