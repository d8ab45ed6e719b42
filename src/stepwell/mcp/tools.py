"""The tools: `search` and `get_document`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import AfterValidator, BaseModel, Field
from pydantic_core import PydanticCustomError

import stepwell
from stepwell.cascade import Cascade
from stepwell.documents import Document, Source, well_formed
from stepwell.errors import ConfigurationError, InputError, StageError, StepwellError
from stepwell.mcp.plain import PlainTool
from stepwell.refusal import nearest
from stepwell.result import Hit

if TYPE_CHECKING:
    from stepwell.corpus import Corpus

log = logging.getLogger("stepwell.mcp")

LOOKED_AT = 200
"""Documents whose metadata says which fields there are to filter by."""
SHOWN = 20
"""Fields that are named to the agent."""
MOST = 100
"""Passages that one search gives at most."""


class Passage(BaseModel):
    """One passage that was found."""

    id: Annotated[str, Field(description="Its id; `get_document` takes it. Good for citing.")]
    text: Annotated[str, Field(description="What it says.")]
    score: Annotated[float, Field(description="Higher is better; only good within one answer.")]
    metadata: Annotated[dict[str, Any], Field(description="What else is known of it.")]


class Found(BaseModel):
    """What a search found."""

    hits: Annotated[list[Passage], Field(description="Best first.")]
    degraded: Annotated[
        bool,
        Field(description="True when part of the search failed or ran out of time: worth a retry."),
    ]
    empty_because: Annotated[
        str | None,
        Field(description="Why there is no hit, such as that nothing here is relevant enough."),
    ] = None
    hint: Annotated[
        str | None, Field(description="Why nothing may have been found, if the filter shows it.")
    ] = None


class Whole(BaseModel):
    """One document."""

    id: Annotated[str, Field(description="Its id.")]
    text: Annotated[str, Field(description="All of its text.")]
    metadata: Annotated[dict[str, Any], Field(description="What else is known of it.")]


def _worded(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "must not be blank")
    return text


Query = Annotated[
    str,
    Field(
        min_length=1,
        max_length=10_000,
        description="What to look for: a question or key words, in the documents' language.",
    ),
    AfterValidator(_worded),
]
K = Annotated[int, Field(ge=1, le=MOST, description="How many passages at most.")]
FilterSpec = Annotated[
    dict[str, Any] | None,
    Field(
        description="Only passages whose metadata matches, such as "
        '{"team": "sre"} or {"year": {"$gte": 2024}, "kind": {"$in": ["guide", "faq"]}}.'
    ),
]


def create_server(
    cascade: Cascade,
    source: Source,
    /,
    *,
    name: str = "stepwell",
    about: str = "",
    fields: Mapping[str, str] | None = None,
    k: int = 5,
    deadline: float | None = None,
) -> MCPServer[Any]:
    """An MCP server that searches with a cascade; it does not own it, nor the source.

    Args:
        cascade: What searches.
        source: Where `get_document` finds documents: the corpus, or any other `Source`.
        name: What clients show.
        about: What the documents are about, in a sentence that helps an agent to decide.
        fields: Metadata fields to filter by, with the kind of their values; see `fields_of`.
        k: How many passages a search gives that names no number.
        deadline: Seconds for a search.

    Raises:
        ConfigurationError: k is not from 1 to 100, or the deadline not positive.
    """
    if type(k) is not int or not 1 <= k <= MOST:
        raise ConfigurationError(f"k must be an integer from 1 to {MOST}, not {k!r}")
    if deadline is not None and not deadline > 0:
        raise ConfigurationError(f"a deadline must be a positive number, not {deadline!r}")
    reads = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)

    async def search(query: Query, k: K = k, filter: FilterSpec = None) -> Found:
        with _told():
            asked = well_formed(query)
            result = await cascade.asearch(asked, k=k, filter=filter, deadline=deadline)
        hint = None if len(result) else _hint(filter or {}, fields or {})
        return Found(
            hits=[_passage(hit) for hit in result],
            degraded=result.degraded,
            empty_because=result.empty_because or None,
            hint=hint,
        )

    async def get_document(id: Annotated[str, Field(description="From a hit.")]) -> Whole:
        with _told():
            (document,) = await asyncio.to_thread(source.get_many, [well_formed(id)])
        if document is None:
            raise ToolError("there is no document with this id; take one from a hit of `search`")
        return Whole(id=document.id, text=document.text, metadata=_shown(document))

    text = _search_text(about, fields or {})
    return MCPServer(
        name,
        instructions=about or None,
        version=stepwell.__version__,
        tools=[
            PlainTool.of(search, description=text, annotations=reads),
            PlainTool.of(get_document, description=DOCUMENT, annotations=reads),
        ],
        log_level="WARNING",
    )


DOCUMENT = "Read one document by its id, as `search` gave it."


def fields_of(corpus: Corpus, /) -> dict[str, str]:
    """The metadata fields of the first documents, with the kind of their values.

    Fields whose names begin with an underscore are for programs, and left out.
    """
    found: dict[str, str] = {}
    for document in islice(corpus.documents(), LOOKED_AT):
        for field, value in _shown(document).items():
            found.setdefault(field, type(value).__name__)
    return dict(islice(found.items(), SHOWN))


def _search_text(about: str, fields: Mapping[str, str]) -> str:
    parts = [
        "Search the documents by meaning and by words, and get the passages that answer best.",
        about.strip(),
        "Ask one thing at a time, in full words; ask again in other words when nothing fits.",
    ]
    if fields:
        named = ", ".join(f"{field} ({kind})" for field, kind in fields.items())
        parts.append(f"Metadata to filter by: {named}.")
    return "\n".join(part for part in parts if part)


def _hint(filter: Mapping[str, Any], fields: Mapping[str, str]) -> str | None:
    """Says of the first field of a filter that is not named to the agent what there is."""
    for name in _filtered(filter) if fields else ():
        if name.partition(".")[0] not in fields and name not in fields:
            near = nearest(name, fields)
            meant = f"; did you mean {near!r}?" if near else ""
            return f"the metadata field {name!r} is not one of {', '.join(fields)}{meant}"
    return None


def _filtered(filter: Mapping[str, Any]) -> Iterator[str]:
    """The fields that a filter names."""
    for key, value in filter.items():
        if not key.startswith("$"):
            yield key
        else:
            for part in [value] if key == "$not" else value:
                yield from _filtered(part)


def _passage(hit: Hit) -> Passage:
    document: Document = hit.document
    return Passage(id=document.id, text=document.text, score=hit.score, metadata=_shown(document))


def _shown(document: Document) -> dict[str, Any]:
    """The metadata without what is for programs, such as `_source` of `stepwell index`."""
    return {name: value for name, value in document.metadata.items() if not name.startswith("_")}


@contextmanager
def _told() -> Iterator[None]:
    """Turn an error of Stepwell into one that the agent can read, without what is none of its."""
    try:
        yield
    except InputError as error:
        raise ToolError(str(error)) from None
    except StepwellError as error:
        # The message may quote a text, a path or a server's words.
        kind = type(error.__cause__ or error).__name__
        where = f" at stage {error.stage!r}" if isinstance(error, StageError) else ""
        log.error("a call failed%s: %s", where, kind)
        raise ToolError(f"the search failed{where} ({kind}); it may pass, try again") from None
