"""The line before one model: requests wait, by turns, and a thread reads batches of their pairs.

The thread is there while the line is. It takes requests in the order of arrival; one with more than
a turn's pairs goes back to the end, so that a short one does not wait for a long one, and what
arrives while a batch is read joins the next (continuous batching, as inference servers do it).
What runs aside (`stepwell.threads.ASIDE`) has a line of its own, which is served when the other is
empty.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from stepwell.errors import OverloadedError
from stepwell.models.protocols import PairScores
from stepwell.models.steps import Pair, Readings
from stepwell.stopping import Pace
from stepwell.threads import ASIDE

# Steps of one batch where nobody is pressed for time.
STEPS = 4
# Seconds between two looks at a `stop` that does not say when it will say yes.
LOOK = 0.005
# Pairs that a request may have read before the next one's turn.
TURN = 32


class Request:
    """One call: what it asked, and what is read so far."""

    def __init__(self, pairs: list[Pair], stop: Callable[[], bool] | None) -> None:
        self.pairs = pairs
        self.stop = stop
        self.aside = ASIDE.get()
        self.deadline: float | None = getattr(stop, "deadline", None)
        self.taken = self.read = self.turn = 0
        self.made = Readings.none(len(pairs))
        self.done: Future[Readings] = Future()
        self._lock = threading.Lock()

    @property
    def left(self) -> int:
        """Pairs that no batch has taken."""
        return len(self.pairs) - self.taken

    @property
    def patience(self) -> float | None:
        """Seconds to wait before asking again whether it is over; None for ever."""
        if self.deadline is not None:
            return max(self.deadline - time.monotonic(), 0.0)
        return None if self.stop is None else LOOK

    def is_over(self, ahead: float = 0.0) -> bool:
        """Whether its time is over, or would be in `ahead` seconds."""
        if self.deadline is not None:
            return time.monotonic() + ahead >= self.deadline
        return self.stop is not None and self.stop()

    def put(self, part: slice, made: Readings) -> None:
        """Take some pairs' readings; the last ones answer it."""
        with self._lock:
            self.made.put(part, made)
            self.read += part.stop - part.start
        if self.read == len(self.pairs):
            self.end()

    def end(self, error: BaseException | None = None) -> None:
        """Answer with what is read, or the error; nothing if it was answered or given up."""
        with self._lock:
            if self.done.done() or not self.done.set_running_or_notify_cancel():
                return
            made = self.made.copy()
        if error is not None:
            self.done.set_exception(error)
        else:
            self.done.set_result(made)

    def scores(self) -> PairScores:
        """The answer, once there is one."""
        made = self.done.result()
        if self.read < len(self.pairs) and (end := getattr(self.stop, "end", None)) is not None:
            end()
        return made.scores()


class Queue:
    """The line before one model, and the thread that reads it while there is one.

    Args:
        read: Scores pairs of any queries.
        step: Pairs that keep the machine busy.
        limit: Pairs that may wait, in each of the two lines.
        wait: Seconds that fewer pairs than a step wait for company.
    """

    def __init__(
        self, read: Callable[[list[Pair]], Readings], *, step: int, limit: int, wait: float
    ) -> None:
        self._read, self._step, self._limit, self._wait = read, step, limit, wait
        self._pace = Pace()
        self.reset()
        _QUEUES.add(self)

    def reset(self) -> None:
        """Begin anew, as the child of a fork must: the thread is the parent's."""
        self._lock = threading.Lock()
        # The first is served before the second.
        self._lines: tuple[deque[Request], deque[Request]] = (deque(), deque())
        self._waiting = [0, 0]
        self._busy = self._warm = False

    def submit(self, pairs: list[Pair], stop: Callable[[], bool] | None) -> Request:
        """Stand in line.

        Raises:
            OverloadedError: The line is full. A request longer than the whole line is let in when
                nobody waits.
        """
        request = Request(pairs, stop)
        with self._lock:
            waiting = self._waiting[request.aside]
            if waiting and waiting + len(pairs) > self._limit:
                raise OverloadedError(
                    f"{waiting} pairs wait for the model and {self._limit} may; ask again "
                    "later, read fewer candidates (depth=), or add machines"
                )
            self._lines[request.aside].append(request)
            self._waiting[request.aside] += len(pairs)
            idle, self._busy = not self._busy, True
        request.done.add_done_callback(lambda _: self._leave(request))
        if idle:
            try:
                threading.Thread(target=self._work, name="stepwell-shared").start()
            except BaseException as error:  # no more threads: nobody would ever read the line
                self._fail(error)
                raise
        return request

    def _leave(self, request: Request) -> None:
        with self._lock:
            line = self._lines[request.aside]
            if request in line:
                line.remove(request)
                self._waiting[request.aside] -= request.left

    def _fail(self, error: BaseException) -> None:
        """Answer all who wait with the error, and let the next one begin anew."""
        with self._lock:
            left = [request for line in self._lines for request in line]
            for line in self._lines:
                line.clear()
            self._waiting = [0, 0]
            self._busy = False
        for request in left:
            request.end(error)

    def _work(self) -> None:
        try:
            if sum(self._waiting) < self._step:
                time.sleep(self._wait)
            while batch := self._take():
                self._serve(batch)
        except BaseException as error:
            self._fail(error)
            raise

    def _take(self) -> list[tuple[Request, slice]]:
        """The next batch; small where anybody is pressed for time, empty when nobody waits."""
        batch: list[tuple[Request, slice]] = []
        room = self._step * STEPS
        while room > 0:
            with self._lock:
                line = self._lines[0] or self._lines[1]
                if not line:
                    self._busy = bool(batch)
                    break
                aside = line is self._lines[1]
                if aside and batch and not batch[0][0].aside:
                    break
                # Whoever comes next and is waited for, waits for no more than a step of the others.
                if aside or any(each.stop is not None for each in line):
                    room = min(room, self._step - _count(batch))
                if room <= 0:
                    break
                request = line.popleft()
                self._waiting[request.aside] -= request.left
            if self._goes_on(request):
                size = min(room, request.left, TURN - request.turn)
                part = slice(request.taken, request.taken + size)
                batch.append((request, part))
                request.taken = part.stop
                request.turn += size
                room -= size
            self._back(request)
        return batch

    def _goes_on(self, request: Request) -> bool:
        ahead = self._pace.seconds
        if not request.taken:
            # Who asks is answered in time whatever the batch does, and without it not at all: after
            # a few batches that stalled the first one is worth what it takes as a rule.
            ahead = min(ahead, self._pace.usual)
        try:
            over = request.is_over(ahead)
        except Exception as error:  # the caller's own `stop`
            request.end(error)
            return False
        if over:
            self._pace.refused()
            request.end()
        return not over

    def _back(self, request: Request) -> None:
        with self._lock:
            if not request.left or request.done.done():
                return
            self._waiting[request.aside] += request.left
            line = self._lines[request.aside]
            if request.turn < TURN:
                line.appendleft(request)
            else:
                request.turn = 0
                line.append(request)

    def _serve(self, batch: list[tuple[Request, slice]]) -> None:
        began = time.monotonic()
        try:
            made = self._read([pair for request, part in batch for pair in request.pairs[part]])
        except Exception as error:
            if len(batch) == 1:
                batch[0][0].end(error)
            else:  # one of them may have spoilt it
                for each in batch:
                    self._serve([each])
            return
        except BaseException as error:  # such as a panic in a library's native code
            for request, _ in batch:
                request.end(error)
            return
        if self._warm:
            steps = -(-_count(batch) // self._step)
            self._pace.heard((time.monotonic() - began) / steps)
        self._warm = True  # the first batch loaded the model, which says nothing of the next
        at = 0
        for request, part in batch:
            size = part.stop - part.start
            request.put(part, made.part(slice(at, at + size)))
            at += size


# All there are, for the child of a fork.
_QUEUES: weakref.WeakSet[Queue] = weakref.WeakSet()


def _reset() -> None:
    for queue in list(_QUEUES):
        queue.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset)


def _count(batch: list[tuple[Request, slice]]) -> int:
    return sum(part.stop - part.start for _, part in batch)
