import json

import numpy as np
import pytest

from stepwell import InputError
from stepwell.evaluate import Dataset, compare, evaluate
from stepwell.evaluate.comparison import comparison_page, comparison_sheets

DATASET = Dataset(
    name="set",
    queries={f"q{n}": f"secret {n}" for n in range(12)},
    qrels={f"q{n}": {f"d{n}": 1} for n in range(12)},
)


def finds(place: int, *, but: int = 0):
    """A system that puts the right document at this place, and first for some queries."""

    def answer(text: str) -> list[str]:
        n = int(text.split()[1])
        at = 0 if n < but else place
        return [*(f"other{i}" for i in range(at)), f"d{n}"]

    return answer


def report(system, **options):
    return evaluate(system, DATASET, **options)


def test_a_comparison_has_quality_time_and_differences() -> None:
    """Each later system is compared with the first; the numbers are those of the reports."""
    reports = {"a": report(finds(3)), "b": report(finds(0)), "c": report(finds(3, but=1))}
    found = json.loads(json.dumps(compare(reports).to_dict()))
    assert list(found) == ["dataset", "queries", "systems", "differences", "changed"]
    assert [each["name"] for each in found["systems"]] == ["a", "b", "c"]
    assert found["systems"][1]["measures"] == reports["b"].measures
    assert found["systems"][1]["latency_ms"]["p99"] > 0
    pairs = [(each["of"], each["over"], each["measure"]) for each in found["differences"]]
    assert pairs == [(of, "a", m) for of in "bc" for m in ("nDCG@10", "MRR@10", "R@100")]
    large, small = found["differences"][1], found["differences"][4]
    assert large["mean"] == pytest.approx(1 - 1 / 4)
    # All twelve rose: of 2**12 flips two are as far off, and six comparisons were made.
    assert large["p"] == pytest.approx(2 / 2**12, abs=1e-6)
    assert large["p_holm"] == pytest.approx(6 * 2 / 2**12, abs=1e-6)
    assert (small["p_holm"], small["better"], small["worse"]) == (1.0, 1, 0)


def test_the_queries_that_changed_most_come_first_by_id() -> None:
    """Queries are ordered by how far the systems are apart; equal ones are left out."""
    found = compare({"a": report(finds(3)), "b": report(finds(3, but=2))})
    assert [(each.query, each.spread) for each in found.changed] == [
        (f"q{n}", pytest.approx(1 - 1 / np.log2(5), abs=1e-6)) for n in range(2)
    ]


def test_the_furthest_apart_come_first() -> None:
    """A query that moved by more places stands above one that moved by fewer."""

    def sinking(text: str) -> list[str]:
        return finds(int(text.split()[1]) % 5)(text)

    found = compare({"a": report(finds(0)), "b": report(sinking)}).changed
    assert [each.query for each in found] == ["q4", "q9", "q3", "q8", "q2", "q7", "q1", "q6", "q11"]
    spreads = [each.spread for each in found]
    assert spreads == sorted(spreads, reverse=True)


def test_text_is_shown_only_when_it_is_given() -> None:
    """Without texts no question appears in JSON, tables or page; with them it does."""
    found = compare({"a": report(finds(3)), "b": report(finds(0))})

    def shown(**texts) -> str:
        made = [found.to_dict(**texts), comparison_page(found, **texts)]
        return repr([*made, comparison_sheets(found, **texts)])

    assert "secret" not in shown()
    assert shown(texts=DATASET.queries).count("secret 7") >= 3


def test_a_baseline_is_compared_in_the_report() -> None:
    """`baseline=` puts the differences of every measure into the report."""
    before = report(finds(3), measures=["RR@10", "R@1000"], preset="before")
    after = report(finds(0), measures=["RR@10", "R@1000"], baseline=before)
    assert after.baseline.name == "before"
    found = after.to_dict()["baseline"]["differences"]
    assert (found["RR@10"]["mean"], found["R@1000"]["mean"]) == (0.75, 0.0)
    assert found["RR@10"]["p_holm"] == pytest.approx(2 * 2 / 2**12, abs=1e-6)
    assert found["R@1000"]["p"] == 1.0


def test_what_cannot_be_compared_is_refused() -> None:
    """One system alone, other queries and other measures are errors before anything is asked."""
    alone = report(finds(0))
    with pytest.raises(InputError, match="two systems or more"):
        compare({"a": alone})
    fewer = evaluate(finds(0), DATASET.sample(5))
    with pytest.raises(InputError, match="other queries or measures"):
        compare({"a": alone, "b": fewer})
    asked: list[str] = []

    def system(text: str) -> list[str]:
        asked.append(text)
        return ["d1"]

    with pytest.raises(InputError, match="other queries"):
        report(system, baseline=fewer)
    with pytest.raises(InputError, match="not measured by R@5"):
        report(system, baseline=alone, measures=["R@5"])
    assert asked == []


def test_one_query_proves_nothing() -> None:
    """On a single query no difference is significant, and the interval is everything."""
    one = DATASET.sample(1)
    found = compare({"a": evaluate(finds(5), one), "b": evaluate(finds(0), one)})
    worst = found.over_first["b", "nDCG@10"]
    assert (worst.p_holm, worst.interval95) == (1.0, (-1.0, 1.0))
    assert "one query says nothing" in found.reports["a"].remarks[0]
