from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell import MMR, Candidates, Cascade, ConfigurationError, Document, stage
from stepwell.stages.mmr import marginal_relevance
from stepwell.testing import WordEncoder

DOCUMENTS = [
    Document("a", "rotate the logs daily"),
    Document("a2", "daily rotate the logs"),
    Document("b", "the cat is fed at noon"),
]


def ranked():
    return Candidates.of("q", DOCUMENTS).scored("s", [1.0, 0.9, 0.5])


@given(st.integers(1, 12), st.integers(1, 12), st.floats(0, 1), st.integers(0, 999))
def test_it_picks_by_the_definition(n, k, weight, seed):
    """Against the paper's formula, evaluated anew for every pick; values never increase."""
    random = np.random.default_rng(seed)
    relevance = random.random(n)
    vectors = random.normal(size=(n, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    k = min(k, n)
    values = marginal_relevance(relevance, vectors, k, weight)
    picks = [at for at in np.argsort(-values, kind="stable") if not np.isnan(values[at])]
    assert len(picks) == k
    for step, pick in enumerate(picks):
        before = picks[:step]
        closest = max([0.0, *(float(vectors[pick] @ vectors[b]) for b in before)])
        expected = weight * relevance[pick] - (1 - weight) * closest
        assert values[pick] == pytest.approx(expected, abs=1e-5)
    assert not (np.diff(values[picks]) > 1e-9).any()


def test_it_prefers_what_is_new():
    after = MMR(encoder=WordEncoder(), k=2, weight=0.5).run(ranked())
    assert after.ids.tolist() == ["a", "b"]


def test_relevance_alone_keeps_the_order():
    after = MMR(encoder=WordEncoder(), k=3, weight=1.0).run(ranked())
    assert after.ids.tolist() == ["a", "a2", "b"]


def test_what_was_not_picked_is_next_in_line():
    @stage
    def s(candidates):
        return candidates.scored("s", [1.0, 0.9, 0.5])

    result = Cascade([s, MMR(encoder=WordEncoder(), k=2, weight=0.5)]).rank("q", DOCUMENTS, k=3)
    assert result.ids == ["a", "b", "a2"]
    assert "mmr" not in result.hits[2].scores


def test_stored_vectors_serve(corpus):
    before = Candidates.start("q").recalled(
        "s", ["rotate", "twice", "cat"], [1.0, 0.9, 0.5], source=corpus
    )
    assert MMR(corpus, k=2, weight=0.5).run(before).ids.tolist() == ["rotate", "cat"]


@pytest.mark.parametrize("options", [{"k": 0}, {"weight": 1.5}, {"corpus": 3}])
def test_what_is_built_wrong_is_refused(options):
    with pytest.raises(ConfigurationError):
        MMR(**options)


def test_repr():
    assert repr(MMR(encoder=WordEncoder(), weight=0.5)) == "MMR('words', k=10, weight=0.5)"
