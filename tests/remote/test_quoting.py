"""A server's words are shown without what they repeat of the texts."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

import stepwell as sw
from stepwell.remote import RemoteReranker
from stepwell.remote.quoting import RUN, unquoted
from tests.remote.server import SECRET, serving

PASSAGE = "The merger with Acme\nis announced on Monday."


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("invalid api token", "invalid api token"),
        ("text too long: The merger with Acme is announced on Monday.", "text too long: …"),
        ("near 'Acme is announced on' at 3", "near '…' at 3"),
        ("bad input (The merger with Ac...)", "bad input (…...)"),
        ("cannot rank for fire Bob: quota", "cannot rank for …: quota"),
        ("cannot rank for Fire Bob", "cannot rank for …"),
        ("firefighters are away", "firefighters are away"),
        ("错误:合并将于星期一公布给所有员工", "错误:…"),
    ],
)
def test_quotations_are_replaced(said: str, left: str) -> None:
    """Whole passages, pieces of them, short queries and scripts without blanks."""
    assert unquoted(said, ["fire Bob", PASSAGE, "合并将于星期一公布给所有员工"]) == left


@given(st.text(min_size=RUN), st.text(), st.text())
def test_no_text_stays_whole(text: str, before: str, after: str) -> None:
    """A text that stands between other words is gone."""
    line = " ".join(text.split())
    said = f"{before} {line} {after}"
    if len(line) >= RUN:
        assert line not in unquoted(said, [text])


def test_trace_and_log_tell_the_status_and_the_words(caplog: pytest.LogCaptureFixture) -> None:
    """With a key and texts in the server's words; neither is shown, and the rest is cut."""
    query, documents = "who knows of the merger?", [PASSAGE, "The office cat."]
    with serving("cohere", 422) as server:
        server.words = f"token {SECRET} may not rank {query} over {PASSAGE} " + "because " * 100
        scorer = RemoteReranker("cohere", url=server.url, key=SECRET)
        with caplog.at_level(logging.WARNING, "stepwell"):
            result = sw.Cascade([sw.CrossEncoder(scorer)]).rank(query, documents)
    (fault,) = result.trace.faults
    begins = "RemoteError: cohere:rerank-v3.5 answered 422: token *** may not rank … over … because"
    assert fault.reason.startswith(begins)
    assert len(fault.reason) < 400
    assert fault.reason in caplog.text
    for private in (SECRET, query, "merger", "Acme"):
        assert private not in caplog.text
        assert private not in str(result.trace)


def test_a_wrong_answer_is_not_quoted_either(caplog: pytest.LogCaptureFixture) -> None:
    """An index that is a passage's text is not shown."""

    def texts(answer: dict[str, object]) -> object:
        return {"results": [{"index": PASSAGE, "relevance_score": 1.0}]}

    with serving("cohere", texts) as server:
        scorer = RemoteReranker("cohere", url=server.url, key=SECRET, attempts=1)
        result = sw.Cascade([sw.CrossEncoder(scorer)]).rank("q", [PASSAGE])
    assert "answered badly: a result has index" in result.trace.faults[0].reason
    assert "Acme" not in caplog.text + result.trace.faults[0].reason
