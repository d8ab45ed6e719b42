"""The simulation is right where the truth is known: queueing theory, and a real run."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench.simulate import (
    PAIRS,
    Costs,
    against_real,
    against_theory,
    erlang_c,
    measured,
    served,
    simulated,
    sized,
)

RECALL = {10**4: np.full(4, 0.002), 10**6: np.full(4, 0.003)}
COSTS = Costs(RECALL, np.full(4, 0.002), np.full(4, 0.001), np.full(4, 0.004))


def test_a_pool_serves_in_the_order_of_arrival() -> None:
    """Two cores, four jobs, by hand; the order in which they are named does not matter."""
    arrivals, takes = np.array([0.0, 0.1, 0.2, 5.0]), np.array([1.0, 2.0, 1.0, 1.0])
    assert served(arrivals, takes, 2).tolist() == [1.0, 2.1, 2.0, 6.0]
    assert served(arrivals[::-1], takes[::-1], 2).tolist() == [6.0, 2.0, 2.1, 1.0]


def test_waits_are_erlangs_and_numbers_are_littles() -> None:
    """M/M/4 at three quarters load: the mean wait within 5 %, jobs inside within 2 %."""
    assert erlang_c(3.0, 4) == pytest.approx(0.5094, abs=1e-4)
    assert erlang_c(0.5, 1) == pytest.approx(0.5)
    found = against_theory()
    assert found["wait"] == pytest.approx(found["erlang"], rel=0.05)
    assert found["inside"] == pytest.approx(found["little"], rel=0.02)


def test_a_real_run_is_answered_when_the_simulation_says() -> None:
    """Given arrivals and work of a real cascade behind one worker, it finds when each ended."""
    found = against_real(documents=300, queries=30)
    slack = 20 + 0.1 * found["real_ms"][1]  # handing over takes a moment, on a busy machine longer
    assert found["waited_ms"] > 0
    assert found["simulated_ms"] == pytest.approx(found["real_ms"], abs=slack)


def test_a_sized_system_keeps_up_at_any_scale() -> None:
    """Throughput is the rate asked for, and no latency is below the work that a query needs."""
    for documents, rate in ((10**6, 10), (10**8, 1_000), (10**9, 100)):
        row = simulated(COSTS, documents, rate)
        assert row["throughput"] == pytest.approx(rate, rel=0.1)
        least = (COSTS.recalled(10**4) + 16 * 0.004) * 1e3
        assert least < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]


def test_machines_grow_with_documents_and_with_queries() -> None:
    """More of either never needs fewer machines, and ranking grows with queries alone."""
    small, large, busy = (
        sized(COSTS, n, rate) for n, rate in ((10**6, 10), (10**9, 10), (10**9, 1_000))
    )
    assert small.machines < large.machines < busy.machines
    assert small.ranking == large.ranking < busy.ranking
    assert busy.ranking == pytest.approx(1_000 * PAIRS * 0.004 / 0.6, abs=1)


def test_costs_come_from_the_real_stages() -> None:
    """Every cost is measured, and recall over more documents is never taken for faster."""
    costs = measured((300, 900), queries=8, pairs=6)
    assert sorted(costs.recall) == [300, 900]
    assert [len(costs.encode), len(costs.rescore), len(costs.pairs)] == [8, 8, 6]
    assert min(each.mean() for each in (costs.encode, costs.rescore, costs.pairs)) > 0
    assert costs.recalled(10**7) >= costs.recalled(10**6) >= costs.recalled(900)
