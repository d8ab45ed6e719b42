"""Scores of pairs, kept: a pair that comes again costs no model, nor one that is under way."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from concurrent import futures
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from stepwell.errors import ConfigurationError, InputError
from stepwell.models.checks import checked_pairs
from stepwell.models.pair_file import Known, PairFile
from stepwell.models.protocols import PairScorer, PairScores, ScoreKind
from stepwell.stopping import is_over
from stepwell.threads import ASIDE
from stepwell.watching import watcher

SIZE = 50_000
WAIT = 0.005

Walk: TypeAlias = "Generator[list[str] | Future[Known | None], PairScores | None, PairScores]"


class CachedScorer:
    """A `PairScorer` that keeps what another one said, by model, settings, query and passage.

    Pairs are told apart by their content. Equal pairs of calls that run at the same time are scored
    once. A pair that the inner scorer left unscored, or failed on, is not kept, nor one of which it
    cannot be told whether it was truncated or split. Copies share neither weights nor memory, only
    the file.

    Args:
        scorer: Its `name` must stand for all that changes its scores; a file is worth nothing for
            a function whose body changes and whose name does not.
        size: Pairs kept in memory, about 150 bytes each; those longest unused go first.
        path: An SQLite file that keeps them between processes, up to `file_size`.
        file_size: Pairs kept in the file; the oldest go first.

    Raises:
        ConfigurationError: A size is below 1, or the file cannot be written.

    Example:
        >>> scorer = CachedScorer(load_scorer(lambda query, texts: [len(text) for text in texts]))
        >>> scorer.score("q", ["a", "bc"]).windows, scorer.score("q", ["bc"]).windows
        (2, 0)
    """

    def __init__(
        self,
        scorer: PairScorer,
        /,
        *,
        size: int = SIZE,
        path: str | Path | None = None,
        file_size: int = 1_000_000,
    ) -> None:
        for value in (size, file_size):
            if type(value) is not int or value < 1:
                raise ConfigurationError(f"a cache holds 1 pair or more, not {value!r}")
        self.scorer = scorer
        self._made_of = (size, path, file_size)
        self._size = size
        self._file = None if path is None else PairFile(Path(path), limit=file_size)
        settings = [getattr(scorer, each, None) for each in ("max_length", "max_windows")]
        self._prefix = f"{scorer.name}\0{scorer.kind}\0{settings}\0".encode()
        self._kept: OrderedDict[bytes, Known] = OrderedDict()
        self.forked()
        _CACHES.add(self)

    @property
    def name(self) -> str:
        """The inner scorer's name."""
        return self.scorer.name

    @property
    def kind(self) -> ScoreKind:
        """What the inner scorer's numbers are."""
        return self.scorer.kind

    @property
    def backend(self) -> str | None:
        """What runs the inner scorer, if it says."""
        return getattr(self.scorer, "backend", None)

    def __len__(self) -> int:
        return len(self._kept)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.scorer, *self._made_of)

    def score(
        self, query: str, passages: Sequence[str], /, *, stop: Callable[[], bool] | None = None
    ) -> PairScores:
        """Score passages in the order given.

        `windows` counts what this call had to compute; `truncated`, `cut` and `passes` speak of all
        passages, kept ones too.
        """
        walk = self._walk(query, passages, stop)
        try:
            need = _next(walk, None)
            while not isinstance(need, PairScores):
                if isinstance(need, Future):
                    futures.wait([need], None if stop is None else WAIT)
                    need = _next(walk, None)
                else:
                    need = _next(walk, self.scorer.score(query, need, stop=stop))
            return need
        finally:
            walk.close()

    async def ascore(
        self, query: str, passages: Sequence[str], /, *, stop: Callable[[], bool] | None = None
    ) -> PairScores:
        """`score`, awaited; where the inner scorer can be awaited too no thread waits for it.

        The file is read and written in a thread, for as long as that takes.
        """
        inner = getattr(self.scorer, "ascore", None)
        if inner is None:
            return await asyncio.to_thread(self.score, query, passages, stop=stop)
        walk = self._walk(query, passages, stop)
        try:
            need = await self._step(walk)
            while not isinstance(need, PairScores):
                if isinstance(need, Future):
                    await _done(need, stop)
                    need = await self._step(walk)
                else:
                    need = await self._step(walk, await inner(query, need, stop=stop))
            return need
        finally:
            with suppress(ValueError):  # it runs in a thread, and `_step` closes it
                walk.close()

    async def _step(
        self, walk: Walk, got: PairScores | None = None
    ) -> list[str] | Future[Known | None] | PairScores:
        """What a walk needs next; in a thread where it reads and writes a file."""
        if self._file is None:
            return _next(walk, got)
        step = asyncio.ensure_future(asyncio.to_thread(_next, walk, got))
        try:
            return await asyncio.shield(step)
        except asyncio.CancelledError:
            # What runs cannot be closed, but must be: others wait for its pairs.
            step.add_done_callback(partial(_close, walk))
            raise

    def _walk(self, query: str, passages: Sequence[str], stop: Callable[[], bool] | None) -> Walk:
        """Yield texts to score, or what another call makes, to wait for; end in the scores."""
        keys = self._keys(query, passages)
        found = self._remembered(keys)
        kept = sum(key in found for key in keys)
        for result, count in (("hit", kept), ("miss", len(keys) - kept)):
            if count:
                watcher().count("cache.pairs", count, cache_result=result)
        windows = untold = 0
        failure = None
        if len(found) < len(keys):
            texts = dict(zip(keys, passages, strict=True))
            while left := [key for key in texts if key not in found]:
                if is_over(stop):
                    break
                mine, others = self._claim(left, found)
                if mine:
                    made = yield from self._compute({key: texts[key] for key in mine}, found)
                    windows += made.windows
                    failure = made.failure
                    untold += made.truncated if _each(made) is None else 0
                yield from _wait(others, found, stop)
                if failure or (mine and not others and any(key not in found for key in mine)):
                    # The inner scorer stopped, and would again.
                    break
        known = [found.get(key, (np.nan, False, 0)) for key in keys]
        values = np.array([value for value, _, _ in known], dtype=np.float32)
        cut = np.array([unread for _, unread, _ in known], dtype=np.bool_)
        passes = np.array([count for _, _, count in known], dtype=np.int32)
        if (passes[~np.isnan(values)] == 0).any():
            return PairScores(values, int(cut.sum()) + untold, windows, failure=failure)
        truncated = int(cut.sum())
        return PairScores(values, truncated, windows, cut=cut, passes=passes, failure=failure)

    def forked(self) -> None:
        """Begin anew in the child of a fork: what was under way is the parent's."""
        self._under_way: dict[bytes, Future[Known | None]] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Forget all in memory, close the file, and close the inner scorer if it can be."""
        with self._lock:
            self._kept.clear()
        if self._file is not None:
            self._file.close()
        close = getattr(self.scorer, "close", None)
        if close is not None:
            close()

    def _keys(self, query: str, passages: Sequence[str]) -> list[bytes]:
        for text in (query, *passages):
            if not isinstance(text, str):
                raise InputError(f"a text must be a str, not {type(text).__name__}")
        asked = query.encode("utf-8", "surrogatepass")
        # The length keeps apart what would be one string when joined.
        start = blake2b(self._prefix + b"%d\0" % len(asked) + asked, digest_size=16)
        keys = []
        for text in passages:
            each = start.copy()
            each.update(text.encode("utf-8", "surrogatepass"))
            keys.append(each.digest())
        return keys

    def _remembered(self, keys: list[bytes]) -> dict[bytes, Known]:
        found: dict[bytes, Known] = {}
        kept = self._kept
        with self._lock:
            for key in keys:
                known = kept.get(key)
                if known is not None:
                    found[key] = known
                    kept.move_to_end(key)
        if self._file is not None and len(found) < len(keys):
            stored = self._file.read([key for key in keys if key not in found])
            self._keep(stored)
            found |= stored
        return found

    def _keep(self, made: dict[bytes, Known]) -> None:
        with self._lock:
            self._kept.update(made)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)

    def _claim(
        self, keys: list[bytes], found: dict[bytes, Known]
    ) -> tuple[list[bytes], dict[bytes, Future[Known | None]]]:
        """Return the pairs that this call must compute, and those that another one computes."""
        mine, others = [], {}
        with self._lock:
            for key in keys:
                if (known := self._kept.get(key)) is not None:
                    found[key] = known
                elif (future := self._under_way.get(key)) is not None:
                    others[key] = future
                else:
                    # Nobody who is waited for is to wait for what runs aside.
                    if not ASIDE.get():
                        self._under_way[key] = Future()
                    mine.append(key)
        return mine, others

    def _compute(
        self, texts: dict[bytes, str], found: dict[bytes, Known]
    ) -> Generator[list[str], PairScores, PairScores]:
        made: dict[bytes, Known] = {}
        try:
            answer = yield list(texts.values())
            scores = checked_pairs(answer, rows=len(texts), name=self.scorer.name)
            each = _each(scores)
            cut, passes = each or (np.zeros(len(texts), dtype=np.bool_),) * 2
            read = {
                key: (float(value), bool(unread), int(count))
                for key, value, unread, count in zip(texts, scores.values, cut, passes, strict=True)
                if not np.isnan(value)
            }
            found |= read
            if each is None:
                return scores
            made = read
            self._keep(made)
            if self._file is not None and made:
                self._file.write(made)
            return scores
        finally:
            with self._lock:
                claimed = () if ASIDE.get() else texts
                waited = [(key, self._under_way.pop(key)) for key in claimed]
            for key, future in waited:
                future.set_result(made.get(key))


# All there are, for the child of a fork.
_CACHES: weakref.WeakSet[CachedScorer] = weakref.WeakSet()


def _forked() -> None:
    for each in list(_CACHES):
        each.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _each(scores: PairScores) -> tuple[NDArray[np.bool_], NDArray[np.int32]] | None:
    """What was truncated, and the windows of each passage; None where totals cannot tell."""
    read = ~np.isnan(scores.values)
    count = int(read.sum())
    cut, passes = scores.cut, scores.passes
    if cut is None and scores.truncated in (0, count):
        cut = read & bool(scores.truncated)
    if passes is None and (scores.windows <= count or count == 1):
        passes = (read * max(scores.windows if count == 1 else 1, 1)).astype(np.int32)
    return None if cut is None or passes is None else (cut, passes)


def _wait(
    others: dict[bytes, Future[Known | None]],
    found: dict[bytes, Known],
    stop: Callable[[], bool] | None,
) -> Generator[Future[Known | None], None, None]:
    for key, future in others.items():
        while not future.done() and not is_over(stop):
            yield future
        if future.done() and (known := future.result()) is not None:
            found[key] = known


async def _done(future: Future[Known | None], stop: Callable[[], bool] | None) -> None:
    """Wait for what another call makes, or until time is over."""
    waiting = asyncio.wrap_future(future)
    while not waiting.done() and not is_over(stop):
        await asyncio.wait([waiting], timeout=None if stop is None else WAIT)


def _close(walk: Walk, step: asyncio.Future[Any]) -> None:
    """End a walk whose caller is gone, once its step is done; asyncio logs errors nobody hears."""
    if not step.cancelled():
        step.exception()
    walk.close()


def _next(walk: Walk, got: PairScores | None) -> list[str] | Future[Known | None] | PairScores:
    """What a walk needs next, or its end."""
    try:
        return walk.send(got)
    except StopIteration as end:
        return cast(PairScores, end.value)


def _again(scorer: PairScorer, size: int, path: str | Path | None, file_size: int) -> CachedScorer:
    return CachedScorer(scorer, size=size, path=path, file_size=file_size)
