"""`CascadeCompressor`: a cascade re-ranks the documents that a LangChain retriever returned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForChainRun,
    CallbackManagerForChainRun,
    Callbacks,
)
from langchain_core.documents import BaseDocumentCompressor
from langchain_core.documents import Document as LangChainDocument
from langchain_core.runnables import Runnable, RunnableLambda
from pydantic import ConfigDict, Field, field_validator

from stepwell.ask import several
from stepwell.candidates import check_k
from stepwell.cascade import Cascade
from stepwell.documents import Query
from stepwell.errors import InputError, StageError
from stepwell.langchain.convert import Borrowed, answered, borrowed
from stepwell.langchain.runs import atell, tell
from stepwell.result import Result


class CascadeCompressor(BaseDocumentCompressor):
    """Re-ranks documents; for `ContextualCompressionRetriever` and for pipelines.

    The documents that come back are new, with the id, text, metadata and class of those given, and
    the same two metadata keys as `CascadeRetriever` adds. The same document given twice counts
    once. A blank query keeps the order and adds no score; no documents give `[]`.

    Attributes:
        cascade: Stages that re-score; recall stages in it score what is given where they can.
        top_n: How many documents to keep; None keeps what the last stage kept.
        deadline: Seconds for a call; None waits.
        score_key: Metadata key of the final score.
        detail_key: Metadata key of the scores and ranks by stage.
        trace: Also put the query's trace under the detail key.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    cascade: Cascade = Field(default_factory=Cascade.default)
    top_n: int | None = 5
    deadline: float | None = Field(default=None, gt=0)
    score_key: str | None = "relevance_score"
    detail_key: str | None = "stepwell"
    trace: bool = False

    @field_validator("top_n", mode="before")
    @classmethod
    def _check_top_n(cls, top_n: Any) -> int | None:
        return check_k(top_n, what="top_n")

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> CascadeCompressor:
        # A copied cascade would load its models a second time.
        memo = {} if memo is None else memo
        memo[id(self.cascade)] = self.cascade
        return super().__deepcopy__(memo)

    def compress_documents(
        self,
        documents: Sequence[LangChainDocument],
        query: str,
        callbacks: Callbacks | None = None,
    ) -> Sequence[LangChainDocument]:
        """The best `top_n` documents, best first.

        Args:
            documents: Not changed.
            query: The question.
            callbacks: Where the run of this call and its stage events are reported.

        Raises:
            InputError: The query is no string, or something given is no Document.
            StageError: A stage failed whose policy is to raise.
        """
        asked = {"query": query, "documents": documents}
        return self.as_runnable().invoke(asked, {"callbacks": callbacks})

    async def acompress_documents(
        self,
        documents: Sequence[LangChainDocument],
        query: str,
        callbacks: Callbacks | None = None,
    ) -> Sequence[LangChainDocument]:
        """`compress_documents` without blocking the event loop; the same result."""
        asked = {"query": query, "documents": documents}
        return await self.as_runnable().ainvoke(asked, {"callbacks": callbacks})

    def as_runnable(self) -> Runnable[Mapping[str, Any], list[LangChainDocument]]:
        """The same as a step of a chain: takes `{"query", "documents"}`."""
        return RunnableLambda(self._rank, afunc=self._arank, name=type(self).__name__)

    def _rank(
        self, asked: Mapping[str, Any], run_manager: CallbackManagerForChainRun
    ) -> list[LangChainDocument]:
        query, documents = _read(asked)
        if query.is_blank or not documents:
            return self._in_order(documents)
        try:
            result = self.cascade.rank(query, documents.values(), **self._options)
        except StageError as error:
            tell(run_manager, error.trace)
            raise
        tell(run_manager, result.trace)
        return self._documents(result)

    async def _arank(
        self, asked: Mapping[str, Any], run_manager: AsyncCallbackManagerForChainRun
    ) -> list[LangChainDocument]:
        query, documents = _read(asked)
        if query.is_blank or not documents:
            return self._in_order(documents)
        try:
            result = await self.cascade.arank(query, documents.values(), **self._options)
        except StageError as error:
            await atell(run_manager, error.trace)
            raise
        await atell(run_manager, result.trace)
        return self._documents(result)

    @property
    def _options(self) -> dict[str, Any]:
        return {"k": self.top_n, "deadline": self.deadline}

    def _in_order(self, documents: Mapping[int, Borrowed]) -> list[LangChainDocument]:
        kept = list(documents.values())[: self.top_n]
        return [document.original.model_copy() for document in kept]

    def _documents(self, result: Result) -> list[LangChainDocument]:
        return [
            answered(
                hit,
                result,
                score_key=self.score_key,
                detail_key=self.detail_key,
                trace=self.trace,
            )
            for hit in result
        ]


def _read(asked: Any) -> tuple[Query, dict[int, Borrowed]]:
    """What is asked of which documents.

    Raises:
        InputError: Either is missing, or not what it should be.
    """
    if not isinstance(asked, Mapping) or not {"query", "documents"} <= asked.keys():
        raise InputError('expected a mapping with "query" and "documents"')
    several(asked["documents"], "documents")
    return Query(asked["query"]), borrowed(asked["documents"])
