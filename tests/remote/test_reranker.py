from __future__ import annotations

import asyncio
import copy
import json
import logging
import math
import pickle
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stepwell as sw
from stepwell.remote import RemoteReranker, Shape
from stepwell.remote.answers import BadAnswerError, message_of, scores_of
from stepwell.remote.retrying import wait_asked
from stepwell.remote.shapes import SHAPES
from stepwell.stages.stopping import Stop
from tests.remote.server import ANSWERS, overlap, serving

QUERY = "rotate the logs"
TEXTS = ["the logs rest at night", "feed the cat", "rotate the logs", "nothing here"]
SECRET = "sk-very-secret-123"


def expected(texts: list[str] = TEXTS) -> list[float]:
    return [overlap(QUERY, text) for text in texts]


@pytest.mark.parametrize("api", list(ANSWERS))
def test_each_shape(api: str) -> None:
    """Every API is asked in its own shape, and its scores come back in the passages' order."""
    with serving(api) as server:
        scorer = RemoteReranker(api, url=server.url, key=SECRET)
        made = scorer.score(QUERY, TEXTS)
        scorer.close()
    wanted = expected()
    if api == "llama.cpp":
        wanted = [20 * value - 10 for value in wanted]
        assert scorer.kind == "logit"
    assert made.values.tolist() == pytest.approx(wanted, abs=1e-5)
    assert server.seen[0]["Authorization"] == f"Bearer {SECRET}"
    model = server.requests[0].get("model")
    assert model == SHAPES[api].model


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


def test_a_blank_passage_wins_nothing_at_the_deadline() -> None:
    """Where the deadline leaves passages unscored, a blank one is not put above them."""
    documents = [sw.Document(id, text) for id, text in (("a", "x"), ("b", "y"), ("blank", " "))]
    with serving("tei", 3.0) as server:
        stage = sw.CrossEncoder(RemoteReranker("tei", url=server.url), blend=1.0)
        result = sw.Cascade([stage]).rank(QUERY, documents, deadline=0.3)
    assert result.ids == ["a", "b", "blank"]


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


BODIES = {
    "cohere": {"model": "rerank-v3.5", "query": QUERY, "documents": TEXTS},
    "voyage": {
        "model": "rerank-2.5",
        "query": QUERY,
        "documents": TEXTS,
        "return_documents": False,
    },
    "jina": {
        "model": "jina-reranker-v2-base-multilingual",
        "query": QUERY,
        "documents": TEXTS,
        "return_documents": False,
    },
    "tei": {"query": QUERY, "texts": TEXTS, "truncate": True, "raw_scores": False},
    "vllm": {"query": QUERY, "documents": TEXTS},
    "infinity": {
        "query": QUERY,
        "documents": TEXTS,
        "return_documents": False,
        "raw_scores": False,
    },
    "llama.cpp": {"query": QUERY, "documents": TEXTS},
}


@pytest.mark.parametrize("api", list(BODIES))
def test_exactly_what_is_sent(api: str) -> None:
    """Each API gets the fields of its documentation and no other."""
    with serving(api) as server:
        RemoteReranker(api, url=server.url, key=SECRET).score(QUERY, TEXTS)
    assert server.requests == [BODIES[api]]


def test_the_table_of_the_documentation_is_what_is_built() -> None:
    """Paths, keys, limits and kinds of docs/cross-encoders.md are those of the code."""
    page = (Path(__file__).parents[2] / "docs" / "cross-encoders.md").read_text(encoding="utf-8")
    for api, shape in SHAPES.items():
        (row,) = (line for line in page.splitlines() if line.startswith(f"| `{api}` |"))
        _, _, asks, keys, limit, kind, _ = (cell.strip() for cell in row.split("|"))
        assert asks.startswith(f"`{shape.path}`")
        assert all(f"`{name}`" in keys for name in shape.key or ("key=",))
        assert int(limit.replace(",", "")) == shape.limit
        assert kind == {"probability": "probabilities", "logit": "logits"}[shape.kind]
    hosts = {api: shape.url for api, shape in SHAPES.items() if shape.url}
    assert hosts == {
        "cohere": "https://api.cohere.com",
        "voyage": "https://api.voyageai.com",
        "jina": "https://api.jina.ai",
    }


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 408])
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
        with pytest.raises(sw.ConfigurationError, match="kind='logit'"):
            RemoteReranker("vllm", url=server.url).score(QUERY, TEXTS)
        scorer = RemoteReranker("vllm", url=server.url, kind="logit")
        assert scorer.score(QUERY, TEXTS).values.tolist() == [7.5] * 4
        assert scorer.kind == "logit"


def test_the_deadline_leaves_the_rest_unscored() -> None:
    """When the deadline ends in the second request, the first one's scores stay."""
    with serving("tei", 0.0, 3.0) as server:
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
    assert result.trace.to_dict()["stages"][0]["notes"]["unscored"] == 4


def test_an_answer_that_trickles_ends_at_the_timeout() -> None:
    """A server that sends a byte now and then is given up when the time of the request is over."""
    listening = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def trickle() -> None:
        while not over.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                while not over.wait(0.05):
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        break

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        scorer = RemoteReranker("tei", url=url, timeout=0.3, attempts=1)
        with pytest.raises(sw.RemoteError, match="did not answer within"):
            scorer.score(QUERY, TEXTS)
    finally:
        over.set()
        listening.close()
        thread.join()


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


@pytest.fixture
def watched(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


def test_the_key_appears_nowhere(watched: pytest.LogCaptureFixture) -> None:
    """Key and secret headers are in no repr, name, log, error, traceback's text, pickle or copy."""
    token = "gateway-token-9"
    with serving("cohere", 401) as server:
        scorer = RemoteReranker("cohere", url=server.url, key=SECRET, headers={"X-Gate": token})
        try:
            scorer.score(QUERY, TEXTS)
        except sw.RemoteError as error:
            said = "".join(traceback.format_exception(error)) + repr(error)
            chained = error.__cause__ or (not error.__suppress_context__ and error.__context__)
        assert server.seen[0]["X-Gate"] == token
    assert not chained
    shown = [said, repr(scorer), scorer.name, repr(vars(scorer)), watched.text]
    stage = sw.CrossEncoder(scorer)
    shown += [repr(stage), repr(sw.Cascade([stage]))]
    for text in shown:
        assert SECRET not in text
        assert token not in text
    with pytest.raises(sw.ConfigurationError, match="COHERE_API_KEY"):
        pickle.loads(pickle.dumps(scorer)).score(QUERY, TEXTS)


def test_a_key_cut_in_half_is_not_shown_either() -> None:
    """A long message with the key at its end shows no part of the key."""
    with serving("cohere", 401) as server:
        server.words = "m" * 285 + f" {SECRET}"
        with pytest.raises(sw.RemoteError) as e:
            RemoteReranker("cohere", url=server.url, key=SECRET).score(QUERY, TEXTS)
    assert "sk-" not in str(e.value)


def test_no_frame_of_ours_holds_the_key() -> None:
    """What an error tracker keeps of an error, the variables of each frame, holds no key."""
    with serving("cohere", 401) as server:
        server.words = "no"
        scorer = RemoteReranker("cohere", url=server.url, key=SECRET, headers={"X-G": "gate-123"})
        try:
            scorer.score(QUERY, TEXTS)
        except sw.RemoteError as error:
            frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    kept = repr([frame.f_locals for frame in frames[1:]])  # the first is this test's own
    assert len(frames) > 3
    assert SECRET not in kept
    assert "gate-123" not in kept


def test_a_lone_surrogate_does_no_harm() -> None:
    """Text that no UTF-8 can hold is sent with a question mark in its place."""
    with serving("tei") as server:
        RemoteReranker("tei", url=server.url).score(QUERY, ["logs \ud800 rotate"])
    assert server.requests[0]["texts"] == ["logs ? rotate"]


def test_closing_ends_what_was_opened() -> None:
    """Twenty times opened and closed leaves nothing behind to be closed at the end."""
    with serving("tei") as server:
        scorer = RemoteReranker("tei", url=server.url)
        for _ in range(20):
            scorer.score(QUERY, TEXTS)
            assert scorer._closing.alive
            scorer.close()
            assert not scorer._closing.alive


@pytest.mark.parametrize("bad", ["sk\x00secret", "sk-secret-\u00e9", "sk\nsecret", " ", 5, b"sk"])
def test_a_key_that_no_header_can_hold_is_refused_unquoted(bad: Any) -> None:
    """It is refused when the reranker is built, in the key's place or a header's, and not shown."""
    for options in ({"key": bad}, {"key": "fine", "headers": {"X-Gate": bad}}):
        with pytest.raises(sw.ConfigurationError, match="printable ASCII") as e:
            RemoteReranker("cohere", **options)
        assert "secret" not in str(e.value)


def test_the_line_end_of_a_file_is_no_part_of_the_key() -> None:
    """A key read from a file with its line end is the key alone."""
    with serving("cohere") as server:
        RemoteReranker("cohere", url=server.url, key=f" {SECRET}\r\n").score(QUERY, TEXTS)
    assert server.seen[0]["Authorization"] == f"Bearer {SECRET}"


def test_a_pickle_takes_its_key_from_where_it_lands(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle holds no key, and reads the environment's where it is opened; a copy shares."""
    with serving("cohere") as server:
        scorer = RemoteReranker("cohere", url=server.url, key=SECRET)
        stored = pickle.dumps(scorer)
        assert SECRET.encode() not in stored
        monkeypatch.setenv("CO_API_KEY", "another")
        there = pickle.loads(stored)
        assert there.score(QUERY, TEXTS).values.tolist() == pytest.approx(expected())
        assert server.seen[-1]["Authorization"] == "Bearer another"
        assert copy.deepcopy(scorer) is copy.copy(scorer) is scorer


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


def test_a_shape_of_ones_own() -> None:
    """An API that nobody listed is a Shape."""
    shape = Shape(
        "/rerank", lambda _, query, texts: {"query": query, "texts": texts}, None, "score"
    )
    with serving("tei") as server:
        made = RemoteReranker(shape, url=server.url).score(QUERY, TEXTS)
    assert made.values.tolist() == pytest.approx(expected())


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
