"""`stepwell mcp`: a corpus as a tool of an agent."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stepwell.cli.terminal import CascadeFile, Debug, Encoder, encoder_named, reported, say
from stepwell.errors import import_extra

if TYPE_CHECKING:
    from mcp.server import MCPServer

    from stepwell.remote.secret import Secret

KEY = "STEPWELL_MCP_KEY"
LEAST = 10
"""What the last stage reads even when fewer are asked for, so that the first ones stay the same."""
FINISH = 5
"""Seconds that calls may still take after a signal."""


def mcp(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The corpus.")],
    http: Annotated[
        bool, typer.Option("--http", help="Streamable HTTP instead of standard input and output.")
    ] = False,
    host: Annotated[str, typer.Option(help="Address to listen at, with --http.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port, with --http; 0 takes any that is free.")
    ] = 8000,
    key_file: Annotated[
        Path | None,
        typer.Option(help=f"File with the key that callers must send; else ${KEY}, if it is set."),
    ] = None,
    name: Annotated[str, typer.Option(help="What clients show.")] = "stepwell",
    about: Annotated[
        str, typer.Option(help="What the documents are about, so that an agent knows when to ask.")
    ] = "",
    k: Annotated[int, typer.Option("--k", "-k", min=1, max=100, help="Passages by default.")] = 5,
    preset_name: Annotated[
        str | None, typer.Option("--preset", help="The cascade, as in `search`.")
    ] = None,
    cascade_file: CascadeFile = None,
    deadline: Annotated[float | None, typer.Option(min=0.001, help="Seconds for a search.")] = None,
    encoder: Encoder = "embedded",
    debug: Debug = False,
) -> None:
    """Give agents the search of a corpus, by the Model Context Protocol."""
    with reported(debug=debug):
        import_extra("mcp", extra="mcp")
        from stepwell.cli.choosing import chosen_cascade
        from stepwell.cli.keys import key_from
        from stepwell.corpus import Corpus
        from stepwell.mcp.tools import create_server, fields_of

        key = key_from(key_file, KEY) if http else None
        _log_to_stderr()
        with Corpus.open(path, encoder=encoder_named(encoder), create=False) as corpus:
            for repair in corpus.repaired:
                say(f"repaired: {repair}")
            cascade = chosen_cascade(
                corpus, preset_name=preset_name, file=cascade_file, k=max(k, LEAST)
            )
            server = create_server(
                cascade,
                corpus,
                name=name,
                about=about,
                fields=fields_of(corpus),
                k=k,
                deadline=deadline,
            )
            if http:
                _serve(server, host, port, key, what=str(path))
            else:
                server.run("stdio")


def _serve(server: MCPServer[Any], host: str, port: int, key: Secret | None, *, what: str) -> None:
    import uvicorn

    from stepwell.mcp.http import http_app

    app = http_app(server, host=host, key=key)
    # Its own log lines say what ours do, and those of requests go to standard output.
    config = uvicorn.Config(
        app, host, port, log_config=None, access_log=False, timeout_graceful_shutdown=FINISH
    )
    listening = config.bind_socket()
    listening.listen()  # who reads the line below may call at once, and waits until we are ready
    shown, bound = listening.getsockname()[:2]
    if key is None and host not in ("127.0.0.1", "localhost", "::1"):
        say(f"anybody who reaches {host} can ask: set a key (--key-file)", style="yellow")
    where = f"[{shown}]" if ":" in shown else shown
    say(f"stepwell mcp serves {what} at http://{where}:{bound}/mcp")
    uvicorn.Server(config).run(sockets=[listening])


def _log_to_stderr() -> None:
    form = "%(asctime)s %(name)s %(levelname)s %(message)s"
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format=form)
