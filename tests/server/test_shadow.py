"""`stepwell serve --shadow`: another cascade beside searches."""

from __future__ import annotations

import json
import time
from pathlib import Path

import httpx
import pytest

import stepwell as sw
from stepwell.server import Service
from tests.server.serving import QUERY, command, post

STAGES = """
version = 1
[[stage]]
type = "bm25"
k = {k}
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    live, other = tmp_path / "live.toml", tmp_path / "other.toml"
    live.write_text(STAGES.format(k=5))
    other.write_text(STAGES.format(k=2) + '[[stage]]\ntype = "top-k"\nk = 1\n')
    return live, other


def test_searches_are_compared_and_the_end_tells(pages: Path, files: tuple[Path, Path]) -> None:
    """Answers are those of the live file; log, metrics and the last line tell the difference."""
    live, other = files
    with sw.Corpus.open(pages) as corpus:
        expected = sw.Cascade.load(live, corpus).search(QUERY, k=5).ids
        found = sw.Cascade.load(other, corpus).search(QUERY, k=5).ids
    with command(pages, "--cascade", str(live), "--shadow", str(other)) as served:
        served.ready()
        answer = post(served.url, "/search", {"query": QUERY, "k": 5}).json()
        assert [each["id"] for each in answer["documents"]] == expected
        for _ in range(400):
            metrics = httpx.get(f"{served.url}/metrics").text
            if 'stepwell_shadow_outcome="compared"' in metrics:
                break
            time.sleep(0.05)
        assert "stepwell_shadow_overlap_count" in metrics
        served.terminate()
        assert served.end() == 0
    (line,) = [each for each in served.lines if "stepwell.shadow INFO" in each]
    told = json.loads(line[line.index("{") :])
    assert (told["live"]["ids"], told["shadow"]["ids"]) == (expected, found)
    (last,) = [each for each in served.lines if "the shadow: " in each]
    report = json.loads(last[last.index("{") :])
    assert report["counts"]["offered"] == report["counts"]["compared"] == 1
    assert QUERY not in served.said


def test_a_shadow_needs_a_corpus(files: tuple[Path, Path]) -> None:
    """A server that only reranks has no searches to compare."""
    with pytest.raises(sw.InputError, match="name a corpus"):
        Service.open(None, shadow_file=files[1])
