"""Why a stage did not do its work, in few different words: a metric has a series for each."""

from __future__ import annotations

from stepwell.trace import StageRecord

_KNOWN = ("deadline", "nothing was recalled", "no candidates", "recalls only", "resting")


def reason_of(record: StageRecord) -> str:
    """The type of the error, or what the reason begins with; empty if there is none."""
    if record.error is not None:
        return type(record.error).__qualname__
    known = (each for each in _KNOWN if record.reason.startswith(each))
    return next(known, "other" if record.reason else "")
