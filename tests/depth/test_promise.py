"""The promised error rate, kept on queries that were not used to calibrate."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from stepwell.candidates import Candidates
from stepwell.depth import Depth
from stepwell.depth.promise import fewest, interval, last_kept, p_value, upper_limit
from stepwell.errors import ConfigurationError, InputError
from stepwell.tune.depth import Curve, Trial, calibrate_depth, fit_depth
from tests.depth.formulas import MOST, QUESTIONS, K, cascade, curves, found, reads


def test_the_promise_is_kept_in_as_many_draws_as_it_says() -> None:
    """Of 24 calibrations on fresh queries, not more break their rate than the confidence allows."""
    population = curves(24 * 60, seed=99, n=30)
    rate, confidence, broken, reads = 0.1, 0.8, 0, []
    for draw in range(24):
        depth = fit_depth(
            curves(110, seed=draw, n=30),
            k=K,
            blend=0.5,
            most=30,
            error_rate=rate,
            confidence=confidence,
            step=8,
        )
        errors = [
            Trial.of(each, depth.completions, depth.looks, k=K, blend=0.5, tolerance=0).wrong_at(
                depth.bar
            )
            for each in population[draw * 60 : draw * 60 + 60]
        ]
        # The true rate of this rule, as far as 60 queries tell: only a clear excess counts.
        broken += p_over(sum(errors), 60, rate) < 0.05
        reads.append(depth.read)
    assert broken <= binom.ppf(0.999, 24, 1 - confidence)
    assert np.mean(reads) < 0.7 * 30


def p_over(errors: int, queries: int, rate: float) -> float:
    """How likely so many errors are if the rate is what was promised."""
    return float(binom.sf(errors - 1, queries, rate))


def test_the_rule_of_choice_breaks_its_level_no_more_often_than_it_may() -> None:
    """Among rules whose true rates are known, one above the promise is chosen at most so often."""
    rng = np.random.default_rng(5)
    rates = np.linspace(0.01, 0.2, 20)
    bad = 0
    for _ in range(400):
        draws = rng.random(150)
        last, _ = last_kept((draws < rate for rate in rates), error_rate=0.1, confidence=0.9)
        bad += last >= 0 and rates[last] > 0.1
    assert bad <= binom.ppf(0.999, 400, 0.1)


def test_the_sequence_ends_at_the_first_rule_that_fails() -> None:
    """A rule behind a failed one is not chosen, however well it does."""
    good, failing = np.zeros(100, dtype=bool), np.ones(100, dtype=bool)
    last, wrong = last_kept([good, failing, good], error_rate=0.05, confidence=0.9)
    assert last == 0
    assert wrong is not None
    assert not wrong.any()
    assert last_kept([failing], error_rate=0.05, confidence=0.9) == (-1, None)


@pytest.mark.parametrize("errors", [0, 1, 7, 60])
def test_the_test_and_the_limit_say_the_same(errors: int) -> None:
    """The p-value is below 1 - confidence just where the Clopper-Pearson limit is within."""
    limit = upper_limit(errors, 100, 0.9)
    assert p_value(errors, 100, limit + 1e-6) < 0.1 < p_value(errors, 100, limit - 1e-6)
    low, high = interval(errors, 100)
    assert low <= errors / 100 <= high


def test_no_errors_is_enough_from_the_fewest_on() -> None:
    """One query less than the fewest cannot promise the rate, even with no error."""
    for rate, confidence in ((0.05, 0.9), (0.1, 0.95), (0.01, 0.9)):
        needed = fewest(rate, confidence)
        assert p_value(0, needed, rate) <= 1 - confidence < p_value(0, needed - 1, rate)


def test_too_few_queries_are_refused_with_what_they_can_promise() -> None:
    """Nothing is read for a promise that cannot be made; the message has the numbers."""
    with pytest.raises(InputError, match=r"that takes 45 at least.*the best that 20"):
        calibrate_depth(cascade(), QUESTIONS[:30])
    with pytest.raises(InputError, match="cannot promise"):
        calibrate_depth(cascade(), ["the same"] * 500)
    with pytest.raises(ConfigurationError, match="error_rate"):
        calibrate_depth(cascade(), QUESTIONS, error_rate=0)


def test_no_question_is_both_learnt_from_and_tested_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The promise is tested on the queries whose scores the depth does not hold, and on all."""
    given, tried, original = curves(90), [], Trial.of

    def noted(curve: Curve, *rest: Any, **options: Any) -> Trial:
        tried.append(id(curve))
        return original(curve, *rest, **options)

    monkeypatch.setattr(Trial, "of", noted)
    depth = fit_depth(given, k=K, blend=0.5, most=MOST, error_rate=0.1)
    learnt = {tuple(row) for row in depth.curves.tolist()}
    shapes = {id(each): (each.values - each.values.mean()) / each.values.std() for each in given}
    rows = {at: tuple(shape.astype(np.float16).tolist()) for at, shape in shapes.items()}
    assert len(learnt) == 30
    assert {at for at, row in rows.items() if row not in learnt} == set(tried)
    assert len(tried) == depth.queries == 60


def test_many_repeats_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """A log that repeats itself gives the depth of its distinct questions, and one is told so."""
    options = {"error_rate": 0.2, "most": MOST}
    with caplog.at_level(logging.WARNING, logger="stepwell"):
        plain = calibrate_depth(cascade(), QUESTIONS[:60], **options)  # type: ignore[arg-type]
        assert not caplog.records
        asked = [*QUESTIONS[:60], *QUESTIONS[:2] * 20]
        logged = calibrate_depth(cascade(), asked, **options)  # type: ignore[arg-type]
    assert logged.to_dict() == plain.to_dict()
    assert [each.getMessage()[:28] for each in caplog.records] == ["40% of the queries are repea"]
    assert "of distinct queries" in str(logged)


def test_where_nothing_can_be_left_unread_all_is_read() -> None:
    """A reranker that agrees with nothing gives a depth that never stops, and says so."""
    rng = np.random.default_rng(0)
    noise = [each._replace(values=rng.normal(size=MOST)) for each in curves(120)]
    depth = fit_depth(noise, k=K, blend=1.0, most=MOST, error_rate=0.03)
    assert depth.read > 0.9 * MOST
    assert depth.errors <= 1


def test_a_tolerance_saves_more() -> None:
    """With one document of the top allowed to differ, the same error rate reads less."""
    strict, loose = (
        fit_depth(curves(200), k=K, blend=0.5, most=MOST, error_rate=0.1, tolerance=tolerance)
        for tolerance in (0, 1)
    )
    assert loose.read < strict.read


def test_the_draw_is_that_of_the_seed() -> None:
    """The same queries and seed give the same depth, in any copy."""
    one, two = (fit_depth(curves(120), k=K, blend=0.5, most=MOST, error_rate=0.1) for _ in "ab")
    assert one.to_dict() == two.to_dict()


def test_what_was_tried_is_what_a_stage_does(depth: Depth) -> None:
    """A stage reads as many candidates, and errs at the same questions, as the trial of it."""
    plain, bounded, wrong = cascade(MOST), cascade(depth), 0
    for query in (f"unseen {at}" for at in range(60)):
        given = found.run(Candidates.start(query))
        values = np.array(reads(query, given.texts()), dtype=np.float32)
        trial = Trial.of(
            Curve(given.score, values.astype(np.float64)),
            depth.completions,
            depth.looks,
            k=K,
            blend=0.5,
            tolerance=0,
        )
        result = bounded.search(query)
        assert result.trace.records[1].notes["read"] == trial.read_at(depth.bar)
        differs = set(result.ids) != set(plain.search(query).ids)
        assert differs == trial.wrong_at(depth.bar)
        wrong += differs
    assert wrong <= binom.ppf(0.999, 60, depth.error_rate)
