"""The page of a cascade whose cross-encoder stops when it is sure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import stepwell as sw
from stepwell.tune import calibrate_depth, with_depth
from tests.depth.formulas import MOST, QUESTIONS, cascade


@pytest.mark.parametrize("bar", [0.5, -1.0])
def test_behind_a_depth_that_differs_by_query_there_are_no_sliders(
    opened: Callable[..., Any], bar: float
) -> None:
    """What it left and how it ordered cannot be computed, and the page says why; answers stay."""
    depth = calibrate_depth(cascade(), QUESTIONS[:60], error_rate=0.2, most=MOST, audit=0.0)
    plain = {**depth.to_dict(), "bar": bar}
    made = with_depth(cascade(), type(depth).of(plain))
    result: sw.Result = made.search("unseen")
    page = opened(result.to_html())
    assert page.locator("#turn input").count() == 0
    hint = page.inner_text("#turn-hint")
    assert hint.startswith("cross-encoder reads as much as each question needs, so")
    assert page.evaluate("answerOf(null).length") == len(result)
