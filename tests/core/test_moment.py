import asyncio
import threading

from stepwell import Cascade, stage
from stepwell.documents import Document
from stepwell.moment import one_moment, present


class Kept:
    closed = 0

    def close(self) -> None:
        self.closed += 1


def test_a_state_is_kept_once_and_closed_at_the_end():
    """Every source keeps one state for a moment; inner moments are the outer one."""
    one, other = object(), object()
    with one_moment() as moment:
        first = moment.of(one, Kept)
        with one_moment() as inner:
            assert inner is moment is present()
            assert inner.of(one, Kept) is first
        assert moment.of(other, Kept) is not first
        assert first.closed == 0
    assert first.closed == 1
    assert present() is None
    assert moment.of(one, Kept) is None


def test_what_outlives_a_moment_begins_its_own():
    """A task that a search began and nobody awaits does not read a state that is over."""

    async def later(go_on):
        await go_on.wait()
        with one_moment() as own:
            return own.of("source", Kept)

    async def run():
        go_on = asyncio.Event()
        with one_moment() as moment:
            task = asyncio.create_task(later(go_on))
            state = moment.of("source", Kept)
            await asyncio.sleep(0)
        go_on.set()
        assert state.closed == 1
        assert await task is not state

    asyncio.run(run())


def test_threads_and_searches_have_moments_of_their_own():
    """A moment is of the code that runs in it, and of every way of asking a cascade."""
    seen = []

    @stage
    def look(candidates):
        seen.append(present())
        return candidates

    cascade = Cascade([look])
    brought = [Document("a", "x")]
    cascade.rank("x", brought)
    asyncio.run(cascade.arank("x", brought))
    with one_moment() as outer:
        cascade.rank("x", brought)
        thread = threading.Thread(target=cascade.rank, args=("x", brought))
        thread.start()
        thread.join()
    assert None not in seen
    assert [moment is outer for moment in seen] == [False, False, True, False]
    assert all(moment.over for moment in seen)
