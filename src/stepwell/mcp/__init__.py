"""A cascade as tools of the Model Context Protocol, so that agents search as programs do.

`stepwell mcp PATH` on the command line; `create_server` for a server of one's own.
"""

from __future__ import annotations

from stepwell.mcp.http import http_app
from stepwell.mcp.tools import Found, Passage, create_server

__all__ = ["Found", "Passage", "create_server", "http_app"]
