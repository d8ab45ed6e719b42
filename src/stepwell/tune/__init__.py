"""Tuning: run every stage once, replay thousands of settings exactly, choose within a budget."""

from stepwell.tune.anatomy import Anatomy, build, take_apart
from stepwell.tune.choosing import Choice, HeldOut, Tuned, tune
from stepwell.tune.depth import calibrate_depth, with_depth
from stepwell.tune.grid import grid, sampled
from stepwell.tune.recording import Ranking, Recording, record
from stepwell.tune.setting import Setting, Step
from stepwell.tune.verifying import Verified, verify

__all__ = [
    "Anatomy",
    "Choice",
    "HeldOut",
    "Ranking",
    "Recording",
    "Setting",
    "Step",
    "Tuned",
    "Verified",
    "build",
    "calibrate_depth",
    "grid",
    "record",
    "sampled",
    "take_apart",
    "tune",
    "verify",
    "with_depth",
]
