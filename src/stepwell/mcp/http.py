"""The server over streamable HTTP, behind a key if there is one."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from mcp.server import MCPServer
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from stepwell.remote.secret import Secret


def http_app(server: MCPServer[Any], /, *, host: str, key: Secret | None = None) -> ASGIApp:
    """The ASGI application; tools are at `/mcp`.

    Sessions are not kept: every request stands alone, so any number of processes may serve.

    Args:
        server: From `create_server`.
        host: Where it listens. On a loopback address, requests that name another host are refused,
            so that a page in a browser cannot reach it by a name of its own.
        key: What callers must send as `Authorization: Bearer KEY`.
    """
    app = server.streamable_http_app(host=host, stateless_http=True)
    app.add_exception_handler(404, _elsewhere)
    return _Door(app, key)


def _elsewhere(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": "no such path; the tools are at /mcp"}, 404)


class _Door:
    """Lets through who has the key, if there is one; `/mcp/` is `/mcp`, without a redirect."""

    def __init__(self, app: ASGIApp, key: Secret | None) -> None:
        self.app, self.key = app, key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app
        if scope["type"] == "http" and not self._knows(scope):
            told = {"error": "a bearer key is needed"}
            app = JSONResponse(told, 401, {"WWW-Authenticate": "Bearer"})
        elif scope["type"] == "http" and scope["path"].endswith("/mcp/"):
            scope = {**scope, "path": scope["path"][:-1]}
        await app(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        if self.key is None:
            return True
        sent = [value for name, value in scope["headers"] if name == b"authorization"]
        kind, _, key = (sent[0] if len(sent) == 1 else b"").partition(b" ")
        same = hmac.compare_digest(key.strip(), self.key.reveal().encode())
        return kind.lower() == b"bearer" and same
