"""A depth that differs by query, at a stated error rate; `stepwell.tune.calibrate_depth` makes it.

`docs/adaptive-depth.md` says what is promised and how it is kept.
"""

from stepwell.depth.calibrated import Depth
from stepwell.depth.drift import Detector, Watch
from stepwell.depth.made_for import described
from stepwell.depth.reading import Reading

__all__ = ["Depth", "Detector", "Reading", "Watch", "described"]
