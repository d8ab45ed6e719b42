"""A process that serves: its socket, its end, and what it says on the way."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import ipaddress
import logging
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

import uvicorn
from opentelemetry.metrics import set_meter_provider

from stepwell.errors import ConfigurationError
from stepwell.server.app import create_app
from stepwell.server.metrics import Metrics
from stepwell.server.service import Service

log = logging.getLogger("stepwell.server")

FINISH = 30
"""Seconds that requests may still take when no new ones are accepted any more."""
IDLE = 75
"""Seconds that an idle connection is kept: longer than clients keep theirs, so that they close it
and never write to one that is just being closed here."""
SETTLE = 2.0
"""Seconds at most for the first request of a connection that was accepted last."""
HEAD = 30.0
"""Seconds for the first request's head; a connection without one is ended."""
BACKLOG = 2048
SO_ATTACH_FILTER = 26
BPF_RETURN = 0x06


def bound(host: str, port: int) -> socket.socket:
    """A socket at this address, not listening yet; port 0 takes any that is free.

    Raises:
        ConfigurationError: The address is taken, not this machine's, or none at all.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"--host {host!r} is no address: {error}") from error
    made = socket.socket(family, kind, proto)
    try:
        if os.name == "posix":  # elsewhere it would let two servers share the port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            message = f"port {port} of {host} is in use; choose another with --port"
        else:
            message = f"cannot listen at {host} port {port}: {error.strerror}"
        raise ConfigurationError(message) from error
    return made


def url_of(bound_to: socket.socket) -> str:
    """Where a client finds the socket."""
    host, port = bound_to.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(bound_to: socket.socket) -> bool:
    """Whether only this machine can reach the socket."""
    return ipaddress.ip_address(bound_to.getsockname()[0]).is_loopback


def run(service: Service, listening: socket.socket, *, drain: float) -> None:
    """Serve until a signal ends it.

    Args:
        service: Loaded once the server answers `/health`.
        listening: From `bound`.
        drain: Seconds between SIGTERM and the moment when no request is accepted any more.

    Raises:
        Exception: The model could not be loaded; what it raised.
        KeyboardInterrupt: It was ended by SIGINT.
    """
    metrics = Metrics()
    set_meter_provider(metrics.provider)
    config = uvicorn.Config(
        create_app(service, metrics=metrics),
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="on",
        backlog=BACKLOG,
        timeout_keep_alive=IDLE,
        timeout_graceful_shutdown=FINISH,
    )
    DrainingServer(config, service, drain=drain).run(sockets=[listening])
    if service.failure is not None:
        raise service.failure


class DrainingServer(uvicorn.Server):
    """A server that takes its leave on SIGTERM.

    It says on `/ready` that it is to be sent nothing more, goes on answering for a while, since
    whoever sends has yet to notice, then accepts nothing new and finishes what it has.
    """

    def __init__(self, config: uvicorn.Config, service: Service, *, drain: float) -> None:
        super().__init__(config)
        self._service, self._drain = service, drain
        self._ends: float | None = None
        self._was = "loading"
        self._since: WeakKeyDictionary[Any, float] = WeakKeyDictionary()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end; at once when told again, by SIGINT, or before there was anything to do."""
        if sig != signal.SIGTERM:
            super().handle_exit(sig, frame)
        elif self._service.state == "ready":
            self._service.draining = True
            self._ends = time.monotonic() + self._drain
        else:
            self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Every tenth of a second: whether it is over."""
        state = self._service.state
        if state != self._was:
            # Not where the signal is handled: that may be in the middle of another log line.
            log.info(state)
            self._was = state
        over = self._ends is not None and time.monotonic() >= self._ends
        if over or self._service.failure is not None:
            self.should_exit = True
        self._hang_up()
        return await super().on_tick(counter)

    def _hang_up(self) -> None:
        now = time.monotonic()
        for each in list(self.server_state.connections):
            if getattr(each, "cycle", True) is not None:
                self._since.pop(each, None)
            elif now - self._since.setdefault(each, now) > HEAD:
                each.transport.close()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing new and finish the rest, that which nobody has looked at yet included.

        Uvicorn alone would reset connections that wait to be accepted, and close those whose
        request is still on its way.
        """
        self._service.draining = True
        for listening in sockets or ():
            _refuse(listening)
        late = [each for listening in sockets or () for each in _waiting(listening)]
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        for each in late:
            await loop.connect_accepted_socket(self._protocol, sock=each)
        ends = time.monotonic() + SETTLE
        while self._silent() and time.monotonic() < ends:
            await asyncio.sleep(0.01)
        await super().shutdown(sockets)

    def _silent(self) -> bool:
        """Whether a connection has not asked yet: its request may be on the way."""
        # Where the protocol does not tell, the connection counts as one that has asked.
        return any(getattr(each, "cycle", True) is None for each in self.server_state.connections)

    def _protocol(self) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made


def _refuse(listening: socket.socket) -> None:
    """Let the system begin no connection any more, without ending those that it has accepted.

    Between the last `accept` and the socket's end there would be room for one, which would then be
    reset. Only Linux can do this, by a packet filter that drops all (`man 7 socket`).
    """
    if sys.platform == "linux":
        drop = ctypes.create_string_buffer(struct.pack("HBBI", BPF_RETURN, 0, 0, 0))
        program = struct.pack("HL", 1, ctypes.addressof(drop))
        listening.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def _waiting(listening: socket.socket) -> Iterator[socket.socket]:
    """Connections that the system has accepted and this process has not."""
    while True:
        try:
            yield listening.accept()[0]
        except OSError:
            return
