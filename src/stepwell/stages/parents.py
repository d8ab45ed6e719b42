"""`Parents`: rank passages, return the documents they were cut from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from stepwell.candidates import Candidates, check_k
from stepwell.documents import Document, InMemory, Source, overlay
from stepwell.errors import ConfigurationError
from stepwell.stages.needs import need_candidates

MATCHED = "stepwell_matched"


class Parents:
    """Puts the parent in the place of its best passage, with that passage's scores.

    A passage names its parent in its metadata. One that names none, or whose parent is gone or is
    excluded by the query's filter, stays as it is. The parent comes with one more metadata value,
    `stepwell_matched`: the id of its best passage.

    Args:
        source: Where the parents are; None for where the passages are.
        k: How many to keep; None for all.
        key: The metadata key that holds the parent's id.
        name: Shown in the trace.

    Raises:
        ConfigurationError: k is below 1, or the source cannot be asked by id.
    """

    expands = True
    decides = True

    def __init__(
        self,
        source: Source | None = None,
        k: int | None = None,
        *,
        key: str = "parent",
        name: str = "parents",
    ) -> None:
        self.name = name
        self.k = check_k(k)
        self.key = key
        if source is not None and not hasattr(source, "get_many"):
            raise ConfigurationError(
                f"parents come from a Corpus or a Source, not {type(source).__name__}"
            )
        self.source = source

    def __repr__(self) -> str:
        return f"Parents(key={self.key!r}, k={self.k})"

    def run(self, candidates: Candidates, /) -> Candidates:
        """Exchange passages for parents."""
        need_candidates(candidates, self.name)
        passages = candidates.documents()
        parents = self._parents(candidates, passages)
        raised = [
            parent if (parent := self._parent_of(passage)) in parents else id
            for id, passage in zip(candidates.ids.tolist(), passages)
        ]
        best = {id: at for at, id in reversed(list(enumerate(raised)))}
        first = np.zeros(len(raised), dtype=bool)
        first[list(best.values())] = True
        kept = candidates.keep(first, reason="another passage of its parent ranks higher")
        ids = kept.ids.copy()
        ids[:] = [id for id, stays in zip(raised, first) if stays]
        ids.flags.writeable = False
        found = InMemory(
            _with(parents[id], child)
            for id, child in zip(ids, kept.ids)
            if id in parents and id != child
        )
        return replace(kept, ids=ids, source=overlay((found, kept.source))).top(self.k)

    def _parents(
        self, candidates: Candidates, passages: list[Document | None]
    ) -> dict[str, Document]:
        wanted = list(dict.fromkeys(filter(None, map(self._parent_of, passages))))
        source = candidates.source if self.source is None else self.source
        allowed = candidates.query.filter
        return {
            parent.id: parent
            for parent in source.get_many(wanted)
            if parent is not None and (allowed is None or allowed.matches(parent.metadata))
        }

    def _parent_of(self, passage: Document | None) -> str | None:
        parent = None if passage is None else passage.metadata.get(self.key)
        return parent if isinstance(parent, str) else None


def _with(parent: Document, child: str) -> Document:
    return Document(parent.id, parent.text, {**parent.metadata, MATCHED: child})
