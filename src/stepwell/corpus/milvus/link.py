"""The connection to one collection of Milvus: how long a call may take, and its errors."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit
from weakref import WeakSet

from stepwell.errors import ConfigurationError, CorpusError, import_extra
from stepwell.remote.secret import Secret

TOKEN = "MILVUS_TOKEN"  # the variable, not the token
_SCHEMES = ("http://", "https://")
_STATUSES = ("UNAUTHENTICATED", "PERMISSION_DENIED", "DEADLINE_EXCEEDED", "UNAVAILABLE")
_NOT_LOADED = 101

# Clients by their address, none that was dropped without being closed.
_opened: defaultdict[str, WeakSet[Any]] = defaultdict(WeakSet)
_opening = threading.Lock()


@dataclass(frozen=True, slots=True)
class Address:
    """Where a Milvus is.

    Attributes:
        uri: A URL without credentials, or the path of a file.
        token: "user:password" or an API key.
        database: Its name on a server; the server's default if empty.
    """

    uri: str
    token: Secret | None
    database: str

    @property
    def is_file(self) -> bool:
        """Whether it is a file of Milvus Lite."""
        return not self.uri.startswith(_SCHEMES)


def names_milvus(uri: object) -> bool:
    """Whether this is the URL of a server, or the name of a file of Milvus Lite."""
    text = str(uri)
    return text.startswith(_SCHEMES) or text.endswith(".db")


def address_of(uri: str | Path, *, token: str | None, database: str) -> Address:
    """Where to connect; the token from the argument, the URI or the environment, in this order.

    Raises:
        ConfigurationError: It is neither a URL nor the name of a file that ends in .db.
    """
    text = str(uri)
    if not names_milvus(text):
        # Not quoted: what is no URL may still hold a password.
        raise ConfigurationError(
            "the uri of a Milvus is http://host:port, https://host:port, or a file's path that "
            "ends in .db"
        )
    if not text.startswith(_SCHEMES):
        return Address(str(Path(text).absolute()), None, "")
    split = urlsplit(text)
    if split.username and token is None:
        token = ":".join(unquote(part) for part in (split.username, split.password or "") if part)
    token = token or os.environ.get(TOKEN)
    bare = urlunsplit((split.scheme, split.netloc.rpartition("@")[2], split.path, "", ""))
    return Address(bare, Secret(token, what="the token") if token else None, database)


# A server that nobody asks is not pinged: Lite's takes a few pings for an attack, and hangs up.
_QUIET = {"grpc.keepalive_time_ms": 300_000, "grpc.keepalive_permit_without_calls": False}


@dataclass(frozen=True, slots=True, eq=False)
class Link:
    """One collection, connected.

    Attributes:
        address: Of its Milvus.
        collection: Its name.
        client: pymilvus's.
        timeout: Seconds that a call may take.
        deadline: `time.monotonic()` seconds at which every call ends; None for no such.
    """

    address: Address
    collection: str
    client: Any
    timeout: float
    deadline: float | None = None

    @classmethod
    def open(cls, address: Address, collection: str, *, timeout: float) -> Link:
        """Connect.

        Raises:
            CorpusError: There is no answer, or the token is refused.
            MissingExtraError: pymilvus, or milvus-lite for a file, is not installed.
        """
        pymilvus = import_extra("pymilvus", extra="milvus")
        if address.is_file:
            import_extra("milvus_lite", extra="milvus")
            if not Path(address.uri).parent.is_dir():
                raise CorpusError(f"{address.uri!r} is in a folder that does not exist; make it")
        token = address.token.reveal() if address.token else ""
        try:
            with _opening:
                client = pymilvus.MilvusClient(
                    address.uri,
                    token=token,
                    db_name=address.database,
                    timeout=timeout,
                    grpc_options=_QUIET,
                )
                _opened[address.uri].add(client)
        except Exception as error:
            raise refused(address, error, timeout) from error
        return cls(address, collection, client, timeout)

    @property
    def lite(self) -> bool:
        """Whether Milvus Lite answers, from a file or as a server."""
        return "lite" in str(self.call("get_server_version", of_collection=False))

    def until(self, deadline: float) -> Link:
        """The same, each call ended by then."""
        return replace(self, deadline=deadline)

    def call(
        self, method: str, *, of_collection: bool = True, timeout: float | None = None, **given: Any
    ) -> Any:
        """Call a method of the client on the collection.

        Args:
            method: Its name.
            of_collection: Whether it takes the collection's name.
            timeout: Other seconds than the usual.
            given: Its other arguments.

        Raises:
            CorpusError: Milvus does not answer, not in time, or refuses.
        """
        seconds = self._seconds(timeout or self.timeout)
        if of_collection:
            given["collection_name"] = self.collection
        try:
            return getattr(self.client, method)(timeout=seconds, **given)
        except Exception as error:
            raise refused(self.address, error, seconds) from error

    def close(self) -> None:
        """Let go of the connection; the last one to a file ends the Milvus Lite behind it.

        Closed again, nothing happens.
        """
        with _opening:
            there = _opened[self.address.uri]
            if self.client not in there:
                return
            there.remove(self.client)
            self.client.close()
            if self.address.is_file and not there:
                lite = import_extra("milvus_lite.server_manager", extra="milvus")
                lite.server_manager_instance.release_server(self.address.uri)

    def _seconds(self, most: float) -> float:
        if self.deadline is None:
            return most
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise CorpusError(
                f"Milvus at {self.address.uri!r} was not asked: the query's deadline was over"
            )
        return min(most, left)


def refused(address: Address, error: Exception, seconds: float) -> CorpusError:
    """What became of a call, in our words: what the server says may quote what it was asked."""
    where = f"Milvus at {address.uri!r}"
    kind = _kind(error)
    if address.is_file and "Open local milvus failed" in str(error):
        return CorpusError(
            f"{where} cannot be opened: another process holds it, or it is no file of Milvus Lite; "
            "one process at a time opens a file, a server serves many"
        )
    if kind in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return CorpusError(f"{where} refused the token; pass token= or set {TOKEN}")
    if kind == "DEADLINE_EXCEEDED":
        return CorpusError(
            f"{where} did not answer within {seconds:.3g} s; raise the deadline or timeout="
        )
    if kind == "UNAVAILABLE":
        return CorpusError(f"{where} cannot be reached; start it, or mend the address")
    if getattr(error, "code", None) == _NOT_LOADED:
        return CorpusError(f"{where} has the collection not in memory; open the corpus again")
    return CorpusError(f"{where} failed ({kind}); its log, and the cause of this error, say more")


def _kind(error: BaseException) -> str:
    """The status of gRPC where there is one, else the class and code of pymilvus."""
    within: BaseException | None = error
    while within is not None:
        code = getattr(within, "code", None)
        status = getattr(code() if callable(code) else code, "name", "")
        if status in _STATUSES:
            return str(status)
        # pymilvus raises errors from themselves.
        within = None if within.__cause__ is within else within.__cause__
    text = str(error)
    if "auth check failure" in text:
        return "UNAUTHENTICATED"
    if "Fail connecting to server" in text:
        return "UNAVAILABLE"
    code = getattr(error, "code", "")
    return f"{type(error).__name__} {code if isinstance(code, int) else ''}".strip()
