"""`CrossEncoder`: read query and passage together, for the few that are left."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

import numpy as np

from stepwell.candidates import Candidates, check_blend, check_k
from stepwell.errors import ModelError, RemoteError
from stepwell.meaning import Meaning
from stepwell.models.checks import checked_pairs
from stepwell.models.loading import Backend, ScorerSpec, load_scorer
from stepwell.models.protocols import PairScores
from stepwell.stages import blends
from stepwell.stages.needs import need_candidates
from stepwell.stopping import Pace, Stop, late, stop_at
from stepwell.threads import on_cores


class CrossEncoder:
    """Scores candidates by a model that reads the query and the passage together.

    Under a deadline it reads the best candidates first and leaves the rest, in their order, below;
    the trace then says how many (`unscored`), and how many passages were `truncated`.

    Args:
        model: None for the embedded one, a sentence-transformers model by name or path, a
            `PairScorer`, or a callable ``(query, passages) -> scores``.
        k: How many to keep; None for all.
        blend: Weight of the new score against the score so far, 0 to 1.
        depth: How many of the candidates to read, best first; None for all.
        name: The column its scores are kept under.
        backend: What runs a named model; ``"auto"`` converts it once to what is fastest here.
        cache: Whether pairs scored before are kept in memory; a path keeps them on disk too. None
            keeps them for the embedded model and for named ones, which always say the same.
        shared: Whether concurrent queries share the model's batches (`SharedScorer`). None shares
            the embedded model and named ones.

    Raises:
        ConfigurationError: k or depth is below 1, the blend no weight, or the model unknown.
        MissingExtraError: A named model needs the extra ``sentence-transformers``.
    """

    def __init__(
        self,
        model: ScorerSpec = None,
        k: int | None = 10,
        *,
        blend: float = blends.CROSS_ENCODER,
        depth: int | None = None,
        name: str = "cross-encoder",
        backend: Backend | Literal["auto"] = "torch",
        cache: bool | str | Path | None = None,
        shared: bool | None = None,
    ) -> None:
        self.name = name
        self.k = check_k(k)
        self.depth = check_k(depth, what="depth")
        self.blend = check_blend(blend)
        self.given, self.backend, self.cache, self.shared = model, backend, cache, shared
        own = model is None or isinstance(model, str)
        self.scorer = load_scorer(
            model,
            backend=backend,
            cache=own if cache is None else cache,
            shared=own if shared is None else shared,
        )
        self._pace = Pace()

    @property
    def kind(self) -> Meaning:
        """What its model says that its scores are."""
        return self.scorer.kind

    def __repr__(self) -> str:
        return f"CrossEncoder({self.scorer.name!r}, k={self.k}, blend={self.blend:g})"

    def run(self, candidates: Candidates, /) -> Candidates:
        """Score the set; a blank query leaves its order."""
        need_candidates(candidates, self.name)
        if candidates.query.is_blank:
            return candidates.top(self.k)
        there, texts = self._read(candidates)
        stop = stop_at(candidates.deadline, self._pace)
        made = self.scorer.score(candidates.query.text, texts, stop=stop)
        return self._scored(candidates, there, made, stop)

    async def arun(self, candidates: Candidates, /) -> Candidates:
        """`run`, awaited: no thread is held while a shared model works."""
        ascore = getattr(self.scorer, "ascore", None)
        if ascore is None or candidates.query.is_blank:
            return await asyncio.to_thread(self.run, candidates)
        need_candidates(candidates, self.name)
        there, texts = await on_cores(self._read, candidates)
        stop = stop_at(candidates.deadline, self._pace)
        made = await ascore(candidates.query.text, texts, stop=stop)
        return await on_cores(self._scored, candidates, there, made, stop)

    def _read(self, candidates: Candidates) -> tuple[list[int], list[str]]:
        """Which of the candidates are to be scored and still there, and their texts."""
        read = candidates.source.get_many(candidates.ids[: self.depth].tolist())
        there = [at for at, document in enumerate(read) if document is not None]
        return there, [document.text for document in read if document is not None]

    def _scored(
        self, candidates: Candidates, there: list[int], made: PairScores, stop: Stop | None
    ) -> Candidates:
        made = checked_pairs(made, rows=len(there), name=self.scorer.name)
        values = np.full(len(candidates), np.nan)
        values[there] = made.values
        notes = late(values, candidates, stop, there=there)
        failure = made.failure
        if failure is not None:
            notes = {"unscored": int(np.isnan(values[there]).sum())}
        elif not notes and np.isnan(values[there]).any():
            message = f"{self.scorer.name} returned NaN; make it return finite numbers"
            raise ModelError(message, model=self.scorer.name)
        if made.truncated:
            notes["truncated"] = made.truncated
        # What was kept makes no forward pass, but the same question gets the same notes.
        windows = made.windows if made.passes is None else int(made.passes.sum())
        if windows > len(there):
            notes["windows"] = windows
        after = candidates.scored(self.name, values, blend=self.blend, kind=self.kind)
        after = after.noted(**notes).top(self.k)
        if failure is not None:
            # A failure for who tries again, falls back or raises; a part for who lets it pass.
            message, api, status = str(failure), failure.api, failure.status
            raise RemoteError(message, api=api, status=status, partial=after) from failure
        return after
