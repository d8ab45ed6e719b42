"""Another cascade beside live traffic: what it would have answered, and how that differs.

`Cascade(stages, shadow=other)` is all it takes; `docs/evaluation.md` says what is told.
"""

from __future__ import annotations

from stepwell.shadow.difference import Difference, Side
from stepwell.shadow.report import ShadowReport
from stepwell.shadow.shadow import Shadow

__all__ = ["Difference", "Shadow", "ShadowReport", "Side"]
