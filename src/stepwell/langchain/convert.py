"""Documents in both directions, so that what a user gave comes back as it was, plus its scores."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from hashlib import blake2b
from typing import Any

from langchain_core.documents import Document as LangChainDocument

from stepwell.candidates import Candidates
from stepwell.documents import Document, InMemory, well_formed
from stepwell.errors import InputError
from stepwell.filters import facets
from stepwell.meaning import Meaning
from stepwell.result import Hit, Result

_NOT = object()


@dataclass(frozen=True, slots=True, eq=False)
class Borrowed(Document):
    """A document that came from LangChain, with the object itself.

    Its subclass and whatever metadata JSON cannot hold come back in the answer.
    """

    original: LangChainDocument = field(kw_only=True)

    def __reduce__(self) -> tuple[object, ...]:
        return _borrowed, (self.id, self.text, dict(self.metadata), self.original)


def _borrowed(
    id: str, text: str, metadata: dict[str, Any], original: LangChainDocument
) -> Borrowed:
    return Borrowed(id, text, metadata, original=original)


def borrowed(
    documents: Iterable[LangChainDocument], *, id_key: str | None = None
) -> dict[int, Borrowed]:
    """LangChain documents as Stepwell's, by their position in the list.

    The id is `metadata[id_key]`, else `Document.id`, else one made from the content. A second
    document of the same id and text is left out; of the same id and another text, it is kept
    under an id of its own.

    Raises:
        InputError: One of them is no LangChain document, or lacks the `id_key`.
    """
    taken: dict[str, str] = {}
    kept: dict[int, Borrowed] = {}
    for at, document in enumerate(documents):
        if not isinstance(document, LangChainDocument):
            kind = type(document).__name__
            raise InputError(f"expected LangChain Documents, got a {kind} at position {at}")
        id = base = id_of(document, id_key=id_key)
        copy = 1
        while id in taken and taken[id] != document.page_content:
            copy += 1
            id = f"{base}#{copy}"
        if id in taken:
            continue
        taken[id] = document.page_content
        metadata = {key: value for key, value in document.metadata.items() if isinstance(key, str)}
        kept[at] = Borrowed(id, document.page_content, metadata, original=document)
    return kept


def id_of(document: LangChainDocument, *, id_key: str | None = None) -> str:
    """The document's id, or one made from its text and metadata: the same in every process.

    Raises:
        InputError: An `id_key` was asked for and the metadata has none.
    """
    if id_key is not None:
        if document.metadata.get(id_key) in (None, ""):
            raise InputError(f"a document has no metadata[{id_key!r}], which was to be its id")
        return str(document.metadata[id_key])
    if document.id:
        return document.id
    seen = sorted(map(repr, facets(document.metadata)))
    content = "\0".join([document.page_content, *seen]).encode("utf-8", "surrogatepass")
    return blake2b(content, digest_size=16).hexdigest()


def storable(metadata: Mapping[Any, Any]) -> dict[str, Any]:
    """The part of the metadata that a corpus keeps: all that a filter can see of it."""
    kept = {
        well_formed(key): _storable(value)
        for key, value in metadata.items()
        if isinstance(key, str)
    }
    return {key: value for key, value in kept.items() if value is not _NOT}


def is_whole(document: LangChainDocument) -> bool:
    """Whether a corpus gives back all of it: no subclass, plain text and plain metadata."""
    plain = type(document) is LangChainDocument and _is_plain(document.page_content)
    return plain and _is_plain(document.metadata)


def answered(
    hit: Hit,
    result: Result,
    *,
    score_key: str | None,
    detail_key: str | None,
    trace: bool = False,
    originals: Mapping[str, LangChainDocument] | None = None,
) -> LangChainDocument:
    """A hit as a new LangChain document.

    Args:
        hit: The hit.
        result: The answer that it is part of.
        score_key: Metadata key of the final score, a float, higher is better; None leaves it out.
        detail_key: Metadata key of `{"scores", "kinds", "ranks", "degraded"}`; None leaves it out.
        trace: Also put the query's whole trace there.
        originals: The documents to copy where the corpus could not hold all of one, by id.
    """
    found = hit.document
    extra: dict[str, Any] = {}
    if score_key is not None:
        extra[score_key] = float(hit.score)
    if detail_key is not None:
        detail = {"scores": dict(hit.scores), "kinds": result.kinds, "ranks": dict(hit.ranks)}
        extra[detail_key] = {**detail, "degraded": result.degraded}
        if trace:
            extra[detail_key]["trace"] = result.trace.to_dict()
    original = found.original if isinstance(found, Borrowed) else (originals or {}).get(found.id)
    if original is not None:
        update = {"metadata": {**original.metadata, **extra}}
        # What a corpus gave an id keeps it; what a retriever returned without one stays so.
        return original.model_copy(
            update=update if isinstance(found, Borrowed) else {**update, "id": found.id}
        )
    metadata = {**found.metadata, **extra}
    return LangChainDocument(id=found.id, page_content=found.text, metadata=metadata)


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return well_formed(str(value))
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return storable(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        kept = [_storable(each) for each in value]
        return [each for each in kept if each is not _NOT]
    return value if _is_plain(value) else _NOT


def _is_plain(value: Any) -> bool:
    """Whether a corpus gives back the same value, of the same type."""
    match value:
        case dict() if type(value) is dict:
            return all(type(key) is str and _is_plain(each) for key, each in value.items())
        case list() if type(value) is list:
            return all(map(_is_plain, value))
        case str() if type(value) is str:
            return well_formed(value) == value
        case int() if type(value) is int:
            return -(2**63) <= value < 2**63
        case float() if type(value) is float:
            return math.isfinite(value)
    return value is None or type(value) is bool


def recalled(
    candidates: Candidates,
    name: str,
    found: Sequence[tuple[LangChainDocument, float]],
    *,
    id_key: str | None = None,
    kind: Meaning | None = None,
) -> Candidates:
    """What a recall stage found, best score first; a document found twice counts once.

    Args:
        candidates: The set that the stage started from.
        name: Of the stage.
        found: Documents with a score, higher is better.
        id_key: See `borrowed`.
        kind: What the scores mean.
    """
    kept = borrowed([document for document, _ in found], id_key=id_key)
    ids = [document.id for document in kept.values()]
    scores = [found[at][1] for at in kept]
    return candidates.recalled(name, ids, scores, source=InMemory(kept.values()), kind=kind)
