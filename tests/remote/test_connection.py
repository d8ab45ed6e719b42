from __future__ import annotations

import asyncio
import gc

import anyio
import pytest

from stepwell.remote.connection import within


class Careful:
    """Work like that of an HTTP client, which tidies up whatever happens."""

    def __init__(self, ends: Exception | None = None) -> None:
        self.tidied, self.ends = False, ends

    async def work(self) -> str:
        try:
            await asyncio.sleep(60 if self.ends is None else 0)
            if self.ends is not None:
                raise self.ends
            return "done"
        finally:
            with anyio.CancelScope(shield=True):
                await asyncio.sleep(0.01)
                self.tidied = True


async def test_what_is_late_still_tidies_up() -> None:
    """When its time is over, work ends with a TimeoutError after what it shields is done."""
    careful = Careful()
    with pytest.raises(TimeoutError):
        await within(0.01, careful.work())
    assert careful.tidied


async def test_what_nobody_waits_for_still_tidies_up() -> None:
    """When its caller is cancelled, even twice, work ends after what it shields is done."""
    careful = Careful()
    waiting = asyncio.create_task(within(60, careful.work()))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.sleep(0.05)
    assert careful.tidied


async def test_a_result_or_an_error_comes_through() -> None:
    """Work that ends in time gives its result, or raises its own error."""

    async def quick() -> str:
        return "done"

    assert await within(60, quick()) == "done"
    with pytest.raises(OSError, match="refused"):
        await within(60, Careful(OSError("refused")).work())


def test_an_error_after_a_cancellation_is_not_complained_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Work that fails after its caller was cancelled leaves no complaint of the event loop."""

    async def stubborn() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise OSError("refused")

    async def cancelled() -> None:
        waiting = asyncio.create_task(within(60, stubborn()))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(cancelled())
    gc.collect()
    assert not caplog.records
