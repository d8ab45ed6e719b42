"""A shadow sees live traffic and never touches it."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import multiprocessing
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

import stepwell as sw
from stepwell.shadow import Difference
from tests.shadow.conftest import DOCUMENTS, QUERIES, Gate, live_stages, other_stages

SOON = 20.0


def beside(corpus: sw.Corpus, **options: Any) -> tuple[sw.Cascade, sw.Shadow]:
    shadow = sw.Shadow(sw.Cascade(other_stages(corpus)), **{"limit": 1000, **options})
    return sw.Cascade(live_stages(corpus), name="live", shadow=shadow), shadow


def told(result: sw.Result) -> list[tuple[str, float]]:
    return [(hit.id, hit.score) for hit in result.hits]


def counts(shadow: sw.Shadow) -> dict[str, int]:
    return {name: n for name, n in shadow.report().counts.items() if n}


def test_answers_are_those_of_a_cascade_without_one(corpus: sw.Corpus) -> None:
    """Every way of asking gives the same ids and scores with and without a shadow."""
    alone = sw.Cascade(live_stages(corpus))
    live, shadow = beside(corpus)
    with shadow:
        for query in QUERIES:
            assert told(live.search(query, k=5)) == told(alone.search(query, k=5))
            ours, theirs = (c.rank(query, DOCUMENTS[:9], k=4) for c in (live, alone))
            assert told(ours) == told(theirs)
        many = live.search_many(QUERIES, k=5)
        assert [told(each) for each in many] == [told(alone.search(q, k=5)) for q in QUERIES]
        assert shadow.wait(SOON)
    assert counts(shadow) == {"offered": 3 * len(QUERIES), "compared": 3 * len(QUERIES)}


def test_the_difference_is_that_of_two_plain_runs(corpus: sw.Corpus) -> None:
    """Ids, scores, filter and k are those that the other cascade gives when asked by hand."""
    found: list[Difference] = []
    live, shadow = beside(corpus, on_difference=found.append, texts=True)
    other = sw.Cascade(other_stages(corpus))
    with shadow:
        for query in QUERIES:
            live.search(query, k=7)
        live.rank("logs", DOCUMENTS, k=6, scores=range(40, 0, -1))
        assert shadow.wait(SOON)
    for query, each in zip(QUERIES, found):
        ours, theirs = live.search(query, k=7), other.search(query, k=7)
        assert each.text == query
        assert each.live.ids == tuple(ours.ids)
        assert each.shadow.ids == tuple(theirs.ids)
        assert (each.live.score, each.shadow.score) == (ours.hits[0].score, theirs.hits[0].score)
        assert each.overlap == len(set(ours.ids) & set(theirs.ids)) / 7
        ranks = {id: rank for rank, id in enumerate(theirs.ids, 1)}
        assert each.first_rank == ranks.get(ours.ids[0])
    theirs = other.rank("logs", DOCUMENTS, k=6, scores=range(40, 0, -1))
    assert found[-1].shadow.ids == tuple(theirs.ids)


def test_a_filter_holds_in_the_shadow_too() -> None:
    """The shadow is asked with the live call's filter."""
    documents = [sw.Document(str(at), "logs", {"team": at % 2}) for at in range(10)]
    with sw.Corpus.temporary(encoder=None) as corpus:
        corpus.add(documents)
        found: list[Difference] = []
        live, shadow = beside(corpus, on_difference=found.append)
        with shadow:
            live.search("logs", filter={"team": 1})
            live.rank("logs", documents, filter={"team": 1})
            assert shadow.wait(SOON)
    assert [set(each.shadow.ids) for each in found] == [{"1", "3", "5", "7", "9"}] * 2


async def test_awaited_calls_are_seen(corpus: sw.Corpus) -> None:
    """`asearch`, `arank` and `asearch_many` are compared, and answer the same."""
    live, shadow = beside(corpus)
    alone = sw.Cascade(live_stages(corpus))
    with shadow:
        found = await asyncio.gather(*(live.asearch(query, k=5) for query in QUERIES))
        assert [told(each) for each in found] == [told(alone.search(q, k=5)) for q in QUERIES]
        await live.arank("logs", DOCUMENTS)
        await live.asearch_many(QUERIES[:3])
        assert await asyncio.to_thread(shadow.wait, SOON)
    assert counts(shadow)["compared"] == len(QUERIES) + 1 + 3


def test_threads_are_seen_and_nothing_is_lost(corpus: sw.Corpus) -> None:
    """Of calls from eight threads each is either compared or counted as dropped."""
    live, shadow = beside(corpus, limit=5, threads=2)
    with shadow, ThreadPoolExecutor(8) as pool:
        list(pool.map(live.search, QUERIES * 5))
        assert shadow.wait(SOON)
        found = shadow.report().counts
    assert found["offered"] == len(QUERIES) * 5
    assert found["compared"] + found["dropped"] == found["offered"]
    assert found["compared"] > 0


class Panic(BaseException):
    """As a panic in a library's native code."""


@pytest.mark.parametrize("error", [ValueError("a secret"), Panic("a secret"), SystemExit(3)])
def test_a_shadow_that_raises_is_counted(
    corpus: sw.Corpus, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """Live answers are whole, each failure is counted by its type, and no message is logged."""

    @sw.stage
    def broken(candidates: sw.Candidates) -> sw.Candidates:
        raise error

    other = sw.Cascade([sw.BM25(corpus, k=5), broken], on_failure={"broken": "raise"})
    with caplog.at_level(logging.DEBUG), sw.Shadow(other) as shadow:
        live = sw.Cascade(live_stages(corpus), shadow=shadow)
        for _ in range(3):
            assert not live.search("logs", k=5).degraded
            assert shadow.wait(SOON)
        report = shadow.report()
    assert report.counts["failed"] == 3
    assert report.errors == {type(error).__name__: 3}
    assert "secret" not in caplog.text
    assert type(error).__name__ in caplog.text


def test_a_shadow_that_hangs_holds_nobody_up(corpus: sw.Corpus, gate: Gate) -> None:
    """Live calls return while the shadow stands still; what no longer fits is dropped and counted,
    and closing does not wait for it."""
    shadow = sw.Shadow(sw.Cascade([sw.BM25(corpus, k=5), gate]), limit=3)
    live = sw.Cascade(live_stages(corpus), shadow=shadow)
    live.search("logs")
    assert gate.entered.wait(SOON)
    for query in QUERIES[:10]:
        assert len(live.search(query, k=5)) == 5
    assert counts(shadow) == {"offered": 11, "dropped": 7, "waiting": 3, "running": 1}
    shadow.close(0.01)
    assert counts(shadow) == {"offered": 11, "dropped": 10, "running": 1}
    live.search("logs")
    assert counts(shadow) == {"offered": 12, "dropped": 11, "running": 1}


def test_it_works_on_no_more_than_it_may(corpus: sw.Corpus) -> None:
    """With three threads three queries are worked on at once, and never a fourth."""
    now, most, lock, all_in = 0, 0, threading.Lock(), threading.Event()

    @sw.stage
    def counted(candidates: sw.Candidates) -> sw.Candidates:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
            if now == 3:
                all_in.set()
        assert all_in.wait(SOON)
        with lock:
            now -= 1
        return candidates

    other = sw.Cascade([sw.BM25(corpus, k=5), counted])
    with sw.Shadow(other, threads=3) as shadow:
        live = sw.Cascade(live_stages(corpus), shadow=shadow)
        live.search_many(QUERIES)
        assert shadow.wait(SOON)
        assert counts(shadow)["compared"] == len(QUERIES)
    assert most == 3


def test_its_own_deadline_or_the_live_call_s(corpus: sw.Corpus) -> None:
    """A shadow's answer has its own deadline where one is set, else that of the live call."""
    seen: list[float | None] = []

    @sw.stage
    def look(candidates: sw.Candidates) -> sw.Candidates:
        seen.append(candidates.deadline)
        return candidates

    other = sw.Cascade([sw.BM25(corpus, k=5), look])
    for own, asked, there in [(None, None, False), (None, 9.0, True), (5.0, None, True)]:
        with sw.Shadow(other, deadline=own) as shadow:
            sw.Cascade(live_stages(corpus), shadow=shadow).search("logs", deadline=asked)
            assert shadow.wait(SOON)
        assert (seen.pop() is not None) == there


def test_a_degraded_shadow_is_told_apart(
    corpus: sw.Corpus, caplog: pytest.LogCaptureFixture
) -> None:
    """What is degraded in the shadow is in its report, and no warning is given of live answers."""

    @sw.stage
    def broken(candidates: sw.Candidates) -> sw.Candidates:
        raise OSError("gone")

    other = sw.Cascade([sw.BM25(corpus, k=5), broken], on_failure={"broken": "skip"})
    with sw.Shadow(other) as shadow:
        assert not sw.Cascade(live_stages(corpus), shadow=shadow).search("logs").degraded
        assert shadow.wait(SOON)
    assert dict(shadow.report().degraded) == {"live": 0, "shadow": 1}
    assert caplog.records == []


def test_a_sample_is_a_part(corpus: sw.Corpus) -> None:
    """At a rate of a quarter about a quarter is compared, and the rest is counted."""
    live, shadow = beside(corpus, rate=0.25)
    with shadow:
        live.search_many(QUERIES * 10, k=1)
        assert shadow.wait(SOON)
    found = counts(shadow)
    assert found["compared"] + found["unsampled"] == found["offered"] == 420
    assert 60 <= found["compared"] <= 155  # beyond five standard deviations


def test_blank_questions_and_failed_calls_are_not_compared(corpus: sw.Corpus) -> None:
    """Where there is no live answer there is nothing to compare."""
    live, shadow = beside(corpus)
    with shadow:
        live.search("  ")
        wrong = live.search_each(["logs", 3])  # type: ignore[list-item]
        assert isinstance(wrong[1], sw.InputError)
        assert shadow.wait(SOON)
    assert counts(shadow) == {"offered": 1, "compared": 1}


def test_log_lines_are_json_without_texts(
    corpus: sw.Corpus, caplog: pytest.LogCaptureFixture
) -> None:
    """A line has hash, ids and numbers; the question only when texts are switched on."""
    caplog.set_level(logging.INFO, logger="stepwell.shadow")
    for texts in (False, True):
        live, shadow = beside(corpus, texts=texts)
        with shadow:
            live.search("logs keys", k=5)
            assert shadow.wait(SOON)
    hidden, shown = (json.loads(record.getMessage()) for record in caplog.records)
    assert "logs" not in caplog.records[0].getMessage()
    assert shown.pop("text") == "logs keys"
    for each in (hidden, shown):
        del each["live"]["ms"], each["shadow"]["ms"], each["waited_ms"]
    assert hidden == shown
    assert hidden["live"]["ids"] == sw.Cascade(live_stages(corpus)).search("logs keys", k=5).ids


def test_a_log_line_can_be_written_whatever_the_ids_are(caplog: pytest.LogCaptureFixture) -> None:
    """Half a character in an id is a question mark in the line."""
    with sw.Shadow(sw.Cascade([sw.TopK(1)])) as shadow, caplog.at_level("INFO", "stepwell.shadow"):
        sw.Cascade([sw.TopK(1)], shadow=shadow).rank("logs", [sw.Document("a\ud800", "x")])
        assert shadow.wait(SOON)
    [line] = [each.getMessage() for each in caplog.records if each.name == "stepwell.shadow"]
    assert json.loads(line.encode())["live"]["ids"] == ["a?"]


def test_a_hash_is_the_same_for_the_same_question_and_salt(corpus: sw.Corpus) -> None:
    """Equal questions have one hash; with another salt it is another."""
    hashes = []
    for salt in ("", "", "a", "b"):
        found: list[Difference] = []
        live, shadow = beside(corpus, salt=salt, on_difference=found.append)
        with shadow:
            live.search("logs")
            live.search("keys")
            assert shadow.wait(SOON)
        assert "a" not in repr(shadow._salt) or salt != "a"
        hashes.append([each.query for each in found])
    assert hashes[0] == hashes[1]
    assert len({each for pair in hashes for each in pair}) == 6


def test_a_callback_that_fails_spoils_nothing(
    corpus: sw.Corpus, caplog: pytest.LogCaptureFixture
) -> None:
    """The difference is in the report, and a warning names the error's type alone."""

    def fail(difference: Difference) -> None:
        raise RuntimeError("a secret")

    live, shadow = beside(corpus, on_difference=fail)
    with shadow:
        live.search("logs")
        live.search("keys")
        assert shadow.wait(SOON)
    assert counts(shadow) == {"offered": 2, "compared": 2}
    assert [r.getMessage() for r in caplog.records] == ["on_difference failed: RuntimeError"] * 2


def test_inside_another_cascade_it_is_idle(corpus: sw.Corpus) -> None:
    """A cascade that is a stage answers nobody, so nothing is compared."""
    inner, shadow = beside(corpus)
    with shadow:
        sw.Cascade([inner, sw.TopK(3)]).search("logs")
        assert counts(shadow) == {}


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_a_copy_has_the_settings_and_a_report_of_its_own(copied: Any) -> None:
    """A copied cascade has a shadow that works, with empty books."""
    shadow = sw.Shadow(sw.Cascade([sw.TopK(1)]), rate=1.0, deadline=3.0, limit=7, salt="s", keep=5)
    live = sw.Cascade([sw.TopK(2)], shadow=shadow)
    with shadow:
        live.rank("q", ["a", "b"])
        assert shadow.wait(SOON)
        twin = copied(live)
        assert twin.shadow is not shadow
        assert (twin.shadow.deadline, twin.shadow.limit, twin.shadow.keep) == (3.0, 7, 5)
        with twin.shadow:
            assert counts(twin.shadow) == {}
            twin.rank("q", ["a", "b"])
            assert twin.shadow.wait(SOON)
            assert counts(twin.shadow) == {"offered": 1, "compared": 1}
        assert twin.shadow.report().changed[0].query == shadow.report().changed[0].query


def _in_child(live: sw.Cascade, answers: Any) -> None:
    live.rank("q", ["a", "b"])
    assert live.shadow is not None
    answers.put((live.shadow.wait(SOON), live.shadow.report().counts))


@pytest.mark.skipif(sys.platform != "linux", reason="a system without fork")
def test_the_child_of_a_fork_has_a_shadow_of_its_own(gate: Gate) -> None:
    """A process forked while the shadow is at work compares its own traffic, and that alone."""
    shadow = sw.Shadow(sw.Cascade([gate, sw.TopK(1)]))
    live = sw.Cascade([sw.TopK(2)], shadow=shadow)
    live.rank("q", ["a", "b"])
    assert gate.entered.wait(SOON)
    live.rank("q", ["a", "b"])
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    gate.opened.set()
    child = context.Process(target=_in_child, args=(live, answers))
    child.start()
    child.join(SOON)
    assert child.exitcode == 0
    settled, found = answers.get()
    assert settled
    assert (found["offered"], found["compared"], found["waiting"]) == (1, 1, 0)
    assert shadow.wait(SOON)
    shadow.close()
    assert counts(shadow) == {"offered": 2, "compared": 2}


def test_a_process_ends_while_a_shadow_hangs() -> None:
    """The interpreter exits in order, with nothing on standard error."""
    code = """
import threading
import stepwell as sw

entered = threading.Event()

@sw.stage
def hang(candidates):
    entered.set()
    threading.Event().wait()

live = sw.Cascade([sw.TopK(2)], shadow=sw.Cascade([hang]))
for _ in range(9):
    live.rank("q", ["a", "b"])
entered.wait(20)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_threads_end_when_there_is_nothing_to_do(
    corpus: sw.Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle shadow has no thread, and gets one with the next query."""
    monkeypatch.setattr("stepwell.shadow.line.IDLE", 0.01)
    live, shadow = beside(corpus)
    for already in range(2):
        live.search("logs")
        assert shadow.wait(SOON)
        for thread in threading.enumerate():
            if thread.name == "stepwell-shadow":
                thread.join(SOON)
                assert not thread.is_alive()
        assert counts(shadow)["compared"] == already + 1


def test_an_idle_thread_is_woken_and_does_not_look(
    corpus: sw.Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that waits for work sleeps once for each time that it is woken, and never else."""
    naps: list[float] = []
    clock = SimpleNamespace(sleep=naps.append, monotonic=time.monotonic)
    monkeypatch.setattr("stepwell.shadow.line.time", clock)
    live, shadow = beside(corpus)
    with shadow:
        for already in range(3):
            live.search("logs")
            assert shadow.wait(SOON)
            time.sleep(0.1)
            assert counts(shadow)["compared"] == len(naps) == already + 1


def test_without_a_thread_it_drops(corpus: sw.Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system gives no thread, what is offered is dropped at once, and compared again when
    it gives one."""
    live, shadow = beside(corpus)

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with shadow:
        with monkeypatch.context() as none_left:
            none_left.setattr(threading.Thread, "start", start)
            assert live.search("logs").ids
        assert shadow.wait(0)
        assert counts(shadow) == {"offered": 1, "dropped": 1}
        live.search("keys")
        assert shadow.wait(SOON)
        assert counts(shadow) == {"offered": 2, "dropped": 1, "compared": 1}


def test_without_another_thread_those_that_are_there_go_on(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two threads the second cannot start: what waits is done by the first."""
    shadow = sw.Shadow(sw.Cascade([gate, sw.TopK(1)]), threads=2)
    live = sw.Cascade([sw.TopK(2)], shadow=shadow)
    live.rank("one", ["a", "b"])
    assert gate.entered.wait(SOON)

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with shadow:
        with monkeypatch.context() as none_left:
            none_left.setattr(threading.Thread, "start", start)
            live.rank("two", ["a", "b"])
        assert counts(shadow) == {"offered": 2, "waiting": 1, "running": 1}
        gate.opened.set()
        assert shadow.wait(SOON)
        assert counts(shadow) == {"offered": 2, "compared": 2}


def test_wrong_settings_are_refused(corpus: sw.Corpus) -> None:
    """A number out of its range, or what is no cascade, is told when it is built."""
    other = sw.Cascade(live_stages(corpus))
    for wrong in ({"rate": 0}, {"rate": 1.1}, {"deadline": 0}, {"limit": 0}, {"threads": 0}):
        with pytest.raises(sw.ConfigurationError, match=next(iter(wrong))):
            sw.Shadow(other, **wrong)  # type: ignore[arg-type]
    with pytest.raises(sw.ConfigurationError, match="a shadow is a Cascade, not str"):
        sw.Cascade(live_stages(corpus), shadow="other")  # type: ignore[arg-type]


def test_a_file_holds_no_shadow(corpus: sw.Corpus, tmp_path: Any) -> None:
    """`save` writes the stages alone, `load` takes a shadow beside them, a file that names one is
    refused."""
    live, shadow = beside(corpus)
    shadow.close()
    live.save(tmp_path / "live.toml")
    assert "shadow" not in (tmp_path / "live.toml").read_text()
    loaded = sw.Cascade.load(tmp_path / "live.toml", corpus, shadow=sw.Cascade(live.stages))
    assert isinstance(loaded.shadow, sw.Shadow)
    assert sw.Cascade.load(tmp_path / "live.toml", corpus).shadow is None
    (tmp_path / "odd.toml").write_text('version = 1\nshadow = "b.toml"\n')
    with pytest.raises(sw.ConfigurationError, match="no option 'shadow'"):
        sw.Cascade.load(tmp_path / "odd.toml", corpus)
