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
)

from stepwell.documents import well_formed
from stepwell.server.filter_schema import FILTER


class Asked(BaseModel):
    """A request; what it holds beside the fields named here is passed over."""

    model_config = ConfigDict(strict=True)


def _whole(value: Any) -> Any:
    """7.0 as 7: to JSON they are one number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Text = Annotated[str, AfterValidator(well_formed)]
# The bound comes first, or it is none in the schema.
Count = Annotated[int, Field(ge=0), BeforeValidator(_whole)]
Several = Annotated[int, Field(ge=1), BeforeValidator(_whole)]


class TextDocument(Asked):
    """A document as an object."""

    text: Text


class RerankAsked(Asked):
    """Cohere's, Jina's and vLLM's shape."""

    query: Text
    documents: list[Text | TextDocument]
    model: str | None = Field(default=None, description="Not read: the server has one model.")
    top_n: Count | None = Field(
        default=None, description="How many results, best first; all if absent or 0."
    )
    return_documents: bool | None = Field(
        default=None, description="Whether each result has its document."
    )
    rank_fields: list[Literal["text"]] | None = Field(
        default=None, description="Only `text` is read."
    )

    def texts(self) -> list[str]:
        """The text of each document."""
        return [each if isinstance(each, str) else each.text for each in self.documents]


class RerankResult(BaseModel):
    """One document's score."""

    index: int = Field(ge=0, description="Its place in what was sent, from 0.")
    relevance_score: float = Field(ge=0, le=1, description="A probability.")
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

    query: Text
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


def _shape_of(body: Any) -> str:
    names = body if isinstance(body, dict) else vars(body) if isinstance(body, Asked) else ()
    return "documents" if "documents" in names else "texts"


EitherAsked = Annotated[
    Annotated[TextsAsked, Tag("texts")] | Annotated[RerankAsked, Tag("documents")],
    Discriminator(_shape_of),
]


class SearchAsked(Asked):
    """A question to the corpus."""

    query: Text = Field(description="Blank finds nothing.")
    k: Several = Field(default=10, description="How many documents at most.")
    filter: Annotated[dict[str, Any], WithJsonSchema(FILTER)] | None = Field(
        default=None, description="Only documents whose metadata matches."
    )
    deadline_ms: float | None = Field(
        default=None,
        ge=1,
        le=600_000,
        allow_inf_nan=False,
        description="Milliseconds for the search; what is not done by then makes it degraded.",
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


class Health(BaseModel):
    """Whether the process answers, or takes work."""

    status: Literal["ok", "loading", "ready", "draining"]
