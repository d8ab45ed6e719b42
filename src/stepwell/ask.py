"""One call of a cascade: checked, started, and turned into its answer."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stepwell.candidates import Candidates, check_k
from stepwell.documents import Document, Query
from stepwell.driving import End
from stepwell.errors import InputError, kind_of
from stepwell.filters import Filter
from stepwell.result import Result, hits_of
from stepwell.trace import StageRecord, Trace

log = logging.getLogger("stepwell")


@dataclass(frozen=True, slots=True)
class Ask:
    """One call, checked: what to start from and how to make its answer."""

    query: Query
    k: int | None
    deadline: float | None
    began: float
    aside: bool = False  # nobody waits for the answer, so nobody is warned of a degraded one

    @classmethod
    def of(
        cls,
        query: str | Query,
        k: int | None,
        filter: Mapping[str, Any] | Filter | None,
        deadline: float | None,
    ) -> Ask:
        """Check what was asked.

        Raises:
            InputError: As `Cascade.search` says.
        """
        began = time.monotonic()
        asked = query if isinstance(query, Query) else Query(query)
        extra = Filter.parse(filter)
        if extra is not None:
            both = extra if asked.filter is None else asked.filter & extra
            asked = replace(asked, filter=both)
        if deadline is not None and not _is_duration(deadline):
            raise InputError(f"a deadline must be a positive number of seconds, not {deadline!r}")
        return cls(asked, check_k(k, error=InputError), deadline, began)

    @classmethod
    def attempt(
        cls,
        query: str | Query,
        k: int | None,
        filter: Mapping[str, Any] | Filter | None,
        deadline: float | None,
    ) -> Ask | InputError:
        """`of`, but what is wrong with this query is returned: others are asked beside it."""
        try:
            return cls.of(query, k, filter, deadline)
        except InputError as error:
            return error

    @property
    def until(self) -> float | None:
        """`time.monotonic()` seconds at the deadline, or None."""
        return None if self.deadline is None else self.began + self.deadline

    def start(self) -> Candidates:
        """The empty set that a search starts from."""
        return Candidates.start(self.query, deadline=self.until)

    def bring(
        self, documents: Iterable[Document | str], scores: Sequence[float] | None
    ) -> tuple[Candidates, dict[str, str]]:
        """The set that ranking starts from, and by id why a document is not in it."""
        several(documents, "documents")
        brought = [_document(at, each) for at, each in enumerate(documents)]
        brought_set = Candidates.of(self.query, brought, scores=scores, deadline=self.until)
        excluded = {id: each.reason for each in brought_set.dropped for id in each.ids.tolist()}
        return replace(brought_set, dropped=()), excluded

    def finish(self, end: End | Exception) -> Result | Exception:
        """The result of a walk that ended, or the exception that ended it."""
        return end if isinstance(end, Exception) else self.answer(*end)

    def answer(
        self,
        final: Candidates,
        records: list[StageRecord],
        *,
        rejected: Mapping[str, str] | None = None,
    ) -> Result:
        """The result: hits, back-filled to k, and the trace."""
        hits, turned_away = hits_of(final, records, self.k)
        trace = Trace(
            rejected={**(rejected or {}), **turned_away},
            records=tuple(records),
            answered=tuple(hit.document.id for hit in hits),
            ms=(time.monotonic() - self.began) * 1e3,
            k=self.k,
            deadline_ms=None if self.deadline is None else self.deadline * 1e3,
        )
        if trace.degraded and not self.aside:
            log.warning("a degraded answer: %s", "; ".join(map(_told, trace.faults)))
        return Result(self.query, hits, trace)


def _told(fault: StageRecord) -> str:
    return f"stage {fault.name!r} {fault.status} ({fault.reason})"


def _is_duration(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value) and value > 0


def several(values: Iterable[Any], what: str) -> None:
    """Refuse one string where several are meant: its letters would be taken for them.

    Raises:
        InputError: It is a string, or cannot be iterated.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InputError(f"{what} must be a list, not {type(values).__name__}")


def _document(at: int, value: Document | str) -> Document:
    if isinstance(value, str):
        return Document(str(at), value)
    if isinstance(value, Document):
        return value
    message = f"document {at} must be a stepwell.Document or a string, not {kind_of(value)}"
    raise InputError(message)
