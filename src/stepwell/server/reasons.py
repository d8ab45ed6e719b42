"""Why a stage failed, as far as a client is told."""

from __future__ import annotations

import re
from typing import Any

_ERROR = re.compile(r"^(\w+Error): .*", re.DOTALL)


def kinds_only(trace: dict[str, Any], /) -> dict[str, Any]:
    """A trace for clients: of an error its type, without the words of a server behind this one.

    Args:
        trace: With its records as `stages`, those inside one as `children`.
    """
    return {**trace, "stages": [_stage(each) for each in trace["stages"]]}


def _stage(record: dict[str, Any]) -> dict[str, Any]:
    told = dict(record)
    if told.get("reason"):
        told["reason"] = _ERROR.sub(r"\1", told["reason"])
    if told.get("children"):
        told["children"] = [_stage(each) for each in told["children"]]
    return told
