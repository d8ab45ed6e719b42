"""One soak from its first request to its report."""

from __future__ import annotations

import gc
import logging
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import stepwell as sw
from tests.soak.judge import Judge
from tests.soak.processes import Chaos, Remote, serve
from tests.soak.traffic import Awaiting, Caller, OverHttp, Threaded
from tests.soak.watch import ALLOWED, Watch
from tests.soak.world import made_corpus, made_world

WARM = 0.25
"""Of the time: pools, caches and code are not yet what they will be; five minutes at most."""


@dataclass
class Report:
    """What a soak has found.

    Attributes:
        counts: By what happened.
        faults: One sentence each; empty if all is well.
        lines: What was said.
    """

    counts: Counter[str]
    faults: list[str]
    lines: list[str] = field(default_factory=list)


class Warnings(logging.Handler):
    """Counts the warnings of degraded answers, and keeps them off the screen."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.heard += record.getMessage().startswith("a degraded answer")


def soak(
    seconds: float,
    *,
    seed: int,
    pause: float,
    say: Callable[[str], object],
    allowed: float = ALLOWED,
) -> Report:
    """Run for so many seconds.

    Args:
        seconds: Of traffic.
        seed: Of all that is drawn.
        pause: Seconds between two requests of a caller, on average.
        say: Told a line a minute and the report.
        allowed: Growth that is no leak, as a share.
    """
    with ExitStack() as stack:
        warnings = stack.enter_context(_warned())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        documents, queries = made_corpus(seed, folder / "corpus")
        remote = Remote(f"{seed} remote")
        remote.begin()
        stack.callback(remote.end)
        url, pid = stack.enter_context(serve(folder / "corpus"))
        corpus = stack.enter_context(sw.Corpus.open(folder / "corpus"))
        world = made_world(seed, corpus, documents, queries, remote.url)
        judge = Judge(world)
        say(f"seed {seed}: {len(documents)} documents, {len(queries)} questions")
        callers: list[Caller] = [
            *(Threaded(judge, f"{seed} thread {at}", pause=pause) for at in range(3)),
            *(Awaiting(judge, f"{seed} loop {at}", pause=pause) for at in range(2)),
            OverHttp(judge, f"{seed} http", url, pause=pause),
        ]
        chaos = Chaos(remote, world.closable, f"{seed} chaos", pause=min(10.0, seconds / 8))
        watches = {"tests.soak": Watch(), "stepwell serve": Watch(pid)}
        for each in (*callers, chaos):
            each.start()
        _wait(seconds, judge, callers, chaos, watches, say)
        for each in (*callers, chaos):
            each.over.set()
        for each in (*callers, chaos):
            each.join(90)
            if each.is_alive():
                judge.fault("lost", f"{each.name} has not come back")
        _balance(judge, warnings.heard)
        return _report(judge, chaos, watches, min(WARM * seconds, 300.0), allowed, say)


@contextmanager
def _warned() -> Iterator[Warnings]:
    log, handler = logging.getLogger("stepwell"), Warnings()
    before = log.propagate
    log.addHandler(handler)
    log.propagate = False
    try:
        yield handler
    finally:
        log.removeHandler(handler)
        log.propagate = before


def _wait(
    seconds: float,
    judge: Judge,
    callers: list[Caller],
    chaos: Chaos,
    watches: dict[str, Watch],
    say: Callable[[str], object],
) -> None:
    began = told = time.monotonic()
    say("minute   asked degraded raised cancelled faults kills closed   MB thr files | serve MB")
    while (now := time.monotonic()) < began + seconds:
        time.sleep(min(1.0, began + seconds - now))
        for caller in callers:
            if caller.lost:
                judge.fault("lost", f"{caller.name} waits for more than a minute")
        if round(now - began) % 15 == 0:
            gc.collect()  # what is only waiting for the collector is no leak
        here, there = (watch.look() for watch in watches.values())
        if now - told >= 60 or now + 1 >= began + seconds:
            told, counts = now, judge.counts
            faults = sum(n for what, n in counts.items() if what.startswith("fault"))
            say(
                f"{(now - began) / 60:6.1f} {counts['asked']:7d} {counts['degraded']:8d} "
                f"{counts['raised']:6d} {counts['cancelled']:9d} {faults:6d} "
                f"{chaos.remote.kills:5d} {chaos.reloads:6d} {here.rss:4.0f} {here.threads:3d} "
                f"{here.files:5d} | {there.rss:4.0f}"
            )


def _balance(judge: Judge, warned: int) -> None:
    """Every request has one outcome, each failure was told, each degraded answer warned of."""
    counts = judge.counts
    ended = counts["answered"] + counts["raised"] + counts["cancelled"]
    if counts["asked"] != ended:
        judge.fault("lost", f"{counts['asked']} were asked and {ended} ended")
    told = counts["failed on purpose, told"] + counts["failed on purpose, raised"]
    stages = [setup.flaky for setup in judge.world.setups.values() if setup.flaky is not None]
    ordered = sum(stage.raised for stage in stages)
    degraded = counts["degraded"] - counts["degraded: served"]
    # A cancelled request may have met a failure, or been answered, and nobody was told.
    if not degraded <= warned <= degraded + counts["cancelled"]:
        judge.fault("mark", f"{degraded} answers were degraded and {warned} warned of")
    if not ordered - counts["cancelled"] <= told <= ordered:
        judge.fault("mark", f"{ordered} failures were ordered and {told} were told")


def _report(
    judge: Judge,
    chaos: Chaos,
    watches: dict[str, Watch],
    warm: float,
    allowed: float,
    say: Callable[[str], object],
) -> Report:
    lines = [f"{what}: {n}" for what, n in sorted(judge.counts.items())]
    lines.append(f"kills of the remote: {chaos.remote.kills}; models closed: {chaos.reloads}")
    for name, watch in watches.items():
        for what, (first, last, slope) in watch.growth(warm).items():
            lines.append(f"{name}, {what}: {first:.1f} to {last:.1f}, {slope:+.3f} a minute")
        for leak in watch.leaks(warm, allowed):
            judge.fault("leak", f"{name}, {leak}")
    lines += [f"FAULT {fault}" for fault in judge.faults]
    for line in lines:
        say(line)
    return Report(judge.counts, judge.faults, lines)
