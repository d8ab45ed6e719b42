"""A recording: begun, interrupted, gone on with, refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import stepwell as sw
from stepwell.errors import ConfigurationError, InputError, StageError
from stepwell.evaluate import Dataset
from stepwell.testing import WordEncoder
from stepwell.tune import Setting, Step, grid, record, sampled, take_apart
from stepwell.tune.recorded import Recorded

TEXTS = ["rotate the logs", "the disk is full", "the office cat", "logs on the disk", "a full cat"]
DATASET = Dataset(
    "tiny", {"q1": "logs", "q2": "cat?", "q3": "full disk"}, {"q1": {"0": 1}, "q2": {}, "q3": {}}
)


class Reader:
    """Counts what it reads; fails at a query if told to."""

    def __init__(self, *, fail_at: str = "") -> None:
        self.read: list[tuple[str, str]] = []
        self.fail_at = fail_at

    def __call__(self, query: str, passages: list[str]) -> list[float]:
        if query == self.fail_at:
            raise OSError("the model is gone")
        self.read += [(query, each) for each in passages]
        return [float(len(set(query.split()) & set(each.split()))) for each in passages]


@pytest.fixture(scope="module")
def corpus() -> Iterator[sw.Corpus]:
    with sw.Corpus.temporary(encoder=WordEncoder()) as made:
        made.add([sw.Document(str(at), text) for at, text in enumerate(TEXTS)])
        yield made


def cascade(corpus: sw.Corpus, reader: Reader) -> sw.Cascade:
    return sw.Cascade([sw.Hybrid(corpus, 4), sw.BiEncoder(corpus, 3), sw.CrossEncoder(reader, k=2)])


def test_each_pair_is_read_once(corpus: sw.Corpus) -> None:
    """For thousands of settings a passage is read once a question, and no more of them than any."""
    reader = Reader()
    recording = record(cascade(corpus, reader), DATASET)
    asked = [pair for pair in reader.read if pair[0] in DATASET.queries.values()]
    assert len(asked) == len(set(asked)) <= len(TEXTS) * len(DATASET.queries)
    assert len(recording.settings) > 1500
    before = len(reader.read)
    recording.values()
    recording.latencies()
    assert len(reader.read) == before


def test_an_interrupted_recording_goes_on(corpus: sw.Corpus, tmp_path: Path) -> None:
    """What was recorded stays, and is not read again; the result is that of one run."""
    broken, seen = Reader(fail_at="full disk"), []
    with pytest.raises(StageError, match="cross-encoder") as failed:
        record(
            cascade(corpus, broken),
            DATASET,
            folder=tmp_path / "kept",
            key="words",
            progress=lambda done, total: seen.append((done, total)),
        )
    assert isinstance(failed.value.__cause__, OSError)
    assert seen == [(1, 3), (2, 3)]
    reader = Reader()
    recording = record(cascade(corpus, reader), DATASET, folder=tmp_path / "kept", key="words")
    assert {query for query, _ in reader.read if query in DATASET.queries.values()} == {"full disk"}
    whole = record(cascade(corpus, Reader()), DATASET)
    assert recording.values().tolist() == whole.values().tolist()


def test_a_file_holds_all_of_a_query(corpus: sw.Corpus, tmp_path: Path) -> None:
    """Ids of any characters, scores to the last bit, and no value where none was asked."""
    ids = ['a "quoted" id', "ünï\u2028", "b\\c/d", "x" * 300]
    recorded = Recorded(
        ids,
        {"arm / of 10": (np.array([3, 0], dtype=np.int32), np.array([0.1, 1 / 3]))},
        values={"cross encoder": np.array([np.nan, 1e-300, 2.0, -1.0])},
        read={"cross encoder": np.array([False, True, True, True])},
        recall_ms={"arm / of 10": 1.5},
        encode_ms={"model": 0.5},
        calls={"cross encoder": [[3.0, 4.5]]},
    )
    recorded.save(tmp_path / "query.npz")
    again = Recorded.load(tmp_path / "query.npz")
    assert again.ids == ids
    assert again.lists["arm / of 10"][1].tolist() == [0.1, 1 / 3]
    assert again.lists["arm / of 10"][0].tolist() == [3, 0]
    np.testing.assert_array_equal(again.values["cross encoder"], recorded.values["cross encoder"])
    assert again.read["cross encoder"].tolist() == [False, True, True, True]
    assert (again.recall_ms, again.encode_ms) == (recorded.recall_ms, recorded.encode_ms)
    assert again.calls == recorded.calls
    assert [each.name for each in tmp_path.iterdir()] == ["query.npz"]


def test_another_recording_is_not_gone_on_with(corpus: sw.Corpus, tmp_path: Path) -> None:
    """Of other questions, settings or stages: it would give wrong numbers."""
    folder = tmp_path / "kept"
    record(cascade(corpus, Reader()), DATASET, folder=folder, key="words")
    other = replace(DATASET, queries={**DATASET.queries, "q1": "a log"})
    with pytest.raises(InputError, match="of other queries; remove it"):
        record(cascade(corpus, Reader()), other, folder=folder, key="words")
    alone = sw.Cascade([sw.BM25(corpus, 4)])
    with pytest.raises(InputError, match="of other stages"):
        record(alone, DATASET, folder=folder)
    (folder / "recording.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        record(alone, DATASET, folder=folder)
    (folder / "recording.json").unlink()
    with pytest.raises(InputError, match="holds no recording"):
        record(alone, DATASET, folder=folder)


def test_a_recording_of_other_options_is_not_replayed(corpus: sw.Corpus, tmp_path: Path) -> None:
    """An option that no setting has, here a filter, makes another recording."""
    folder = tmp_path / "kept"
    record(sw.Cascade([sw.Keyword(corpus, 4, filter={"lang": "en"})]), DATASET, folder=folder)
    with pytest.raises(InputError, match="of other options, models or documents"):
        record(sw.Cascade([sw.Keyword(corpus, 4, filter={"lang": "de"})]), DATASET, folder=folder)
    record(sw.Cascade([sw.Keyword(corpus, 4, filter={"lang": "en"})]), DATASET, folder=folder)


def test_a_recording_of_a_changed_corpus_is_not_replayed(tmp_path: Path) -> None:
    """As many documents as before are not the same documents."""
    with sw.Corpus.temporary(encoder=None) as corpus:
        corpus.add([sw.Document(str(at), text) for at, text in enumerate(TEXTS)])
        cascade = sw.Cascade([sw.BM25(corpus, 4)])
        record(cascade, DATASET, folder=tmp_path / "kept")
        corpus.delete(["0"])
        corpus.add([sw.Document("new", "logs, logs")])
        with pytest.raises(InputError, match="of other options, models or documents"):
            record(cascade, DATASET, folder=tmp_path / "kept")


def test_a_recording_of_a_function_is_kept_under_a_key(corpus: sw.Corpus, tmp_path: Path) -> None:
    """Functions are all alike from outside; without a key nothing is kept of one."""
    with pytest.raises(InputError, match="give key="):
        record(cascade(corpus, Reader()), DATASET, folder=tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
    record(cascade(corpus, Reader()), DATASET, folder=tmp_path / "kept", key="words")
    with pytest.raises(InputError, match="of other options, models or documents"):
        record(cascade(corpus, Reader()), DATASET, folder=tmp_path / "kept", key="other words")


def test_a_temporary_recording_is_removed(corpus: sw.Corpus) -> None:
    """With the object that holds it."""
    recording = record(sw.Cascade([sw.BM25(corpus, 4)]), DATASET)
    folder = recording.folder
    assert len(list(folder.iterdir())) == 3
    del recording
    assert not folder.exists()


@pytest.mark.parametrize(
    ("stages", "why"),
    [
        (lambda c: [sw.BM25(c), sw.TopK(3)], "'top-k' cannot be tuned: after recall only"),
        (lambda c: [sw.BM25(c), sw.stage(name="mine")(lambda x: x)], "'mine' cannot be tuned"),
        (lambda c: [sw.Cascade([sw.BM25(c)])], "'cascade' cannot be tuned: the first stage"),
        (lambda c: [sw.BiEncoder(c)], "'bi-encoder' cannot be tuned: the first stage must recall"),
        (
            lambda c: [sw.Hybrid([sw.Hybrid(c), sw.BM25(c, name="b")], name="outer")],
            "'hybrid' cannot be tuned: a recall inside",
        ),
    ],
)
def test_what_cannot_be_replayed_is_named(corpus: sw.Corpus, stages: object, why: str) -> None:
    """Before anything is recorded."""
    with pytest.raises(ConfigurationError, match=why):
        record(sw.Cascade(stages(corpus)), DATASET)  # type: ignore[operator]


def test_a_setting_of_another_cascade_is_refused(corpus: sw.Corpus) -> None:
    """By its stages and their order."""
    wrong = Setting(("bm25",), (4,), (1.0,), None, (Step("reader", 3, 0.5),))
    with pytest.raises(ConfigurationError, match=r"has no setting bm25 4 > reader 3 at \.5"):
        record(cascade(corpus, Reader()), DATASET, settings=[wrong])


def test_settings_are_drawn_at_random(corpus: sw.Corpus) -> None:
    """As many as asked for, the present one first, the same for the same seed."""
    every = grid(take_apart(cascade(corpus, Reader())))
    some = sampled(every, 50, seed=1)
    assert len(some) == len(set(some)) == 50
    assert some[0] == every[0]
    assert some == sampled(every, 50, seed=1) != sampled(every, 50, seed=2)
    assert sampled(every, 10**6) == every
    with pytest.raises(InputError, match="at least 1"):
        sampled(every, 0)


def test_a_recording_of_many_settings_serves_fewer(corpus: sw.Corpus) -> None:
    """Any part of them gives the same values as all together."""
    recording = record(cascade(corpus, Reader()), DATASET)
    some = sampled(recording.settings, 20, seed=3)
    every = dict(zip(recording.settings, recording.values().tolist()))
    assert recording.values(settings=some).tolist() == [every[each] for each in some]
    assert recording.latencies(some).shape == (20, 3)
    assert (recording.latencies(some) > 0).all()
