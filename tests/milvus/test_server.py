"""A Milvus behind a URL: one that is up, goes down, stands still, or refuses the token."""

from __future__ import annotations

import asyncio
import base64
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from stepwell import (
    BM25,
    BiEncoder,
    Cascade,
    ConfigurationError,
    CorpusError,
    Dense,
    Document,
    Hybrid,
    MilvusCorpus,
)
from tests.corpus.encoders import BagOfWords

TOKEN = "root:correct-horse-battery"
DOCUMENTS = [Document(f"d{n}", f"rotate log {n}", {"n": n}) for n in range(20)]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


class Server:
    """Milvus Lite as a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = [Path(sys.executable).with_name("milvus-lite"), "server", "--data-dir"]
        self.process = subprocess.Popen(
            [*command, self.folder, "--port", str(self.port), "--host", "127.0.0.1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while True:
            assert self.process.poll() is None
            with socket.socket() as asking:
                if asking.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server"))
    yield running
    running.stop()


def test_a_url_works_as_a_file_does(server: Server) -> None:
    """Over HTTP a second process' worth of clients sees what the first wrote, by every stage."""
    with MilvusCorpus(server.uri, encoder=BagOfWords()) as corpus:
        assert corpus.add(DOCUMENTS) == 20
        assert len(corpus) == 20
        with MilvusCorpus(server.uri, encoder=BagOfWords(), consistency="strong") as other:
            assert list(other) == DOCUMENTS
            cascade = Cascade([Hybrid([BM25(other), Dense(other)]), BiEncoder(other, k=5)])
            found = cascade.search("rotate log 7", k=3, filter={"n": {"$lt": 9}})
        assert found.hits[0].document == DOCUMENTS[7]
        assert not found.degraded
        assert {hit.document.metadata["n"] < 9 for hit in found.hits} == {True}


async def test_awaited_queries_run_beside_each_other(server: Server) -> None:
    """Twenty awaited searches at once are answered as one by one, and the loop stays free."""
    with MilvusCorpus(server.uri, collection="awaited", encoder=BagOfWords()) as corpus:
        corpus.add(DOCUMENTS)
        cascade = Cascade([BM25(corpus), BiEncoder(corpus, k=5)])
        queries = [f"log {n}" for n in range(20)]
        found = await asyncio.gather(*(cascade.asearch(query, k=1) for query in queries))
        assert [each.hits[0].document.id for each in found] == [f"d{n}" for n in range(20)]


def test_a_server_that_went_away_is_named_and_comes_back(tmp_path: Path) -> None:
    """While it is down the error names it and says what to do; opened again it answers."""
    server = Server(tmp_path / "data")
    try:
        with MilvusCorpus(server.uri, encoder=BagOfWords(), timeout=3) as corpus:
            corpus.add(DOCUMENTS)
            server.stop()
            with pytest.raises(CorpusError, match=rf"{server.uri}.*(start it|raise the)"):
                corpus.search_text("log", 3)
            with pytest.raises(CorpusError, match=server.uri):
                corpus.upsert(DOCUMENTS[:1])
        server.start()
        with opened_again(server.uri) as corpus:
            assert list(corpus) == DOCUMENTS
            assert len(corpus.search_text("log", 3)) == 3
    finally:
        server.stop()


def opened_again(uri: str) -> MilvusCorpus:
    """The corpus, once gRPC has tried the address anew."""
    for _ in range(60):
        try:
            return MilvusCorpus(uri, encoder=BagOfWords(), timeout=3)
        except CorpusError:
            time.sleep(0.25)
    raise AssertionError("the server did not come back")


def test_a_server_that_stands_still_does_not_hold_a_query(tmp_path: Path) -> None:
    """A query with a deadline ends though a call may take ten minutes and nothing answers."""
    server = Server(tmp_path / "data")
    try:
        corpus = MilvusCorpus(server.uri, encoder=BagOfWords(), timeout=600)
        corpus.add(DOCUMENTS)
        cascade = Cascade([BM25(corpus), BiEncoder(corpus)])
        cascade.search("log", k=3)
        os.kill(server.process.pid, signal.SIGSTOP)
        with pytest.raises(CorpusError, match="did not answer within 0"):
            cascade.search("log", k=3, deadline=0.3)
        os.kill(server.process.pid, signal.SIGCONT)
        assert len(cascade.search("log", k=3).hits) == 3
        corpus.close()
    finally:
        server.stop()


def test_nobody_there_is_an_error_at_once() -> None:
    """Where nothing listens, opening says so and shows no credentials."""
    uri = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(CorpusError, match=uri) as caught:
        MilvusCorpus(uri.replace("//", f"//{TOKEN}@"), encoder=None, timeout=1)
    assert "correct-horse" not in f"{caught.value!r} {caught.value.__cause__!r}"


class Refuses(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Refuses every call, and remembers what it was sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def service(self, details: Any) -> Any:
        self.sent.append(dict(details.invocation_metadata))

        def refuse(_: Any, context: Any) -> None:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "auth check failure")

        return grpc.unary_unary_rpc_method_handler(refuse)


@pytest.fixture
def refusing() -> Iterator[tuple[str, Refuses]]:
    handler = Refuses()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", handler
    server.stop(None)


@pytest.mark.parametrize("way", ["argument", "uri", "environment"])
def test_the_token_is_sent_and_never_shown(
    refusing: tuple[str, Refuses], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """However a token is given the server gets it, and an error that it is wrong hides it."""
    host, handler = refusing
    options: dict[str, Any] = {"token": TOKEN} if way == "argument" else {}
    if way == "environment":
        monkeypatch.setenv("MILVUS_TOKEN", TOKEN)
    uri = f"http://{TOKEN}@{host}" if way == "uri" else f"http://{host}"
    with pytest.raises(CorpusError, match="MILVUS_TOKEN") as caught:
        MilvusCorpus(uri, encoder=None, timeout=3, **options)
    assert base64.b64encode(TOKEN.encode()).decode() in {
        sent.get("authorization") for sent in handler.sent
    }
    assert "correct-horse" not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_credentials_are_in_no_repr_and_no_pickle(server: Server) -> None:
    """What shows or copies a corpus leaves its credentials out."""
    uri = server.uri.replace("//", f"//{TOKEN}@")
    with MilvusCorpus(uri, collection="secret", encoder=BagOfWords()) as corpus:
        shown = f"{corpus!r} {corpus.uri} {corpus!s} {BM25(corpus)!r} {vars(corpus)!r}"
        assert "horse" not in shown
        assert b"horse" not in pickle.dumps(corpus)
        pickle.loads(pickle.dumps(corpus)).close()


@pytest.mark.parametrize("uri", ["somewhere", "ftp://user:horse@host", "", "corpus.stepwell"])
def test_what_is_no_milvus_is_refused(uri: str) -> None:
    """A URI of another kind is an error that says which there are, and quotes nothing."""
    with pytest.raises(ConfigurationError, match="http://host:port") as caught:
        MilvusCorpus(uri)
    assert "horse" not in str(caught.value)
