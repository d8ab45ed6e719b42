"""Passages encoded by Ray Data, with nodes and processes that die."""

from __future__ import annotations

import copy
import json
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from stepwell import (
    ConfigurationError,
    Corpus,
    Document,
    MilvusCorpus,
    MissingExtraError,
    RemoteError,
)
from stepwell.cli import app
from stepwell.ingest import Reading, Synced, sync
from stepwell.ray import RayEncoder
from stepwell.ray.cluster import connect
from tests.corpus.encoders import BagOfWords
from tests.ray.models import Gated, Noted, awaited_until, noted

FILL = " and so on" * 150
"""So that a few hundred passages are several of the blocks that workers take."""
WORDS = ("rotate", "log", "disk", "cat", "page", "team", "night", "copper")


def documents(n: int) -> list[Document]:
    return [
        Document(f"d{at}", f"{WORDS[at % 8]} {WORDS[at % 5]} number {at}{FILL}", {"n": at})
        for at in range(n)
    ]


def reading(given: list[Document]) -> Reading:
    return Reading("source", given, len(given))


def ahead_by(model: Any, **options: Any) -> RayEncoder:
    """One worker, where more would show nothing: each takes seconds to start."""
    return RayEncoder(model, **{"workers": 1, **options})


def loaded(place: Path, encoder: RayEncoder, given: list[Document], **options: Any) -> Synced:
    with Corpus.open(place, encoder=encoder) as corpus, encoder.ahead(given, corpus):
        return sync(corpus, reading(given), **options)


def assert_alike(place: Path, given: list[Document]) -> None:
    """The corpus holds each document once, with the vector that it has without Ray."""
    encoder = BagOfWords()
    with Corpus.open(place, encoder=encoder) as corpus, Corpus.temporary(encoder=encoder) as plain:
        sync(plain, reading(given))
        ids = [each.id for each in given]
        assert [each.id for each in corpus] == [each.id for each in plain] == ids
        assert corpus.get_many(ids) == plain.get_many(ids)
        assert np.array_equal(corpus.vectors_of(ids), plain.vectors_of(ids))
        for text in ("rotate", "copper night"):
            found, expected = corpus.search_text(text, 50), plain.search_text(text, 50)
            assert found.ids == expected.ids


def test_the_command_makes_the_same_corpus(machines, tmp_path: Path) -> None:
    """`stepwell index --ray` and `stepwell index` give the same ids, texts and vectors."""
    folder = tmp_path / "source"
    folder.mkdir()
    rows = [{"_id": each.id, "text": each.text[:60], "title": "T"} for each in documents(40)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = {}
    for name, options in (("plain", []), ("ray", ["--ray", "--ray-address", machines.address])):
        given = ["index", str(folder), "--to", str(tmp_path / name), "--json", *options]
        done = CliRunner().invoke(app, given)
        assert done.exit_code == 0, done.output
        assert "indexed 40 of 40" in done.stderr
        said[name] = {**json.loads(done.stdout), "corpus": ""}
    assert said["ray"] == said["plain"]
    with Corpus.open(tmp_path / "plain") as plain, Corpus.open(tmp_path / "ray") as made:
        ids = [each.id for each in plain]
        assert [each.id for each in made] == ids
        assert made.get_many(ids) == plain.get_many(ids)
        assert np.array_equal(made.vectors_of(ids), plain.vectors_of(ids))


def test_a_node_killed_meanwhile_loses_and_doubles_nothing(machines, tmp_path: Path) -> None:
    """What a machine that dies was encoding is encoded by another: every document is there once."""
    given, gate = documents(2_000), tmp_path / "gate"
    with machines.extra() as node, ThreadPoolExecutor(1) as thread:

        def kill() -> None:
            awaited_until(gate.exists, 120)
            machines.kill(node)

        killing = thread.submit(kill)
        encoder = RayEncoder(Gated(gate, node.node_id), workers=3)
        done = loaded(tmp_path / "c", encoder, given)
        assert killing.done()
    assert done == Synced(added=2_000)
    assert_alike(tmp_path / "c", given)


def test_a_killed_run_goes_on_and_encodes_what_is_missing(machines, tmp_path: Path) -> None:
    """After SIGKILL a second run encodes no text whose document was acknowledged."""
    given, log, place = documents(600), tmp_path / "log", tmp_path / "c"
    script = [sys.executable, "-W", "ignore", "-m", "tests.ray.killed", machines.address]
    with subprocess.Popen(
        [*script, str(place), str(log)], stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        assert next(line for line in run.stdout if line.startswith("done")) == "done 256\n"
        run.send_signal(signal.SIGKILL)
    with Corpus.open(place, encoder=BagOfWords()) as corpus:
        there = {each.text for each in corpus}
    assert 256 <= len(there) < 600
    again = tmp_path / "again"
    done = loaded(place, ahead_by(Noted(again)), given)
    assert done == Synced(added=600 - len(there), unchanged=len(there))
    assert sorted(noted(again)) == sorted({each.text for each in given} - there)
    assert_alike(place, given)


def test_what_changed_is_replaced_and_what_vanished_goes(machines, tmp_path: Path) -> None:
    """A later run over a changed source encodes the new texts alone."""
    given, log, place = documents(20), tmp_path / "log", tmp_path / "c"
    with Corpus.open(place, encoder=Noted(log)) as corpus:
        sync(corpus, reading(given))
    log.unlink()
    renamed = Document("d3", given[3].text, {"n": -3})
    rewritten = Document("d4", "night and copper", {"n": 4})
    now = [*given[:3], renamed, rewritten, *given[6:], Document("new", "page the team", {})]
    done = loaded(place, ahead_by(Noted(log)), now)
    assert done == Synced(added=1, changed=2, unchanged=17, removed=1)
    assert sorted(noted(log)) == ["night and copper", "page the team"]
    with Corpus.open(place, encoder=BagOfWords()) as corpus:
        assert corpus.get("d3").metadata["n"] == -3


def test_what_was_not_sent_ahead_is_encoded_here(machines, tmp_path: Path) -> None:
    """A text that the cluster was not given, and a query, have the inner encoder's vectors."""
    encoder, own, given = ahead_by(BagOfWords()), BagOfWords(), documents(5)
    texts = [*(each.text for each in given), "another text"]
    with encoder.ahead(given):
        assert np.array_equal(encoder.encode(texts), own.encode(texts))
    assert np.array_equal(encoder.encode(["log"], kind="query"), own.encode(["log"], kind="query"))
    assert (encoder.name, encoder.dimension) == (own.name, own.dimension)


def test_a_text_that_repeats_is_encoded_once(machines, tmp_path: Path) -> None:
    """However often it occurs before others, they are waited for, and nothing is made twice."""
    log = tmp_path / "log"
    given = [Document(f"s{n}", "the same night" + FILL) for n in range(1_300)] + documents(10)
    texts = {each.text for each in given}
    encoder = ahead_by(Noted(log))
    with encoder.ahead(given):
        encoder.encode([given[0].text])
        for start in range(1_298, len(given), 4):
            encoder.encode([each.text for each in given[start : start + 4]])
        assert sorted(noted(log)) == sorted(texts)


def test_a_corpus_in_milvus_is_loaded_alike(machines, tmp_path: Path) -> None:
    """Sent ahead, its documents have the vectors of the inner encoder, and none is made here."""
    given, own, log = documents(20), BagOfWords(), tmp_path / "log"
    encoder = ahead_by(Noted(log))
    with MilvusCorpus(tmp_path / "a.db", encoder=encoder) as corpus, encoder.ahead(given, corpus):
        corpus.upsert(given)
        made = corpus.vectors_of([each.id for each in given])
    assert np.allclose(made, own.encode([each.text for each in given]), atol=1e-3)
    assert len(noted(log)) == len(given)


def test_a_copy_is_the_inner_encoder(machines, tmp_path: Path) -> None:
    """A corpus that was opened with it pickles and copies; elsewhere nothing is on its way."""
    encoder = RayEncoder(BagOfWords())
    assert copy.deepcopy(encoder) is encoder
    with Corpus.open(tmp_path / "c", encoder=encoder) as corpus:
        corpus.add(documents(2))
        with pickle.loads(pickle.dumps(corpus)) as again:
            assert isinstance(again.encoder, BagOfWords)
            assert len(again) == 2


def test_another_model_on_a_worker_is_refused(machines, tmp_path: Path) -> None:
    """Vectors of a model of another name never reach the corpus."""
    encoder = ahead_by(Renamed())
    with pytest.raises(ConfigurationError, match="same version of stepwell"):
        loaded(tmp_path / "c", encoder, documents(3))
    with Corpus.open(tmp_path / "c", encoder=None) as corpus:
        assert len(corpus) == 0


def test_a_model_that_fails_is_one_error_without_texts(machines, tmp_path: Path) -> None:
    """What the encoder raises on a worker is a RemoteError that quotes no passage."""
    given = [*documents(2), Document("p", "the poison of the story")]
    with pytest.raises(RemoteError, match="RuntimeError") as raised:
        loaded(tmp_path / "c", ahead_by(Poisoned()), given)
    assert "poison" not in str(raised.value)
    assert raised.value.api == "ray"


def test_documents_that_can_be_read_once_are_refused(machines) -> None:
    """A generator is no source: a worker goes through the documents, too."""
    with (
        pytest.raises(ConfigurationError, match="twice"),
        RayEncoder(BagOfWords()).ahead(iter(documents(1))),
    ):
        pass


@pytest.mark.parametrize(
    ("options", "wrong"),
    [({"workers": 0}, "workers"), ({"cpus": -1}, "cpus"), ({"batch": "8"}, "batch")],
)
def test_wrong_numbers_are_refused(options: dict[str, Any], wrong: str) -> None:
    """A number that is none is named before anything is connected."""
    with pytest.raises(ConfigurationError, match=wrong):
        RayEncoder(BagOfWords(), **options)


def test_an_address_where_no_cluster_is(tmp_path: Path) -> None:
    """In a process of its own: one line that names the address, and what to start."""
    line = [sys.executable, "-m", "stepwell", "index", str(tmp_path), "--to", str(tmp_path / "c")]
    done = subprocess.run(
        [*line, "--ray", "--ray-address", "127.0.0.1:1"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "no Ray cluster at 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_ray_the_error_is_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Ray is not installed, both doors name the extra."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"stepwell\[ray\]"):
        connect()


def test_no_vectors_and_ray_contradict_each_other(tmp_path: Path) -> None:
    """`--ray --encoder none` is refused: there would be nothing to encode."""
    given = ["index", str(tmp_path), "--to", str(tmp_path / "c"), "--ray", "--encoder", "none"]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 2
    assert "--encoder none" in done.stderr


class Renamed(BagOfWords):
    """Called something else wherever it is unpickled."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, name="another")


class Poisoned(BagOfWords):
    def encode(self, texts, /, *, kind="passage"):
        if any("poison" in text for text in texts):
            raise RuntimeError(f"cannot read {texts}")
        return super().encode(texts, kind=kind)
