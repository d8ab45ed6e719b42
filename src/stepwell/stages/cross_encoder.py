"""`CrossEncoder`: read query and passage together, for the few that are left."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stepwell.candidates import Candidates, check_blend, check_k
from stepwell.depth import Depth, Reading, Watch, described
from stepwell.errors import ConfigurationError, ModelError, RemoteError
from stepwell.meaning import Meaning
from stepwell.models.checks import checked_pairs
from stepwell.models.loading import Backend, ScorerSpec, load_scorer
from stepwell.stages import blends
from stepwell.stages.needs import need_candidates
from stepwell.stopping import Pace, Stop, late, stop_at
from stepwell.threads import on_cores

log = logging.getLogger("stepwell")

_CALIBRATE = (
    "depth='auto' is not calibrated yet: run `stepwell depth QUERIES.txt --corpus PATH --out "
    "cascade.toml` and load that file, or stepwell.tune.calibrate_depth(cascade, queries)"
)


class CrossEncoder:
    """Scores candidates by a model that reads the query and the passage together.

    Under a deadline it reads the best candidates first and leaves the rest, in their order, below;
    the trace then says how many (`unscored`), and how many passages were `truncated`.

    Args:
        model: None for the embedded one, a sentence-transformers model by name or path, a
            `PairScorer`, or a callable ``(query, passages) -> scores``.
        k: How many to keep; None for all.
        blend: Weight of the new score against the score so far, 0 to 1.
        depth: How many of the candidates to read, best first; None for all. A `Depth` reads as many
            as each query needs, of brought documents all, see `docs/adaptive-depth.md`; "auto"
            stands for one that is still to be calibrated, and refuses to run.
        name: The column its scores are kept under.
        backend: What runs a named model; ``"auto"`` converts it once to what is fastest here.
        cache: Whether pairs scored before are kept in memory; a path keeps them on disk too. None
            keeps them for the embedded model and for named ones, which always say the same.
        shared: Whether concurrent queries share the model's batches (`SharedScorer`). None shares
            the embedded model and named ones.

    Raises:
        ConfigurationError: k or depth is below 1, the blend no weight, the model unknown, or a
            `Depth` was calibrated with another model, k or blend.
        MissingExtraError: A named model needs the extra ``sentence-transformers``.
    """

    def __init__(
        self,
        model: ScorerSpec = None,
        k: int | None = 10,
        *,
        blend: float = blends.CROSS_ENCODER,
        depth: int | Depth | Literal["auto"] | None = None,
        name: str = "cross-encoder",
        backend: Backend | Literal["auto"] = "torch",
        cache: bool | str | Path | None = None,
        shared: bool | None = None,
    ) -> None:
        self.name = name
        self.k = check_k(k)
        if isinstance(depth, str) and depth != "auto":
            raise ConfigurationError(f"depth must be a number, a Depth or 'auto', not {depth!r}")
        self.depth: int | Depth | Literal["auto"] | None = (
            depth if isinstance(depth, (Depth, str)) else check_k(depth, what="depth")
        )
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
        self.watch = Watch(depth) if isinstance(depth, Depth) else None
        self._check_made_for(None)

    @property
    def kind(self) -> Meaning:
        """What its model says that its scores are."""
        return self.scorer.kind

    def __repr__(self) -> str:
        return f"CrossEncoder({self.scorer.name!r}, k={self.k}, blend={self.blend:g})"

    def check_after(self, stages: Sequence[Any], /) -> None:
        """Refuse to come after other stages than those that the depth was calibrated with.

        Raises:
            ConfigurationError: They changed; the message says what.
        """
        self._check_made_for(stages)

    def run(self, candidates: Candidates, /) -> Candidates:
        """Score the set; a blank query leaves its order."""
        need_candidates(candidates, self.name)
        if candidates.query.is_blank:
            return candidates.top(self.k)
        there, texts = self._texts(candidates)
        stop = stop_at(candidates.deadline, self._pace)
        reading = self._reading(candidates, there)
        while (part := reading.next()) is not None:
            made = self.scorer.score(candidates.query.text, texts[part], stop=stop)
            reading.put(part, checked_pairs(made, rows=len(texts[part]), name=self.scorer.name))
        return self._scored(candidates, there, reading, stop)

    async def arun(self, candidates: Candidates, /) -> Candidates:
        """`run`, awaited: no thread is held while a shared model works."""
        ascore = getattr(self.scorer, "ascore", None)
        if ascore is None or candidates.query.is_blank:
            return await asyncio.to_thread(self.run, candidates)
        need_candidates(candidates, self.name)
        there, texts = await on_cores(self._texts, candidates)
        stop = stop_at(candidates.deadline, self._pace)
        reading = self._reading(candidates, there)
        while (part := reading.next()) is not None:
            made = await ascore(candidates.query.text, texts[part], stop=stop)
            made = checked_pairs(made, rows=len(texts[part]), name=self.scorer.name)
            await on_cores(reading.put, part, made)
        return await on_cores(self._scored, candidates, there, reading, stop)

    def _texts(self, candidates: Candidates) -> tuple[list[int], list[str]]:
        """Which of the candidates may be scored and are still there, and their texts."""
        most = self.depth.most if isinstance(self.depth, Depth) else self.depth
        if isinstance(most, str):
            raise ConfigurationError(f"stage {self.name!r}: {_CALIBRATE}")
        read = candidates.source.get_many(candidates.ids[:most].tolist())
        there = [at for at, document in enumerate(read) if document is not None]
        return there, [document.text for document in read if document is not None]

    def _reading(self, candidates: Candidates, there: list[int]) -> Reading:
        prior, watch = candidates.score[there], self.watch
        # What is brought is no traffic like that of the calibration: no promise speaks of it.
        if watch is None or watch.reads_all or candidates.brought:
            return Reading(len(there), None, prior, self.blend)
        audit = watch.audits(candidates.query.text)
        return Reading(len(there), watch.depth, prior, self.blend, through=audit)

    def _check_made_for(self, before: Sequence[Any] | None) -> None:
        """Compare with what the depth was calibrated with; None while those before are unknown."""
        if not isinstance(self.depth, Depth):
            return
        changed = self.depth.changed(described(self, before or ()))
        if before is None:
            changed = [
                each for each in changed if each.startswith((f"{self.name}.", f"{self.name} "))
            ]
        if changed:
            raise ConfigurationError(
                f"stage {self.name!r} has a depth that was calibrated with other settings: "
                f"{'; '.join(changed)}; run `stepwell depth` again, or give depth= a number"
            )

    def _scored(
        self, candidates: Candidates, there: list[int], reading: Reading, stop: Stop | None
    ) -> Candidates:
        made = reading.made()
        values = np.full(len(candidates), np.nan)
        values[there] = made.values
        sure = reading.confident
        notes: dict[str, Any] = {} if sure else late(values, candidates, stop, there=there)
        failure = made.failure
        if failure is not None:
            notes = {"unscored": int(np.isnan(values[there]).sum())}
        elif not (sure or notes) and np.isnan(values[there]).any():
            message = f"{self.scorer.name} returned NaN; make it return finite numbers"
            raise ModelError(message, model=self.scorer.name)
        if made.truncated:
            notes["truncated"] = made.truncated
        # What was kept makes no forward pass, but the same question gets the same notes.
        windows = made.windows if made.passes is None else int(made.passes.sum())
        if windows > reading.read:
            notes["windows"] = windows
        after = candidates.scored(self.name, values, blend=self.blend, kind=self.kind)
        if isinstance(self.depth, Depth):
            after = self._deep_enough(reading.reordered(after, candidates, there), reading)
        after = after.noted(**notes).top(self.k)
        if failure is not None:
            # A failure for who tries again, falls back or raises; a part for who lets it pass.
            message, api, status = str(failure), failure.api, failure.status
            raise RemoteError(message, api=api, status=status, partial=after) from failure
        return after

    def _deep_enough(self, after: Candidates, reading: Reading) -> Candidates:
        """Say how deep it read, drop what it left, and hear whether the depth still holds."""
        notes = {"read": reading.scored}
        if reading.confident:
            left = notes["left"] = reading.n - reading.read
            after = after.top(reading.read, reason=f"confident: {left} of {reading.n} not read")
        watch = self.watch
        if watch is not None and reading.depth is not None and (reading.confident or reading.whole):
            wrong = reading.wrong if reading.through else None
            if wrong is not None:
                notes |= {"audited": 1, "changed": int(wrong)}
            if watch.heard(after.query.text, read=reading.stopped, wrong=wrong):
                notes["alarm"] = 1
                log.warning(
                    "%s: its depth may not hold: %s; calibrate again", self.name, watch.alarm
                )
        return after.noted(**notes)
