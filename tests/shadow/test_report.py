"""The numbers of a report are those of a plain computation."""

from __future__ import annotations

import random

import numpy as np
import pytest
from scipy import stats

from stepwell.shadow.difference import Difference, Side, overlaps
from stepwell.shadow.report import Books, Mean, report_of
from stepwell.telemetry import rank_biased_overlap


def difference(live: str, shadow: str, *, ms: float = 1.0, degraded: bool = False) -> Difference:
    sides = (Side(tuple(live), 1.0, ms, False), Side(tuple(shadow), 2.0, 3 * ms, degraded))
    return Difference(f"{live}/{shadow}", None, "live", *sides, *overlaps(live, shadow), 0.0)


@pytest.mark.parametrize(
    ("live", "shadow", "shared"),
    [
        ("abcde", "abcde", 1.0),
        ("abcde", "edcba", 1.0),
        ("abcde", "vwxyz", 0.0),
        ("abcd", "abxy", 0.5),
        ("abcd", "a", 0.25),
        ("", "", 1.0),
        ("a", "", 0.0),
        ("abcdefghijKLM", "KLMabcdefghij", 0.7),
    ],
)
def test_overlap_is_what_the_first_ten_share(live: str, shadow: str, shared: float) -> None:
    """Shared ids in parts of the longer ten, whatever their order; the rank-biased one sees it."""
    assert overlaps(live, shadow) == (shared, rank_biased_overlap(live, shadow))


def test_a_difference_as_plain_values() -> None:
    """Ten ids of each, the rank of the live first, scores, times and states."""
    made = difference("abcdefghijklm", "bacdefghijklm", ms=2.0, degraded=True).to_dict()
    assert made == {
        "query": "abcdefghijklm/bacdefghijklm",
        "cascade": "live",
        "overlap@10": 1.0,
        "rank_biased_overlap": 0.9,
        "first_rank": 2,
        "live": {"ms": 2.0, "degraded": False, "score": 1.0, "ids": list("abcdefghij")},
        "shadow": {"ms": 6.0, "degraded": True, "score": 2.0, "ids": list("bacdefghij")},
        "waited_ms": 0.0,
    }
    assert difference("ab", "xy").first_rank is None
    assert difference("", "xy").first_rank is None


def test_means_intervals_and_percentiles_are_those_of_numpy_and_scipy() -> None:
    """Over two hundred random answers."""
    chance = random.Random(3)
    letters = "abcdefghijklmnop"
    found = [
        difference(
            "".join(chance.sample(letters, 10)),
            "".join(chance.sample(letters, 10)),
            ms=chance.random() * 50,
            degraded=at % 4 == 0,
        )
        for at in range(200)
    ]
    report = report_of(found, counts={"compared": 200}, errors={})
    shares = [len(set(each.live.ids) & set(each.shadow.ids)) / 10 for each in found]
    z = stats.norm.ppf(0.975)
    weights = [1.0] * 200 + [z * z / 2] * 2
    centre = np.average([*shares, 0, 1], weights=weights)
    spread = np.average((np.array([*shares, 0, 1]) - centre) ** 2, weights=weights)
    low, high = stats.norm.interval(0.95, centre, np.sqrt(spread / (200 + z * z)))
    assert (low, high) == pytest.approx(
        stats.norm.interval(0.95, np.mean(shares), stats.sem(shares)), abs=0.01
    )
    assert report.overlap.value == pytest.approx(np.mean(shares))
    assert report.overlap.interval95 == pytest.approx((low, high))
    firsts = [each.live.ids[0] == each.shadow.ids[0] for each in found]
    assert report.same_first.value == pytest.approx(np.mean(firsts))
    wilson = stats.binomtest(sum(firsts), 200).proportion_ci(method="wilson")
    assert report.same_first.interval95 == pytest.approx((wilson.low, wilson.high))
    for side, factor in (("live", 1), ("shadow", 3)):
        values = np.percentile([factor * each.live.ms for each in found], [50, 95, 99])
        assert list(report.latency_ms[side].values()) == pytest.approx(values, abs=1e-3)
    assert dict(report.degraded) == {"live": 0, "shadow": 50}
    order = sorted(range(200), key=lambda at: (shares[at], found[at].rank_biased_overlap))
    assert report.changed == tuple(found[at] for at in order[:10])


def test_an_interval_stays_within_shares() -> None:
    """Nothing, one, equal ones and ones near the edge."""
    assert Mean.of([]) == Mean(None, (0.0, 1.0))
    assert Mean.of([0.5]) == Mean(0.5, (0.0, 1.0))
    assert Mean.of([1.0, 1.0, 0.9]).interval95[1] == 1.0
    assert Mean.of([0.0, 0.0, 0.1]).interval95[0] == 0.0


@pytest.mark.parametrize("share", [0.05, 0.5, 0.98])
@pytest.mark.parametrize("count", [2, 10, 100])
def test_intervals_hold_the_mean_they_are_drawn_from(share: float, count: int) -> None:
    """In 1,000 draws of values of 1 and .2, at least 90% of the intervals hold the true mean, for a
    few answers that agree as for many."""
    chance = np.random.default_rng(7)
    drawn = chance.random((1000, count)) < share
    overlap = [Mean.of(np.where(row, 1.0, 0.2).tolist()).interval95 for row in drawn]
    same = [Mean.share(row.tolist()).interval95 for row in drawn]
    held = [(low <= 0.2 + 0.8 * share <= high) for low, high in overlap]
    assert np.mean(held) >= 0.9
    assert np.mean([low <= share <= high for low, high in same]) >= 0.85


@pytest.mark.parametrize("count", [2, 3, 1000])
def test_answers_that_all_agree_are_no_certainty(count: int) -> None:
    """Every interval of the report reaches below 1, and less far the more there are."""
    report = report_of([difference("ab", "ab")] * count, counts={}, errors={})
    for each in (report.overlap, report.rank_biased_overlap, report.same_first):
        assert each.value == 1.0
        assert each.interval95[1] == 1.0
        assert 0.2 < each.interval95[0] < 0.2 + 0.8 * count / (count + 2)


def test_equal_answers_are_not_listed_and_shortened_ones_are() -> None:
    """An answer that is the beginning of the other has a rank-biased overlap of 1, and differs."""
    found = [difference("abc", "abc"), difference("abc", "a")]
    assert found[1].rank_biased_overlap == 1.0
    assert report_of(found, counts={}, errors={}).changed == (found[1],)


def test_books_keep_the_latest_and_count_all() -> None:
    """Of five, with room for two, the last two are reported, and five are counted."""
    books = Books(2)
    for at in range(5):
        books.compared(difference("ab", "ab", ms=float(at)))
    books.failed("OSError")
    report = books.report({"waiting": 1, "running": 0})
    assert report.kept == 2
    assert report.latency_ms["live"]["p50"] == 3.5
    assert report.counts == {
        "offered": 0,
        "unsampled": 0,
        "compared": 5,
        "failed": 1,
        "dropped": 0,
        "waiting": 1,
        "running": 0,
    }
    assert report.errors == {"OSError": 1}


def test_a_report_reads_as_a_table() -> None:
    """Counts, means with intervals, times by side, and the queries that differ most."""
    lines = str(report_of([difference("ab", "ba")], counts={"compared": 1}, errors={})).splitlines()
    assert lines == [
        "1 compared",
        "of the latest 1:",
        "  overlap@10           1.000 (0.000 to 1.000)",
        "  rank-biased overlap  0.900 (0.000 to 1.000)",
        "  same first           0.000 (0.000 to 1.000)",
        "  live                 p50 1.0 ms, p95 1.0 ms, p99 1.0 ms, 0 degraded",
        "  shadow               p50 3.0 ms, p95 3.0 ms, p99 3.0 ms, 0 degraded",
        "  differ most, by overlap@10 and rank-biased overlap:",
        "    1.000  0.900  ab/ba",
    ]
    assert "nothing yet" in str(report_of([], counts={}, errors={}))
