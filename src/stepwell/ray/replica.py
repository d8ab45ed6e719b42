"""A replica on Ray Serve: it holds the model, and Serve's batching joins what callers ask."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from ray import serve

from stepwell.models.loading import ScorerSpec, load_scorer
from stepwell.models.sharing import SETTINGS
from stepwell.ray.reading import Answer, Ask, answers, pairs_of


class Replica:
    """Answers parts of queries; ready once its model is in memory."""

    def __init__(
        self, model: ScorerSpec, known_as: str, by: str, backend: Any, pairs: int, wait: float
    ) -> None:
        self._known_as, self._by = known_as, by
        self._scorer = load_scorer(model, backend=backend)
        self._scorer.score("is it there", ["it is"])
        batch: Any = self._batched
        batch.set_max_batch_size(pairs)
        batch.set_batch_wait_timeout_s(wait)

    def facts(self) -> dict[str, Any]:
        """What a caller must know of the model, and what it was deployed as."""
        settings = {each: getattr(self._scorer, each, None) for each in (*SETTINGS, "logistic")}
        return {
            "known_as": self._known_as,
            "deployed_by": self._by,
            "name": self._scorer.name,
            "kind": self._scorer.kind,
            **{name: value for name, value in settings.items() if value is not None},
        }

    async def score(self, query: str, passages: list[str], left: float | None) -> Answer:
        """Score passages of one query.

        Args:
            query: What is asked.
            passages: In order.
            left: Seconds that the caller waits; the clocks of two machines differ.
        """
        deadline = None if left is None else time.monotonic() + left
        made: Answer = await self._batched(Ask(query, passages, deadline))
        return made

    @serve.batch(batch_size_fn=pairs_of)
    async def _batched(self, asks: list[Ask]) -> list[Answer]:
        return await asyncio.to_thread(answers, self._scorer, asks)
