"""A trace as plain data for the page, and the page around it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepwell.documents import well_formed

if TYPE_CHECKING:
    from stepwell.candidates import Dropped, Scores
    from stepwell.documents import Document
    from stepwell.trace import StageRecord, Trace

MARK = "/*DATA*/"


def page_of(view: Mapping[str, Any] | None = None) -> str:
    """The page as HTML; without a view it has a search box, for the server.

    Args:
        view: From `view_of`, or `{"reranks": {"locked": bool}}` for a server that has nothing to
            search and tells how it is asked instead.
    """
    data = "null" if view is None else json.dumps(view, ensure_ascii=False, allow_nan=False)
    # Inside a script element only "<" can end it early, and U+2028 a line of older engines.
    data = data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return _template().replace(MARK, data)


def framed(page: str, *, height: int = 720) -> str:
    """The page inside a frame of its own, as a notebook shows it."""
    style = f"width:100%;height:{height}px;border:0"
    return f'<iframe srcdoc="{escape(page)}" style="{style}" title="Stepwell trace"></iframe>'


def written(page: str, path: str | Path | None) -> str:
    """The page, also in a file where one is named."""
    if path is not None:
        Path(path).write_text(page, encoding="utf-8")
    return page


def view_of(trace: Trace, *, query: str = "", documents: Sequence[Document] = ()) -> dict[str, Any]:
    """What the page shows, as plain values for JSON.

    Args:
        trace: Of one query.
        query: Its text; left out, the page does not show it.
        documents: Those whose text and metadata to show; others are shown by id.

    Returns:
        `ids` of all candidates; everything else names them by their place in it. Lone surrogates
        are `?`.
    """
    places: dict[str, int] = {}
    stages = [_stage(record, places) for record in trace.records]
    answered = [places.setdefault(id, len(places)) for id in trace.answered]
    texts = {
        places.setdefault(each.id, len(places)): {"text": each.text, "metadata": each.metadata}
        for each in documents
    }
    view = {
        "query": query,
        "ms": trace.ms,
        "deadline_ms": trace.deadline_ms,
        "degraded": trace.degraded,
        "empty_because": trace.empty_because or None,
        "stages": stages,
        "answered": answered,
        "rejected": {
            str(places.setdefault(id, len(places))): why for id, why in trace.rejected.items()
        },
        "documents": texts,
        "ids": list(places),
    }
    # Half a character, in an id or a text, can neither be sent nor written.
    plain: dict[str, Any] = json.loads(
        well_formed(json.dumps(view, ensure_ascii=False, default=str))
    )
    return plain


def _stage(record: StageRecord, places: dict[str, int]) -> dict[str, Any]:
    return {
        "name": record.name,
        "status": record.status,
        "reason": record.reason,
        "ms": record.ms,
        "budget_ms": record.budget_ms,
        "n_in": record.n_in,
        "n_out": record.n_out,
        "notes": _notes(record),
        "settings": dict(record.settings),
        "out": [places.setdefault(id, len(places)) for id in record.ids.tolist()],
        "score": _numbers(record.score),
        "own": _numbers(record.own),
        "dropped": [_gone(record.name, each, places) for each in record.dropped],
        "children": [_stage(child, places) for child in record.children],
    }


def _notes(record: StageRecord) -> dict[str, str]:
    notes = {name: str(value) for name, value in record.notes.items()}
    return {"scores": record.kind, **notes} if record.kind is not None else notes


def _gone(stage: str, dropped: Dropped, places: dict[str, int]) -> dict[str, Any]:
    own = dropped.scores.get(stage)
    return {
        "reason": dropped.reason,
        "cut": dropped.cut,
        "ids": [places.setdefault(id, len(places)) for id in dropped.ids.tolist()],
        "ranks": dropped.ranks.tolist(),
        "score": _numbers(dropped.score),
        "own": [None] * len(dropped.ids) if own is None else _numbers(own),
    }


def _numbers(values: Scores) -> list[float | None]:
    """JSON has no NaN."""
    return [value if math.isfinite(value) else None for value in values.tolist()]


@cache
def _template() -> str:
    folder = resources.files("stepwell.page")
    parts = {name: (folder / name).read_text(encoding="utf-8") for name in ("page.css", "page.js")}
    page = (folder / "page.html").read_text(encoding="utf-8")
    return page.replace("/*CSS*/", parts["page.css"]).replace("/*JS*/", parts["page.js"])
