"""Keys and secret headers go to the server and nowhere else."""

from __future__ import annotations

import copy
import logging
import pickle
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

import stepwell as sw
from stepwell.remote import RemoteReranker
from tests.remote.server import QUERY, SECRET, TEXTS, expected, serving


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


def test_a_redirect_takes_the_key_nowhere() -> None:
    """An answer that points to another server is a refusal, and that server hears nothing."""
    with serving("cohere") as other, serving("cohere", 307, Location=other.url) as server:
        scorer = RemoteReranker("cohere", url=server.url, key=SECRET)
        with pytest.raises(sw.RemoteError, match="answered 307"):
            scorer.score(QUERY, TEXTS)
        assert other.seen == []
