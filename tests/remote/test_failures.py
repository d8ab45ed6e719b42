"""Servers that fail, answer wrongly or too late."""

from __future__ import annotations

import json
import math
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import tenacity
from hypothesis import given, settings
from hypothesis import strategies as st

import stepwell as sw
from stepwell.remote import RemoteReranker
from stepwell.remote.answers import BadAnswerError, message_of, scores_of
from stepwell.remote.retrying import Retryable, retrying, wait_asked
from stepwell.remote.shapes import SHAPES
from stepwell.stopping import Stop
from tests.remote.server import QUERY, SECRET, TEXTS, expected, serving


def test_a_blank_passage_wins_nothing_at_the_deadline() -> None:
    """Where the deadline leaves passages unscored, a blank one is not put above them."""
    documents = [sw.Document(id, text) for id, text in (("a", "x"), ("b", "y"), ("blank", " "))]
    with serving("tei", 3.0) as server:
        stage = sw.CrossEncoder(RemoteReranker("tei", url=server.url), blend=1.0)
        result = sw.Cascade([stage]).rank(QUERY, documents, deadline=0.3)
    assert result.ids == ["a", "b", "blank"]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 529])
def test_what_passes_is_tried_again(status: int) -> None:
    """A failure that may pass is asked again, and the right scores come back."""
    with serving("cohere", status, status) as server:
        made = RemoteReranker("cohere", url=server.url, key=SECRET).score(QUERY, TEXTS)
    assert made.values.tolist() == pytest.approx(expected())
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 301])
def test_a_refusal_is_final(status: int) -> None:
    """A refusal is raised at once, with its status and the server's words but no key."""
    with serving("cohere", status) as server:
        scorer = RemoteReranker("cohere", url=server.url, key=SECRET)
        with pytest.raises(
            sw.RemoteError, match=rf"answered {status}: cannot, with Bearer \*\*\*"
        ) as e:
            scorer.score(QUERY, TEXTS)
    assert (e.value.status, e.value.api, len(server.requests)) == (status, "cohere", 1)


def _doubled(answer: Any) -> Any:
    return answer | {"results": [answer["results"][0]] * 4}


def _beyond(answer: Any) -> Any:
    return answer | {"results": [each | {"index": each["index"] + 1} for each in answer["results"]]}


def _fewer(answer: Any) -> Any:
    return answer | {"results": answer["results"][:-1]}


def _nan(answer: Any) -> Any:
    return answer | {
        "results": [each | {"relevance_score": math.nan} for each in answer["results"]]
    }


def _texts(answer: Any) -> Any:
    return answer | {
        "results": [each | {"index": str(each["index"])} for each in answer["results"]]
    }


BAD = {
    "truncated JSON": (b'{"results": [{"index": 0, "relev', "no list of results"),
    "no JSON": (b"<html>busy</html>", "no list of results"),
    "another JSON": (b"[1, 2]", "no list of results"),
    "twice": (_doubled, "two results have index"),
    "beyond": (_beyond, "index 4"),
    "fewer": (_fewer, "1 of 4 passages have no score"),
    "NaN": (_nan, "score of passage . is nan"),
    "texts": (_texts, "index '"),
    "many digits": (b'{"results": [{"index": ' + b"1" * 5000 + b"}]}", "no list of results"),
    "above float32": (
        b'{"results": [{"index": 0, "relevance_score": 1e39}]}',
        "score of passage 0 is 1e.39",
    ),
    "above float64": (
        b'{"results": [{"index": 0, "relevance_score": 1' + b"0" * 400 + b"}]}",
        "score of passage 0 is 1",
    ),
}


@pytest.mark.parametrize("fault", list(BAD))
def test_a_wrong_answer_is_never_used(fault: str) -> None:
    """Half an answer, or one with wrong, doubled or missing indices or NaN, is asked for again."""
    wrong, words = BAD[fault]
    with serving("cohere", wrong) as server:
        made = RemoteReranker("cohere", url=server.url, key=SECRET).score(QUERY, TEXTS)
        assert made.values.tolist() == pytest.approx(expected())
        server.faults += [wrong] * 2
        with pytest.raises(sw.RemoteError, match=words):
            RemoteReranker("cohere", url=server.url, key=SECRET, attempts=2).score(QUERY, TEXTS)


def test_logits_are_not_taken_for_probabilities() -> None:
    """Scores outside 0 to 1 where probabilities were promised are refused, with the remedy."""

    def unbounded(answer: Any) -> Any:
        return answer | {"results": [each | {"relevance_score": 7.5} for each in answer["results"]]}

    with serving("vllm", unbounded, unbounded) as server:
        with pytest.raises(sw.ModelError, match="kind='logit'"):
            RemoteReranker("vllm", url=server.url).score(QUERY, TEXTS)
        scorer = RemoteReranker("vllm", url=server.url, kind="logit")
        assert scorer.score(QUERY, TEXTS).values.tolist() == [7.5] * 4
        assert scorer.kind == "logit"


def test_the_deadline_leaves_the_rest_unscored() -> None:
    """When the deadline ends in the second request, the first one's scores stay."""
    with serving("tei") as server:
        server.fault_of = lambda body: None if TEXTS[0] in body["texts"] else 3.0
        scorer = RemoteReranker("tei", url=server.url, batch=2)
        made = scorer.score(QUERY, TEXTS, stop=Stop(time.monotonic() + 0.5))
    assert made.values[:2].tolist() == pytest.approx(expected()[:2])
    assert [math.isnan(value) for value in made.values] == [False, False, True, True]


def test_a_cascade_keeps_its_order_when_the_deadline_ends_first() -> None:
    """A server slower than the deadline costs no order: the answer is the recall's, and says so."""
    documents = [sw.Document(str(at), text) for at, text in enumerate(TEXTS)]
    with serving("tei", 3.0) as server:
        cascade = sw.Cascade([sw.CrossEncoder(RemoteReranker("tei", url=server.url))])
        result = cascade.rank(QUERY, documents, deadline=0.3)
    assert result.ids == ["0", "1", "2", "3"]
    assert result.degraded
    (record,) = result.trace.records
    assert record.status == "failed"
    assert "did not answer within" in str(record.error)


TRICKLES = {
    "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b" "),
    "headers": (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"a"),
    "nothing": (b"", b""),
}


@pytest.mark.parametrize("part", list(TRICKLES))
def test_an_answer_that_trickles_ends_at_the_timeout(part: str) -> None:
    """A server that sends a byte now and then, of head or body, is given up when time is over."""
    listening = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()
    first, then = TRICKLES[part]

    def trickle() -> None:
        while not over.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(first)
                while not over.wait(0.02):
                    try:
                        connection.sendall(then)
                    except OSError:
                        break

    thread = threading.Thread(target=trickle, daemon=True)
    thread.start()
    given_up = threading.Timer(10.0, over.set)
    given_up.start()
    try:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        scorer = RemoteReranker("tei", url=url, timeout=0.3, attempts=1)
        with pytest.raises(sw.RemoteError, match="did not answer within"):
            scorer.score(QUERY, TEXTS)
        slow = RemoteReranker("tei", url=url)
        with pytest.raises(sw.RemoteError, match="did not answer within"):
            slow.score(QUERY, TEXTS, stop=Stop(time.monotonic() + 0.3))
        assert not over.is_set()
    finally:
        over.set()
        given_up.cancel()
        listening.close()
        thread.join(5)


def test_retry_after_is_honoured_inside_the_budget() -> None:
    """The pause is at least what the server asks for; one beyond the deadline is not waited out."""
    with serving("cohere", 429, Retry_After="1") as server:
        began = time.monotonic()
        RemoteReranker("cohere", url=server.url, key=SECRET).score(QUERY, TEXTS)
        assert time.monotonic() - began >= 1
    with serving("cohere", 429, Retry_After="20") as server:
        scorer = RemoteReranker("cohere", url=server.url, key=SECRET)
        with pytest.raises(sw.RemoteError, match="answered 429"):
            scorer.score(QUERY, TEXTS, stop=Stop(time.monotonic() + 10))
        assert len(server.requests) == 1


def test_a_server_that_asks_for_minutes_is_not_waited_for() -> None:
    """A pause above half a minute is a failure at once, deadline or not; one below is none."""
    with serving("cohere", 429, Retry_After="31") as server:
        with pytest.raises(sw.RemoteError, match="answered 429"):
            RemoteReranker("cohere", url=server.url, key=SECRET).score(QUERY, TEXTS)
        assert len(server.requests) == 1
    policy = retrying(3, None)
    state = tenacity.RetryCallState(policy, None, (), {})
    for asked, stops in ((30.0, False), (30.1, True)):
        state.outcome = tenacity.Future(1)
        state.outcome.set_exception(Retryable("busy", status=429, wait=asked))
        assert policy.stop(state) is stops


def test_an_endless_answer_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer above the limit is given up, whatever follows."""
    monkeypatch.setattr("stepwell.remote.server.LARGEST", 1000)
    with serving("tei", b"[" + b" " * 2000 + b"]") as server:
        scorer = RemoteReranker("tei", url=server.url, attempts=1)
        with pytest.raises(sw.RemoteError, match="above 1000 bytes"):
            scorer.score(QUERY, TEXTS)
        assert scorer.score(QUERY, TEXTS).values.tolist() == pytest.approx(expected())


def test_both_forms_of_retry_after() -> None:
    """Seconds and dates are read; what is neither, or is over, asks for nothing."""

    def asked(value: str) -> float:
        return wait_asked({"retry-after": value})

    assert asked("3") == 3
    assert [asked(value) for value in ("", "soon", "-4", "1.5.2", "²")] == [0] * 5
    now = datetime.now(UTC)
    assert asked("Sat, 21 Nov 2026 07:39:43 +99999999999999999999") == 0
    assert 3500 < asked(format_datetime(now + timedelta(hours=1), usegmt=True)) <= 3600
    assert asked(format_datetime(now - timedelta(hours=1), usegmt=True)) == 0


def test_nobody_there() -> None:
    """A server that is not there is a typed error that names it, after the attempts."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    scorer = RemoteReranker("tei", url=url, attempts=2)
    with pytest.raises(sw.RemoteError, match="cannot be reached") as e:
        scorer.score(QUERY, TEXTS)
    assert e.value.status == 0


def test_a_failing_server_skips_the_stage() -> None:
    """In a cascade a server that only fails keeps the recall's order, and the result says so."""
    documents = [sw.Document(str(at), text) for at, text in enumerate(TEXTS)]
    with serving("cohere", *[500] * 9) as server:
        scorer = RemoteReranker("cohere", url=server.url, key=SECRET, attempts=1)
        result = sw.Cascade([sw.CrossEncoder(scorer)]).rank(QUERY, documents)
    assert result.ids == ["0", "1", "2", "3"]
    assert result.degraded
    assert SECRET not in json.dumps(result.trace.to_dict())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from(["results", "index", "relevance_score", "x"]), inner)
    ),
    max_leaves=20,
)


@given(answer=json_values, n=st.integers(0, 4))
@settings(max_examples=300, deadline=None)
def test_any_answer_is_read_or_refused(answer: Any, n: int) -> None:
    """Whatever JSON comes, the outcome is one finite score a passage or a typed refusal."""
    message_of(answer)
    try:
        values = scores_of(answer, SHAPES["llama.cpp"], n, name="any")
    except BadAnswerError:
        return
    assert values.shape == (n,)
    assert all(math.isfinite(value) for value in values)


def test_a_server_that_hangs_opens_the_breaker() -> None:
    """No answer before the deadline is a failure of the server: after three it is left alone, and
    the stage that stands in for it works in all of its time."""
    with serving("tei", 5.0, 5.0, 5.0, 5.0) as server:
        remote = sw.CrossEncoder(RemoteReranker("tei", url=server.url), name="remote")
        instead = sw.CrossEncoder(lambda _, texts: list(range(len(texts))), name="instead")
        guarded = sw.Guarded(remote, instead, failures=3)
        cascade = sw.Cascade([guarded])
        documents = [sw.Document(str(at), text) for at, text in enumerate(TEXTS)]
        for _ in range(3):
            assert cascade.rank(QUERY, documents, deadline=0.15).degraded
        result = cascade.rank(QUERY, documents, deadline=5)
    assert result.ids == ["3", "2", "1", "0"]
    assert result.degraded
