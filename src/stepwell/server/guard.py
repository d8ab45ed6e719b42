"""What every request passes before it is answered: key, room, size, and a caller who waits."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from stepwell.remote.secret import Secret
from stepwell.server.problems import RETRY, Problem, answer_to
from stepwell.server.service import Service

OPEN = frozenset({"/", "/health", "/ready"})
"""Paths that need no key: what asks there has none, or asks for it (the page)."""
SENDING = 30.0
"""Seconds that a body may take to arrive."""
GONE = 499
"""The status of an answer that nobody waits for, as proxies log it."""


class GuardedRoute(APIRoute):
    """A route of the server; whatever goes wrong in it becomes a typed answer."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of a request."""
        handler = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            service: Service = request.app.state.service
            asked = Bounded(request.scope, request.receive)
            asked.most = service.limits.body
            try:
                response = await _answered(asked, handler, service)
            except asyncio.CancelledError:
                message = "the server ended before it could answer; ask another"
                response = answer_to(Problem(503, "ending", message, headers=RETRY), self.path)
            except ClientDisconnect:
                response = Response(status_code=GONE)
            except Exception as error:
                response = answer_to(error, self.path)
            if service.draining:
                # The caller's next request should find another server.
                response.headers["Connection"] = "close"
            return response

        return guarded


async def _answered(
    request: Bounded, handler: Callable[[Request], Awaitable[Response]], service: Service
) -> Response:
    if request.url.path not in OPEN:
        _check_key(request, service.key)
    if request.method != "POST":
        return await handler(request)
    # Read before there is room: who sends slowly takes no place from those who have sent.
    await request.body()
    with service.admitted():
        return await _unless_gone(request, handler)


def _check_key(request: Request, key: Secret | None) -> None:
    if key is None:
        return
    kind, _, sent = request.headers.get("authorization", "").partition(" ")
    # Bytes, since text that is not ASCII cannot be compared in constant time.
    same = hmac.compare_digest(sent.strip().encode(), key.reveal().encode())
    if kind.lower() != "bearer" or not same:
        message = "send the key as: Authorization: Bearer KEY"
        raise Problem(401, "unauthorized", message, headers={"WWW-Authenticate": "Bearer"})


class Bounded(Request):
    """A request whose body is read up to a size, within a time.

    Attributes:
        most: Bytes.
    """

    most: int

    async def body(self) -> bytes:
        """The whole body.

        Raises:
            Problem: It is too large, or too slow.
        """
        if not hasattr(self, "_body"):
            told = self.headers.get("content-length", "")
            if told.isdecimal() and int(told) > self.most:
                raise self._too_large()
            try:
                async with asyncio.timeout(SENDING):
                    self._body = await self._read()
            except TimeoutError:
                raise Problem(408, "slow", f"the body took more than {SENDING:g} s") from None
        return self._body

    async def _read(self) -> bytes:
        parts, size = [], 0
        async for part in self.stream():
            size += len(part)
            if size > self.most:
                raise self._too_large()
            parts.append(part)
        return b"".join(parts)

    def _too_large(self) -> Problem:
        message = f"the body is too large; this server takes {self.most} bytes at most"
        return Problem(413, "too_large", message)


async def _unless_gone(
    request: Request, handler: Callable[[Request], Awaitable[Response]]
) -> Response:
    """The answer; the work is cancelled when the caller hangs up."""
    work = asyncio.ensure_future(handler(request))
    gone = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        return Response(status_code=GONE)
    finally:
        work.cancel()
        gone.cancel()
        await asyncio.wait({work, gone})
