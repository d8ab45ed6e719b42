"""A depth calibrated on a formula."""

from __future__ import annotations

import pytest

from stepwell.depth import Depth
from stepwell.tune.depth import calibrate_depth
from tests.depth.formulas import MOST, QUESTIONS, cascade


@pytest.fixture(scope="session")
def depth() -> Depth:
    """Calibrated on those questions."""
    return calibrate_depth(cascade(), QUESTIONS, error_rate=0.1, most=MOST, audit=0.0)
