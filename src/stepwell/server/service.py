"""What the server holds: a model, perhaps a corpus, and how it is doing."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stepwell.cascade import Cascade
from stepwell.corpus.anywhere import AnyCorpus, existing
from stepwell.errors import ConfigurationError, InputError
from stepwell.models.loading import Backend, EncoderSpec, ScorerSpec
from stepwell.models.protocols import PairScorer, PairScores
from stepwell.remote.secret import Secret
from stepwell.result import Result
from stepwell.server.limits import Limits
from stepwell.server.problems import RETRY, Problem, log
from stepwell.shadow import Shadow
from stepwell.stage import Stage
from stepwell.stages import CrossEncoder
from stepwell.stages.presets import DEFAULT, RESCORE, preset


class Service:
    """A scorer and a cascade that share one model, behind limits.

    Args:
        scorer: Scores what `/rerank` and its kin are sent.
        corpus: What `/search` searches; None for a server that only reranks.
        cascade: The stages over the corpus.
        limits: What is refused beyond.
        key: What callers must send; None lets everybody ask.
        deadline: Seconds that a search may take at most.
        shadow: Beside the cascade from the moment that the model is loaded.

    Raises:
        ConfigurationError: The deadline is not above 0.

    Attributes:
        draining: Whether it is about to end; requests are still answered.
        failure: What went wrong while the model was loaded.
    """

    def __init__(
        self,
        scorer: PairScorer,
        *,
        corpus: AnyCorpus | None = None,
        cascade: Cascade | None = None,
        limits: Limits | None = None,
        key: Secret | None = None,
        deadline: float | None = None,
        shadow: Shadow | None = None,
    ) -> None:
        if deadline is not None and not 0 < deadline < math.inf:
            raise ConfigurationError(f"deadline must be a number of seconds above 0: {deadline!r}")
        self.scorer = scorer
        self.corpus = corpus
        self.cascade = cascade
        self.limits = limits or Limits()
        self.key = key
        self.deadline = deadline
        self.shadow = shadow
        self.draining = False
        self.failure: Exception | None = None
        self._loaded = False
        self._working = 0

    @classmethod
    def open(
        cls,
        path: str | Path | None = None,
        *,
        model: ScorerSpec = None,
        backend: Backend | Literal["auto"] = "torch",
        encoder: EncoderSpec = "embedded",
        preset_name: str | None = None,
        cascade_file: str | Path | None = None,
        limits: Limits | None = None,
        key: Secret | None = None,
        deadline: float | None = None,
        shadow_file: str | Path | None = None,
        shadow_rate: float = 1.0,
    ) -> Service:
        """Open a corpus and name a model; its weights are loaded by `warm`.

        Args:
            path: The corpus, or the URL or .db file of a Milvus; None for a server that only
                reranks.
            model: As in `CrossEncoder`.
            backend: As in `CrossEncoder`.
            encoder: As in `Corpus.open`.
            preset_name: As in `stepwell search`: by default three-stage, or bm25 for a corpus
                without vectors.
            cascade_file: A cascade file for searches, instead of a preset.
            limits: What is refused beyond.
            key: What callers must send.
            deadline: Seconds that a search may take at most.
            shadow_file: A cascade file to run beside searches, see `Shadow`.
            shadow_rate: The share of searches that it is compared on.

        Raises:
            CorpusError: There is no corpus, or none that can be opened.
            ConfigurationError: The model, the encoder or the preset is unknown.
            MissingExtraError: The model needs an extra that is not installed.
        """
        scorer = CrossEncoder(model, None, backend=backend).scorer
        if path is None:
            if shadow_file is not None:
                raise InputError("--shadow runs beside searches: name a corpus")
            return cls(scorer, limits=limits, key=key)
        corpus = existing(path, encoder=encoder)
        try:
            if cascade_file is not None and preset_name is not None:
                raise InputError("--preset and --cascade exclude each other")
            if cascade_file is not None:
                cascade = Cascade.load(cascade_file, corpus)
            else:
                name = preset_name or (DEFAULT if corpus.encoder else "bm25")
                stages = preset(name, corpus, RESCORE)
                cascade = Cascade([_reading_with(scorer, stage) for stage in stages])
            shadow = None
            if shadow_file is not None:
                shadow = Shadow(Cascade.load(shadow_file, corpus), rate=shadow_rate)
        except BaseException:
            corpus.close()
            raise
        return cls(
            scorer,
            corpus=corpus,
            cascade=cascade,
            limits=limits,
            key=key,
            deadline=deadline,
            shadow=shadow,
        )

    @property
    def state(self) -> Literal["loading", "ready", "draining"]:
        """Whether it takes work, or why it should be sent none."""
        if self.draining:
            return "draining"
        return "ready" if self._loaded else "loading"

    async def warm(self) -> None:
        """Load the models; a failure is kept in `failure`."""
        try:
            await asyncio.to_thread(self.scorer.score, "warm", ["up"])
            if self.cascade is not None:
                await self.cascade.asearch("warm up", k=1)
                await self._warm_shadow(self.cascade)
        except Exception as error:
            log.error("the model could not be loaded: %s", type(error).__name__)
            self.failure = error
        else:
            self._loaded = True

    async def _warm_shadow(self, beside: Cascade) -> None:
        if self.shadow is None:
            return
        try:
            await self.shadow.cascade.asearch("warm up", k=1)
        except Exception as error:  # searches do not need it, and its failures are counted
            log.error("the shadow could not be loaded: %s", type(error).__name__)
        beside.shadow = self.shadow

    def close(self) -> None:
        """Let go of the corpus, and tell what the shadow has found."""
        if self.shadow is not None:
            self.shadow.close()
            log.info("the shadow: %s", json.dumps(self.shadow.report().to_dict()))
        if self.corpus is not None:
            self.corpus.close()

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Count a request while it is worked on.

        Raises:
            Problem: The model is not loaded yet, or as many requests are here as may be.
        """
        if not self._loaded:
            raise Problem(503, "loading", "the model is being loaded", headers=RETRY)
        if self._working >= self.limits.requests:
            message = f"{self._working} requests are being answered; ask again later"
            raise Problem(503, "busy", message, headers=RETRY)
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1

    async def scored(self, query: str, texts: Sequence[str]) -> PairScores:
        """Score texts without blocking the event loop.

        Raises:
            Problem: There are too many, or one is too long.
        """
        self._check(query, texts)
        if not texts:
            return PairScores(np.empty(0, dtype=np.float32))
        ascore = getattr(self.scorer, "ascore", None)
        if ascore is not None:
            made: PairScores = await ascore(query, texts)
            return made
        return await asyncio.to_thread(self.scorer.score, query, texts)

    async def search(
        self,
        query: str,
        *,
        k: int,
        filter: Mapping[str, Any] | None = None,
        deadline: float | None = None,
    ) -> Result:
        """Search the corpus without blocking the event loop.

        Args:
            query: The question.
            k: How many documents.
            filter: As in `Cascade.search`.
            deadline: Seconds; the server's own if None, and never more than that.

        Raises:
            Problem: There is no corpus, or the query or `k` is beyond the limits.
            InputError: The filter cannot be honoured.
        """
        if self.cascade is None:
            message = "this server only reranks; start it as: stepwell serve PATH"
            raise Problem(404, "no_corpus", message)
        self._check(query, ())
        if k > self.limits.k:
            raise _too_large(f"k is {k}", self.limits.k)
        given = [each for each in (deadline, self.deadline) if each is not None]
        seconds = min(given, default=None)
        return await self.cascade.asearch(query, k=k, filter=filter, deadline=seconds)

    def _check(self, query: str, texts: Sequence[str]) -> None:
        if len(query) > self.limits.query:
            raise _too_large(f"the query has {len(query)} characters", self.limits.query)
        if len(texts) > self.limits.documents:
            raise _too_large(f"there are {len(texts)} documents", self.limits.documents)
        for at, text in enumerate(texts):
            if len(text) > self.limits.characters:
                message = f"document {at} has {len(text)} characters"
                raise _too_large(message, self.limits.characters)


def _too_large(found: str, most: int) -> Problem:
    return Problem(422, "too_large", f"{found}; this server takes {most} at most")


def _reading_with(scorer: PairScorer, stage: Stage) -> Stage:
    """The stage, or where it is a cross-encoder the same one with this model."""
    if not isinstance(stage, CrossEncoder):
        return stage
    return CrossEncoder(scorer, stage.k, blend=stage.blend, depth=stage.depth, name=stage.name)
