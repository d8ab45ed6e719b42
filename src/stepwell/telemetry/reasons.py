"""Why a stage did not do its work, in few different words: a metric has a series for each."""

from __future__ import annotations

from stepwell.errors import RemoteError
from stepwell.trace import StageRecord

_KNOWN = ("deadline", "nothing was recalled", "no candidates", "recalls only", "resting")


def reason_of(record: StageRecord) -> str:
    """The type of the error, or what the reason begins with; empty if there is none.

    Of a server that answered with an error the class of its status is added: "RemoteError 5xx".
    """
    if record.error is not None:
        kind = type(record.error).__qualname__
        status = record.error.status if isinstance(record.error, RemoteError) else 0
        return f"{kind} {status // 100}xx" if 100 <= status < 600 else kind
    known = (each for each in _KNOWN if record.reason.startswith(each))
    return next(known, "other" if record.reason else "")
