from __future__ import annotations

import asyncio
import math
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stepwell as sw
from stepwell.remote import RemoteReranker
from tests.remote.server import QUERY, SECRET, TEXTS, expected, serving


def test_in_a_cascade_awaited_and_not() -> None:
    """As the model of a cross-encoder stage it orders documents, the same awaited and not."""
    documents = [sw.Document(str(at), text) for at, text in enumerate(TEXTS)]
    with serving("cohere") as server:
        scorer = RemoteReranker("cohere", url=server.url, key=SECRET)
        cascade = sw.Cascade([sw.CrossEncoder(scorer, k=2, blend=1.0)])
        result = cascade.rank(QUERY, documents)
        awaited = asyncio.run(cascade.arank(QUERY, documents))
    assert result.ids == awaited.ids == ["2", "0"]
    assert [hit.score for hit in result.hits] == [hit.score for hit in awaited.hits]


@given(n=st.integers(0, 40), batch=st.integers(1, 9))
@settings(max_examples=15, deadline=None)
def test_over_limit_batches_are_split(n: int, batch: int) -> None:
    """However many passages, no request holds more than its limit and each score is in place."""
    texts = [f"rotate number {at}" if at % 3 else "the logs" for at in range(n)]
    with serving("tei") as server:
        made = RemoteReranker("tei", url=server.url, batch=batch).score(QUERY, texts)
    assert made.values.tolist() == pytest.approx(expected(texts), abs=1e-5)
    assert len(server.requests) == math.ceil(n / batch)
    assert all(len(each["texts"]) <= batch for each in server.requests)


def test_long_passages_are_cut_at_a_word_and_counted() -> None:
    """Of a long passage whole words are sent, up to the limit, and the trace says how many."""
    long = "logs " * 100
    with serving("jina") as server:
        scorer = RemoteReranker("jina", url=server.url, key=SECRET, longest=52)
        made = scorer.score(QUERY, [long, "short", "x" * 60])
    sent = server.requests[0]["documents"]
    assert sent == [("logs " * 10).strip(), "short", "x" * 52]
    assert made.truncated == 2
    assert made.cut is not None
    assert made.cut.tolist() == [True, False, True]


@pytest.mark.parametrize("api", ["cohere", "llama.cpp"])
def test_a_blank_passage_is_not_sent(api: str) -> None:
    """APIs refuse a request for one blank text, so it stays here and scores no more than others."""
    with serving(api) as server:
        scorer = RemoteReranker(api, url=server.url, key=SECRET)
        values = scorer.score(QUERY, [TEXTS[0], " ", TEXTS[2], ""]).values.tolist()
        assert scorer.score(QUERY, [""]).values.tolist() == [0.0]
    assert [each["documents"] for each in server.requests] == [[TEXTS[0], TEXTS[2]]]
    assert values[2] > values[0] >= values[1] == values[3]


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("one two\n" + "line\n" * 40, 100),
        ("intro " + "x" * 300, 100),
        ("\u7b2c1\u7ae0 " + "\u6f22" * 300, 100),
        ("a" * 99 + " b c", 99),
    ],
)
def test_a_cut_keeps_nearly_all_that_fits(text: str, sent: int) -> None:
    """Whatever the blanks in a passage, no more than a fifth of what fits is cut off for a word."""
    with serving("tei") as server:
        RemoteReranker("tei", url=server.url, longest=100).score(QUERY, [text])
    (kept,) = server.requests[0]["texts"]
    assert text.startswith(kept)
    assert 0.8 * 100 - 1 <= len(kept) <= sent


def test_a_lone_surrogate_does_no_harm() -> None:
    """Text that no UTF-8 can hold is sent with a question mark in its place."""
    with serving("tei") as server:
        RemoteReranker("tei", url=server.url).score(QUERY, ["logs \ud800 rotate"])
    assert server.requests[0]["texts"] == ["logs ? rotate"]


def _begun(others: set[threading.Thread]) -> list[threading.Thread]:
    """Threads of rerankers that were not there before."""
    return [
        each
        for each in threading.enumerate()
        if each.name == "stepwell-remote" and each not in others
    ]


def test_closing_ends_what_was_opened() -> None:
    """Its thread and sockets end with `close`, and with the last reference to it."""
    others = set(threading.enumerate())
    open_files = len(psutil.Process().net_connections())
    with serving("tei") as server:
        scorer = RemoteReranker("tei", url=server.url)
        for _ in range(5):
            scorer.score(QUERY, TEXTS)
            assert len(_begun(others)) == 1
            scorer.close()
            assert not _begun(others)
        scorer.score(QUERY, TEXTS)
        (thread,) = _begun(others)
        del scorer
        thread.join(5)
    assert not _begun(others)
    assert len(psutil.Process().net_connections()) == open_files


def test_closing_loses_nothing_that_is_under_way() -> None:
    """Closed while others ask, it answers them all; what is asked afterwards is answered too."""
    with serving("tei") as server, ThreadPoolExecutor(8) as threads:
        server.fault_of = lambda _: 0.01
        scorer = RemoteReranker("tei", url=server.url)
        made = [threads.submit(scorer.score, QUERY, TEXTS) for _ in range(40)]
        for _ in range(10):
            scorer.close()
        for each in made:
            assert each.result().values.tolist() == pytest.approx(expected())
        scorer.close()


async def test_awaited_it_blocks_nothing() -> None:
    """Twenty awaited at once on one event loop are under way together, without a thread each."""
    with serving("tei") as server:
        server.fault_of = lambda _: 0.3
        scorer = RemoteReranker("tei", url=server.url)
        before = threading.active_count()
        asked = [asyncio.create_task(scorer.ascore(QUERY, TEXTS)) for _ in range(20)]
        while server.under_way < 10:
            await asyncio.sleep(0.01)
        ours = [each for each in threading.enumerate() if "process_request" not in each.name]
        assert len(ours) <= before + 1
        for each in await asyncio.gather(*asked):
            assert each.values.tolist() == pytest.approx(expected())


async def test_a_cancelled_one_asks_no_more() -> None:
    """Cancelling what is awaited ends its requests; the next one is answered."""
    with serving("tei") as server:
        server.fault_of = lambda _: 0.2
        scorer = RemoteReranker("tei", url=server.url, batch=1, concurrency=1)
        task = asyncio.create_task(scorer.ascore(QUERY, TEXTS))
        while not server.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.3)
        assert len(server.requests) == 1
        server.fault_of = None
        assert (await scorer.ascore(QUERY, TEXTS)).values.tolist() == pytest.approx(expected())


@pytest.mark.skipif(os.name != "posix", reason="a signal to oneself")
def test_an_interrupted_one_asks_no_more() -> None:
    """Ctrl-C while an answer is waited for ends its requests too."""
    with serving("tei") as server:

        def interrupt(_: Any) -> float:
            if len(server.requests) == 1:
                os.kill(os.getpid(), signal.SIGINT)
            return 0.2

        server.fault_of = interrupt
        scorer = RemoteReranker("tei", url=server.url, batch=1, concurrency=1)
        with pytest.raises(KeyboardInterrupt):
            scorer.score(QUERY, TEXTS)
        scorer.close()  # waits for what is under way
        assert len(server.requests) == 1


def _works(scorer: RemoteReranker) -> bool:
    return all(
        scorer.score(QUERY, TEXTS).values.tolist() == pytest.approx(expected()) for _ in range(5)
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("closed", [False, True])
def test_a_forked_child_has_connections_of_its_own(closed: bool) -> None:
    """After a fork both sides are answered at the same time, and a child's end closes nothing."""
    with serving("tei") as server:
        scorer = RemoteReranker("tei", url=server.url, timeout=5.0)
        assert _works(scorer)
        child = os.fork()
        if not child:
            signal.alarm(20)  # a child that waits for the parent's thread waits for ever
            try:
                if closed:
                    scorer.close()  # there is nothing here to close
                os._exit(0 if _works(scorer) else 1)
            finally:
                os._exit(2)
        assert _works(scorer)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert _works(scorer)
        scorer.close()


def test_many_threads_share_one() -> None:
    """Sixteen threads on one scorer get what one gets."""
    with serving("cohere") as server, ThreadPoolExecutor(16) as threads:
        scorer = RemoteReranker("cohere", url=server.url, key=SECRET)
        made = list(threads.map(lambda at: scorer.score(QUERY, TEXTS[at % 4 :]), range(64)))
    for at, each in enumerate(made):
        assert each.values.tolist() == pytest.approx(expected()[at % 4 :])


def test_it_works_again_after_close() -> None:
    """Closing ends its connections, and using it again opens new ones."""
    with serving("tei") as server:
        scorer = RemoteReranker("tei", url=server.url)
        for _ in range(2):
            assert scorer.score(QUERY, TEXTS).values.tolist() == pytest.approx(expected())
            scorer.close()
            scorer.close()


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"api": "gpt"}, "api is one of 'cohere'"),
        ({"api": "tei"}, "self-hosted: pass url="),
        ({"api": "cohere"}, "COHERE_API_KEY"),
        ({"api": "tei", "url": "localhost:80"}, "look like https://host"),
        ({"api": "tei", "url": "http://me:hidden@host"}, "no user, password"),
        ({"api": "tei", "url": 3}, "look like https://host"),
        ({"api": "tei", "url": "http://host/rerank/"}, "url ends before '/rerank'"),
        ({"api": "tei", "url": "http://host", "timeout": 0}, "timeout must be a number above 0"),
        ({"api": "tei", "url": "http://host", "timeout": "5"}, "timeout must be a number above 0"),
        ({"api": "tei", "url": "http://host", "attempts": 0}, "attempts must be"),
        ({"api": "tei", "url": "http://host", "batch": 0}, "batch must be"),
        ({"api": "tei", "url": "http://host", "concurrency": 0}, "concurrency must be"),
        ({"api": "tei", "url": "http://host", "longest": 0}, "longest must be"),
        ({"api": "tei", "url": "http://host", "kind": "foo"}, "kind must be"),
        ({"api": "tei", "url": "http://host", "headers": 3}, "headers must be a mapping"),
    ],
)
def test_what_is_built_wrong_is_refused(
    options: dict[str, Any], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake in building it is told when it is built, and quotes no password."""
    for name in ("COHERE_API_KEY", "CO_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    api = options.pop("api")
    with pytest.raises(sw.ConfigurationError, match=fault) as e:
        RemoteReranker(api, **options)
    assert "hidden" not in str(e.value)
