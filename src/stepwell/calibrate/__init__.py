"""Probabilities of relevance: fitted to judged queries, and how far they can be trusted."""

from stepwell.calibrate.abstaining import Abstaining, Threshold
from stepwell.calibrate.calibration import Calibration, calibrate, calibrated, check
from stepwell.calibrate.fitting import METHODS, Method, fit
from stepwell.calibrate.hiding import hide
from stepwell.calibrate.scored import Pool, gather
from stepwell.evaluate.reliability import Bin, Reliability, reliability

__all__ = [
    "METHODS",
    "Abstaining",
    "Bin",
    "Calibration",
    "Method",
    "Pool",
    "Reliability",
    "Threshold",
    "calibrate",
    "calibrated",
    "check",
    "fit",
    "gather",
    "hide",
    "reliability",
]
