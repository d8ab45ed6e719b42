"""What a setting would take is the sum of what its parts took."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import stepwell as sw
from stepwell.testing import WordEncoder
from stepwell.tune import Anatomy, Setting, Step, take_apart
from stepwell.tune.cost import Costs
from stepwell.tune.recorded import Recorded, list_key, recall_key

HYBRID = (("bm25", "dense"), (10, 10))
ALONE = (("bm25",), (10,))


@pytest.fixture(scope="module")
def anatomy() -> Iterator[Anatomy]:
    with sw.Corpus.temporary(encoder=WordEncoder()) as corpus:
        corpus.add([sw.Document("a", "logs")])
        read = sw.CrossEncoder(lambda query, texts: [0.0 for _ in texts], k=5)
        yield take_apart(sw.Cascade([sw.Hybrid(corpus, 10), sw.BiEncoder(corpus, 8), read]))


def recorded(slower: float = 1.0, *, noise: bool = False) -> Recorded:
    """Ten candidates an arm, five in both; a bi-encoder of 1 + n/10 ms, a reader of 4 + 3n."""
    places = np.arange(10, dtype=np.int32)
    lists = {
        list_key("bm25", 10): (places, np.zeros(10)),
        list_key("dense", 10): (places + 5, np.zeros(10)),
    }
    calls = {
        "bi-encoder": [[n, slower * (1 + n / 10)] for n in (2, 5, 8)],
        "cross-encoder": [[n, slower * (4 + 3 * n)] for n in (1, 4, 7)],
    }
    if noise:
        calls["cross-encoder"] = [[1.0, 50.0], [4.0, 40.0], [7.0, 30.0]]
    return Recorded(
        [f"d{at}" for at in range(15)],
        lists,
        recall_ms={recall_key(*HYBRID): 6.0, recall_key(*ALONE): 2.0},
        encode_ms={"words": 7.0},
        calls=calls,
    )


def setting(arms: tuple[tuple[str, ...], tuple[int, ...]], *steps: Step) -> Setting:
    names, depths = arms
    fusion = "convex" if len(names) > 1 else None
    return Setting(names, depths, (1.0,) * len(names), fusion, steps)


def test_the_parts_are_added(anatomy: Anatomy) -> None:
    """Recall, encoding once, each stage for as many as it is given, and no more than there are."""
    costs = Costs([recorded(), recorded()], anatomy)
    bi, read = Step("bi-encoder", 10, 0.5), Step("cross-encoder", 4, 0.5)
    assert costs.of(setting(ALONE)) == pytest.approx([2.0, 2.0])
    assert costs.of(setting(HYBRID)) == pytest.approx([13.0, 13.0])
    assert costs.of(setting(HYBRID, bi)) == pytest.approx([15.0, 15.0])
    assert costs.of(setting(HYBRID, bi, read)) == pytest.approx([31.0, 31.0])
    assert costs.of(setting(ALONE, bi)) == pytest.approx([11.0, 11.0])
    assert costs.of(setting(ALONE, read)) == pytest.approx([18.0, 18.0])
    whole = Step("cross-encoder", None, 0.5)
    assert costs.of(setting(HYBRID, whole)) == pytest.approx([13.0 + 4 + 3 * 15] * 2)


def test_a_dear_query_is_predicted_dear(anatomy: Anatomy) -> None:
    """Longer passages cost more; the mean over queries says nothing of the slowest."""
    costs = Costs([recorded(), recorded(3.0)], anatomy)
    cheap, dear = costs.of(setting(ALONE, Step("cross-encoder", 7, 0.5))) - 2.0
    assert dear == pytest.approx(3 * cheap)


def test_noise_makes_nothing_free(anatomy: Anatomy) -> None:
    """Where more candidates happened to take less, each still costs its share."""
    costs = Costs([recorded(noise=True)], anatomy)
    few, many = (costs.of(setting(ALONE, Step("cross-encoder", n, 0.5)))[0] for n in (2, 8))
    assert many - 2.0 == pytest.approx(4 * (few - 2.0))


def test_nothing_found_costs_no_reading(anatomy: Anatomy) -> None:
    """A query that recalls nothing is not read for."""
    empty = recorded()
    none = np.empty(0, dtype=np.int32)
    empty.lists = dict.fromkeys(empty.lists, (none, np.empty(0)))
    empty.calls = {"bi-encoder": [], "cross-encoder": []}
    costs = Costs([recorded(), empty], anatomy)
    assert costs.of(setting(ALONE, Step("cross-encoder", 4, 0.5)))[1] == 2.0
