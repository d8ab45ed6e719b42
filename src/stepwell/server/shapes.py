"""What is asked and answered, in the words of each API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from stepwell.documents import well_formed
from stepwell.refusal import unknown
from stepwell.server.filter_schema import FILTER


class Asked(BaseModel):
    """A request; a field that is not named here is refused, as a slip would else go unseen."""

    model_config = ConfigDict(strict=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _known(cls, body: Any) -> Any:
        said = unknown(body, cls.model_fields) if isinstance(body, dict) else ""
        if said:
            raise PydanticCustomError("unknown", "{said}", {"said": said})
        return body


def _whole(value: Any) -> Any:
    """7.0 as 7: to JSON they are one number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _worded(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "must not be blank")
    return text


Text = Annotated[str, AfterValidator(well_formed)]
Question = Annotated[Text, AfterValidator(_worded), Field(json_schema_extra={"pattern": r"\S"})]
# The bound comes first, or it is none in the schema.
Several = Annotated[int, Field(ge=1), BeforeValidator(_whole)]
Unread = Annotated[Any, Field(description="Known to some of these APIs; not read here.")]


class TextDocument(BaseModel):
    """A document as an object; what it holds beside its text is not read."""

    model_config = ConfigDict(strict=True)

    text: Text


def _kind_of(document: Any) -> str | None:
    if isinstance(document, str):
        return "<string>"
    return "<object>" if isinstance(document, (dict, TextDocument)) else None


# Names in angle brackets are not repeated in what is told of a fault.
AnyDocument = Annotated[
    Annotated[Text, Tag("<string>")] | Annotated[TextDocument, Tag("<object>")],
    Discriminator(
        _kind_of,
        custom_error_type="document",
        custom_error_message='must be a string or an object with "text"',
    ),
]


class RerankAsked(Asked):
    """Cohere's, Jina's, vLLM's and Infinity's shape."""

    query: Question
    documents: list[AnyDocument]
    top_n: Several | None = Field(
        default=None, description="How many results, best first; all if absent."
    )
    return_documents: bool | None = Field(
        default=None, description="Whether each result has its document."
    )
    raw_scores: bool | None = Field(
        default=None, description="Whether scores are the model's own numbers, not probabilities."
    )
    truncation: bool | None = Field(
        default=None,
        description="If false, a document longer than the model reads is refused, not cut.",
    )
    rank_fields: list[Literal["text"]] | None = Field(
        default=None, description="Only `text` is read."
    )
    model: str | None = Field(default=None, description="Not read: the server has one model.")
    max_tokens_per_doc: Unread = None
    max_chunks_per_doc: Unread = None
    truncate_prompt_tokens: Unread = None
    priority: Unread = None
    user: Unread = None
    request_id: Unread = None

    def texts(self) -> list[str]:
        """The text of each document."""
        return [each if isinstance(each, str) else each.text for each in self.documents]


class RerankResult(BaseModel):
    """One document's score."""

    index: int = Field(ge=0, description="Its place in what was sent, from 0.")
    relevance_score: float = Field(description="A probability, but for `raw_scores`.")
    document: TextDocument | None = None


class Version(BaseModel):
    """Whose answer this looks like."""

    version: str


class Meta(BaseModel):
    """What Cohere's clients expect beside the results."""

    api_version: Version


class Usage(BaseModel):
    """What Jina's and vLLM's clients expect; nothing is billed, so nothing is counted."""

    prompt_tokens: int = 0
    total_tokens: int = 0


class RerankAnswer(BaseModel):
    """Results, best first."""

    id: str
    model: str
    results: list[RerankResult]
    meta: Meta
    usage: Usage = Usage()


class TextsAsked(Asked):
    """Text Embeddings Inference's shape."""

    query: Question
    texts: list[Text]
    raw_scores: bool = Field(
        default=False, description="Whether scores are the model's own numbers, not probabilities."
    )
    return_text: bool = Field(default=False, description="Whether each result has its text.")
    truncate: bool | None = Field(
        default=None,
        description="If false, a text longer than the model reads is refused, not cut.",
    )
    truncation_direction: Literal["right", "Right"] = Field(
        default="right", description="Texts are cut at their end."
    )


class Rank(BaseModel):
    """One text's score."""

    index: int = Field(ge=0)
    score: float
    text: str | None = None


def _shape_of(body: Any) -> str | None:
    names = body if isinstance(body, dict) else vars(body) if isinstance(body, Asked) else ()
    found = [name for name in ("documents", "texts") if name in names]
    return f"<{found[0]}>" if len(found) == 1 else None


EitherAsked = Annotated[
    Annotated[TextsAsked, Tag("<texts>")] | Annotated[RerankAsked, Tag("<documents>")],
    Discriminator(
        _shape_of,
        custom_error_type="shape",
        custom_error_message="send an object with either `documents`, as to Cohere and Jina, "
        "or `texts`, as to Text Embeddings Inference, and not both",
    ),
]


class SearchAsked(Asked):
    """A question to the corpus."""

    query: Text = Field(description="Blank finds nothing.")
    k: Several = Field(default=10, description="How many documents at most.")
    filter: Annotated[dict[str, Any], WithJsonSchema(FILTER)] | None = Field(
        default=None, description="Only documents whose metadata matches."
    )
    deadline: float | None = Field(
        default=None,
        ge=0.001,
        le=600,
        allow_inf_nan=False,
        description="Seconds for the search, no more than the server's own deadline; what is not "
        "done by then makes the answer degraded.",
    )


class Found(BaseModel):
    """One document that was found."""

    rank: int
    id: str
    score: float
    scores: dict[str, float] = Field(description="By stage, as the stage gave them.")
    ranks: dict[str, int] = Field(description="By stage, from 1.")
    text: str
    metadata: dict[str, Any]


class SearchAnswer(BaseModel):
    """Documents, best first."""

    documents: list[Found]
    degraded: bool = Field(description="Whether a stage failed, was skipped or ran out of time.")
    empty_because: str | None = Field(
        default=None,
        description="Why there is no document, such as that nothing was relevant enough; null "
        "where there is one.",
    )
    trace: dict[str, Any] = Field(description="What each stage did: counts, times, states.")


class Explained(BaseModel):
    """A search with all that its stages did; numbers in lists are places in `ids`."""

    query: str
    ids: list[str] = Field(description="All candidates.")
    answered: list[int] = Field(description="The answer, best first.")
    stages: list[dict[str, Any]] = Field(description="Order, scores and drops of each stage.")
    documents: dict[str, Any] = Field(description="Text and metadata of the answer.")
    rejected: dict[str, str] = Field(description="Why a document in line is not in the answer.")
    ms: float
    deadline_ms: float | None
    degraded: bool
    empty_because: str | None = Field(description="Why nothing is answered; null where it is.")


class Health(BaseModel):
    """Whether the process answers, or takes work."""

    status: Literal["ok", "loading", "ready", "draining"]
