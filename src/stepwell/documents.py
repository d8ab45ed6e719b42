"""What is searched and what is asked: `Document`, `Query`, and where documents come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

from stepwell.errors import InputError
from stepwell.filters import Filter


@dataclass(frozen=True, slots=True)
class Document:
    """One passage of text with an id.

    Args:
        id: Unique, non-empty.
        text: What is searched, embedded and read by the rerankers.
        metadata: Plain values to filter by; the mapping is copied and read-only afterwards, lists
            and mappings inside it are shared with yours: do not change them.

    Raises:
        InputError: The id is not a non-empty string, the text not a string, or the metadata not
            a mapping with string keys.

    Example:
        >>> Document(id="a1", text="Rotate the logs.", metadata={"team": "sre"}).metadata["team"]
        'sre'
    """

    id: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.id or not isinstance(self.id, str):
            raise InputError(f"a document's id must be a non-empty string, not {self.id!r}")
        if not isinstance(self.text, str):
            kind = type(self.text).__name__
            raise InputError(f"document {self.id!r}: text must be a string, not {kind}")
        if not isinstance(self.metadata, Mapping):
            kind = type(self.metadata).__name__
            raise InputError(f"document {self.id!r}: metadata must be a mapping, not {kind}")
        for key in self.metadata:
            if not isinstance(key, str):
                raise InputError(f"document {self.id!r}: metadata key {key!r} is not a string")
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))

    def __hash__(self) -> int:
        return hash((self.id, self.text))

    def __reduce__(self) -> tuple[object, ...]:
        # A mapping proxy does not pickle, and deepcopy goes the same way.
        return Document, (self.id, self.text, dict(self.metadata))


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked.

    Args:
        text: The question; blank recalls nothing, a lone surrogate in it becomes `?`.
        filter: Only documents whose metadata matches may be answered; a mapping is parsed.

    Raises:
        InputError: The text is not a string, or the filter is unknown.
    """

    text: str
    filter: Filter | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise InputError(f"a query must be a string, not {type(self.text).__name__}")
        object.__setattr__(self, "text", well_formed(self.text))
        object.__setattr__(self, "filter", Filter.parse(self.filter))

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing to search for."""
        return not self.text.strip()


@runtime_checkable
class Source(Protocol):
    """Where the text of candidates is fetched from: a corpus, or documents in memory."""

    def get_many(self, ids: Sequence[str], /) -> list[Document | None]:
        """The documents with these ids, in this order; None where there is none (any more)."""
        ...


class InMemory:
    """Documents held in memory, the `Source` of `Cascade.rank` and of foreign retrievers.

    Raises:
        InputError: Two documents have one id.
    """

    def __init__(self, documents: Iterable[Document] = ()) -> None:
        self._by_id: dict[str, Document] = {}
        for document in documents:
            if document.id in self._by_id:
                raise InputError(f"two documents have the id {document.id!r}; ids must be unique")
            self._by_id[document.id] = document

    def __len__(self) -> int:
        return len(self._by_id)

    def get_many(self, ids: Sequence[str], /) -> list[Document | None]:
        """The documents with these ids, in this order; None where there is none."""
        return [self._by_id.get(id) for id in ids]


class Overlay:
    """Several sources as one: the first that has a document answers."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self.sources = tuple(sources)

    def get_many(self, ids: Sequence[str], /) -> list[Document | None]:
        """The documents with these ids, in this order; None where no source has one."""
        found: list[Document | None] = [None] * len(ids)
        for source in self.sources:
            missing = [at for at, document in enumerate(found) if document is None]
            if not missing:
                break
            for at, document in zip(missing, source.get_many([ids[i] for i in missing])):
                found[at] = document
        return found


def overlay(sources: Iterable[Source]) -> Source:
    """Join sources into one, each kept once, in order."""
    unique: dict[int, Source] = {}
    for source in sources:
        for part in source.sources if isinstance(source, Overlay) else (source,):
            unique.setdefault(id(part), part)
    parts = list(unique.values())
    return parts[0] if len(parts) == 1 else Overlay(parts)


def well_formed(text: str) -> str:
    """The text with lone surrogates replaced by `?`, so that it can be encoded as UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
