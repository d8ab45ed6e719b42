from __future__ import annotations

import pytest

from stepwell import (
    BM25,
    BiEncoder,
    Cascade,
    ConfigurationError,
    Corpus,
    CrossEncoder,
    Dense,
    Document,
    Hybrid,
)
from stepwell.stages import PRESETS, default_stages, preset

SHAPES = {
    "bm25": [(BM25, 1000)],
    "dense": [(Dense, 1000)],
    "hybrid": [(Hybrid, 1000)],
    "two-stage": [(Hybrid, 100), (CrossEncoder, 10)],
    "classic": [(BM25, 1000), (BiEncoder, 50), (CrossEncoder, 10)],
    "three-stage": [(Hybrid, 1000), (BiEncoder, 50), (CrossEncoder, 10)],
}


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_has_its_stages_and_depths(corpus, name):
    assert [(type(stage), stage.k) for stage in preset(name, corpus)] == SHAPES[name]


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_answers_what_is_asked_and_ranks_what_is_brought(corpus, name):
    """With a corpus and without one; over brought documents no other document is answered."""
    result = Cascade(preset(name, corpus)).search("how do I rotate the logs?", k=3)
    assert len(result) == 3
    assert {"rotate", "twice"} <= set(result.ids)
    assert not result.degraded
    documents = [Document("cat", "The office cat."), Document("log", "Rotate the logs daily.")]
    for over in (corpus, None):
        ranked = Cascade(preset(name, over)).rank("how do I rotate the logs?", documents)
        assert ranked.ids == ["log", "cat"]


def test_the_textbook_replaces_the_order_and_the_default_blends(corpus):
    assert [stage.blend for stage in preset("classic", corpus)[1:]] == [1.0, 1.0]
    assert all(0 < stage.blend < 1 for stage in default_stages(corpus)[1:])


@pytest.mark.parametrize("k", [1, 10, 200, 5000])
def test_no_stage_keeps_less_than_is_asked_for(corpus, k):
    for name in PRESETS:
        assert all(stage.k >= k for stage in preset(name, corpus, k))


def test_the_default_is_three_stage(corpus):
    assert [repr(stage) for stage in default_stages(corpus, k=7)] == [
        repr(stage) for stage in preset("three-stage", corpus, k=7)
    ]
    assert repr(Cascade.default(corpus)) == "Cascade(hybrid > bi-encoder > cross-encoder)"


def test_what_is_no_preset_is_refused_and_those_there_are_named(corpus):
    with pytest.raises(ConfigurationError, match="'best'; there are bm25, dense"):
        preset("best", corpus)
    with pytest.raises(ConfigurationError, match="k must be"):
        preset("bm25", corpus, k=0)
    with pytest.raises(ConfigurationError, match="needs a Corpus"):
        preset("bm25", "path")
    with Corpus.temporary(encoder=None) as bare, pytest.raises(ConfigurationError, match="BM25"):
        default_stages(bare)
