"""A writer killed at any moment loses nothing that it acknowledged."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest

from stepwell import Corpus, Document
from tests.corpus.encoders import BagOfWords
from tests.corpus.killing import base, killed_run, text_of

RUNS = int(os.environ.get("STEPWELL_KILLS", "6"))
SIZE = int(os.environ.get("STEPWELL_KILL_DOCUMENTS", "500"))

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")


def test_a_killed_writer_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """Killed again and again, the corpus opens, agrees and holds what was acknowledged.

    STEPWELL_KILLS sets how often, STEPWELL_KILL_DOCUMENTS how many documents there are at first.
    """
    path = tmp_path / "c"
    rng = random.Random(7)
    with Corpus.open(path, encoder=BagOfWords()) as corpus:
        corpus.add(Document(id, text_of(id, "0"), {"turn": "0"}) for id in base(SIZE))
    sure = dict.fromkeys(base(SIZE), "0")
    for run in range(RUNS):
        said = killed_run(path, seed=run, seconds=rng.uniform(0.0, 1.0 + SIZE / 20_000), size=SIZE)
        open_change: dict[str, str | None] = {}
        for line in said:
            ids, turn = line["ids"], str(line["turn"])
            match line["verb"]:
                case "writing":
                    open_change = dict.fromkeys(ids, turn)
                case "deleting":
                    open_change = dict.fromkeys(ids, None)
                case "write":
                    sure.update(dict.fromkeys(ids, turn))
                    open_change = {id: turn for id in open_change if id not in ids}
                case "delete":
                    sure = {id: turn for id, turn in sure.items() if id not in ids}
                    open_change = {}
        _check(path, sure, open_change)


def test_a_corpus_killed_while_it_is_made_can_be_opened(tmp_path: Path) -> None:
    """Killed at any moment of its first second, the folder is a corpus or becomes one."""
    for run in range(max(RUNS // 2, 1)):
        path = tmp_path / str(run)
        killed_run(path, seed=run, seconds=0.3 + run / RUNS, from_start=True)
        with Corpus.open(path, encoder=BagOfWords()) as corpus:
            assert corpus.repaired == ()
            assert corpus.verify().ok


def _check(path: Path, sure: dict[str, str], open_change: dict[str, str | None]) -> None:
    """The corpus is what was acknowledged, give or take the one change that was under way."""
    with Corpus.open(path, encoder=BagOfWords()) as corpus:
        assert corpus.repaired == ()
        report = corpus.verify()
        assert report.ok, report
        held = {document.id: document for document in corpus}
        for id, turn in sure.items():
            if id not in open_change:
                assert held[id].metadata["turn"] == turn
        for id, document in held.items():
            turn = document.metadata["turn"]
            assert turn in (sure.get(id), open_change.get(id))
            assert document.text == text_of(id, turn)
        assert len(corpus) == len(held) == report.vectors
        for id in random.Random(1).sample(sorted(held), min(20, len(held))):
            assert id in corpus.search_text(held[id].text, 1000).ids
        # What the open change left is the truth from now on.
        sure.clear()
        sure.update({id: str(document.metadata["turn"]) for id, document in held.items()})
