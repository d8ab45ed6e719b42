"""The server over streamable HTTP, behind a key if there is one."""

from __future__ import annotations

import hmac
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcp.server import MCPServer
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
    app: ASGIApp = server.streamable_http_app(host=host, stateless_http=True)
    return app if key is None else _Keyed(app, key)


class _Keyed:
    """Lets through who has the key."""

    def __init__(self, app: ASGIApp, key: Secret) -> None:
        self.app, self.key = app, key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._knows(scope):
            await self.app(scope, receive, send)
            return
        body = json.dumps({"error": "a bearer key is needed"}).encode()
        headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _knows(self, scope: Scope) -> bool:
        sent = [value for name, value in scope["headers"] if name == b"authorization"]
        kind, _, key = (sent[0] if len(sent) == 1 else b"").partition(b" ")
        same = hmac.compare_digest(key.strip(), self.key.reveal().encode())
        return kind.lower() == b"bearer" and same
