"""`CascadeRetriever`: a cascade as a LangChain retriever."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from operator import and_
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document as LangChainDocument
from langchain_core.runnables import Runnable
from pydantic import ConfigDict, Field, SkipValidation, field_validator

from stepwell.candidates import check_k
from stepwell.cascade import Cascade
from stepwell.documents import Query
from stepwell.errors import ConfigurationError, InputError, StageError
from stepwell.filters import Filter
from stepwell.langchain.batch import BatchRetriever
from stepwell.langchain.convert import answered
from stepwell.langchain.ingest import OF_THE_CORPUS, corpus_of
from stepwell.langchain.recall import as_stage
from stepwell.langchain.runs import Run, atell, running, tell
from stepwell.langchain.stores import USUAL
from stepwell.result import Result
from stepwell.stage import Stage
from stepwell.trace import Trace


class CascadeRetriever(BatchRetriever):
    """Answers from a cascade; the same ids and scores as `Cascade.search`.

    Each call may set `k`, `filter`, `deadline` and `search_kwargs` (a mapping of the same three);
    filters add up, so a call can narrow the retriever's own filter and never widen it. An unknown
    argument is an `InputError`. A blank query gives `[]`.

    Each returned document is new, with the id, text, metadata and class of the one found, and:
    `metadata["relevance_score"]`, a float, higher is better, never increasing along the list;
    `metadata["stepwell"]`, `{"scores": by stage, "ranks": by stage, "degraded": bool}`. Both keys
    can be renamed, or None to leave them out. Each stage gives a custom event `stepwell.stage`.

    Attributes:
        cascade: What answers; shared, never copied, by `configurable_fields` and `deepcopy`.
        k: How many documents; None returns what the last stage kept.
        filter: What every answer must match, see `stepwell.filters`.
        deadline: Seconds for a call; None waits.
        search_kwargs: Defaults for a call, as in LangChain's vector store retriever.
        score_key: Metadata key of the final score.
        detail_key: Metadata key of the scores and ranks by stage.
        trace: Also put the query's trace under the detail key.
        corpus: What `from_documents` made, to add to or to close.
        originals: Documents of which the corpus could not hold all, by id.

    Example:
        >>> from langchain_core.documents import Document
        >>> documents = [Document(id="a", page_content="Rotate logs with logrotate.")]
        >>> retriever = CascadeRetriever.from_documents(documents, k=1)
        >>> retriever.invoke("rotate the logs")[0].id
        'a'
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    cascade: Cascade
    k: int | None = 5
    filter: SkipValidation[Any] = Field(default=None, repr=False)
    deadline: float | None = Field(default=None, gt=0)
    search_kwargs: dict[str, Any] = Field(default_factory=dict, repr=False)
    score_key: str | None = "relevance_score"
    detail_key: str | None = "stepwell"
    trace: bool = False
    corpus: SkipValidation[Any] = Field(default=None, repr=False, exclude=True)
    originals: SkipValidation[Mapping[str, LangChainDocument]] = Field(
        default_factory=dict, repr=False, exclude=True
    )

    @field_validator("k", mode="before")
    @classmethod
    def _check_k(cls, k: Any) -> int | None:
        return check_k(k)

    @field_validator("filter", mode="after")
    @classmethod
    def _check_filter(cls, filter: Any) -> Any:
        Filter.parse(filter)
        return filter

    @classmethod
    def from_documents(
        cls,
        documents: Iterable[LangChainDocument],
        path: Any = None,
        k: int | None = 5,
        **options: Any,
    ) -> CascadeRetriever:
        """Index documents and answer from them with the recommended cascade.

        A document without an id gets one made from its content.

        Args:
            documents: What to index; not changed.
            path: A corpus on disk to open or make, into which the documents are upserted. None
                keeps a temporary one, gone with the process, that returns documents whole: with
                their class and with metadata that JSON cannot hold.
            k: How many documents a call returns.
            **options: Further fields of the retriever, and `encoder` (LangChain embeddings too),
                `analyzer`, `vectors` for `Corpus.open`.

        Raises:
            InputError: Two different documents have one id; or with a path, a document has
                metadata that JSON cannot hold.
            CorpusError: The path holds no corpus that can be opened.
        """
        depth = _depth(k)
        known = {*cls.model_fields, *OF_THE_CORPUS}
        if unknown := sorted(options.keys() - known):
            raise ConfigurationError(
                f"from_documents has no option {unknown[0]!r}; an embedding model is encoder=, the "
                f"rest is {', '.join(sorted(known - {'cascade', 'corpus', 'originals'}))}"
            )
        fields = {name: options.pop(name) for name in list(options) if name in cls.model_fields}
        corpus, originals = corpus_of(documents, path, **options)
        cascade = Cascade.default(corpus, k=depth)
        try:
            return cls(cascade=cascade, k=k, corpus=corpus, originals=originals, **fields)
        except ValueError:
            corpus.close()
            raise

    @classmethod
    def from_retriever(
        cls, existing: Runnable[str, Any] | Any, k: int | None = 5, **fields: Any
    ) -> CascadeRetriever:
        """Re-score what a retriever, vector store or chain of yours recalls.

        A call that asks for more than is recalled gets what is recalled.

        Args:
            existing: See `as_stage`; what that made, with choices of your own, is taken as it is.
            k: How many documents a call returns; at least that many are recalled.
            **fields: Further fields of the retriever.

        Raises:
            ConfigurationError: It is nothing that can recall.
        """
        rescoring = Cascade.default(None, k=_depth(k)).stages
        recall = existing if isinstance(existing, Stage) else _recall(existing, k)
        return cls(cascade=Cascade([recall, *rescoring]), k=k, **fields)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> CascadeRetriever:
        # A copied cascade would load its models a second time.
        memo = {} if memo is None else memo
        for shared in (self.cascade, self.corpus, self.originals):
            memo[id(shared)] = shared
        return super().__deepcopy__(memo)

    # -- one query ---------------------------------------------------------------------------

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[LangChainDocument]:
        question, options = self._question(query, kwargs), self._options(kwargs)
        if question.is_blank:
            return []
        try:
            with running({id(question): run_manager}):
                result = self.cascade.search(question, **options)
        except StageError as error:
            tell(run_manager, error.trace)
            raise
        tell(run_manager, result.trace)
        return self._documents(result)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[LangChainDocument]:
        question, options = self._question(query, kwargs), self._options(kwargs)
        if question.is_blank:
            return []
        try:
            with running({id(question): run_manager}):
                result = await self.cascade.asearch(question, **options)
        except StageError as error:
            await atell(run_manager, error.trace)
            raise
        await atell(run_manager, result.trace)
        return self._documents(result)

    # -- many queries ------------------------------------------------------------------------

    def _answer(
        self, queries: Sequence[str], runs: Sequence[Run], given: Mapping[str, Any]
    ) -> list[tuple[list[LangChainDocument] | Exception, Trace | None]]:
        """Documents or the exception for each query, with what the stages did."""
        asked = [_attempted(self._question, query, given) for query in queries]
        open = {
            at: question
            for at, question in enumerate(asked)
            if isinstance(question, Query) and not question.is_blank
        }
        with running({id(question): runs[at] for at, question in open.items()}):
            found = _attempted(self._search_each, list(open.values()), given)
        answers: dict[int, tuple[Any, Trace | None]]
        answers = dict.fromkeys(range(len(asked)), ([], None))
        for at, question in enumerate(asked):
            if isinstance(question, Exception):
                answers[at] = question, None
        for at, answer in zip(open, [found] * len(open) if isinstance(found, Exception) else found):
            answers[at] = self._delivered(answer)
        return list(answers.values())

    def _search_each(self, asked: list[Query], given: Mapping[str, Any]) -> list[Any]:
        return self.cascade.search_each(asked, **self._options(given))

    def _delivered(self, answer: Result | Exception) -> tuple[Any, Trace | None]:
        if isinstance(answer, Exception):
            return answer, answer.trace if isinstance(answer, StageError) else None
        return self._documents(answer), answer.trace

    # -- asking and answering ------------------------------------------------------------------

    def _question(self, query: Any, given: Mapping[str, Any]) -> Query:
        """The query, with every filter that applies."""
        filters = [Filter.parse(each.get("filter")) for each in self._layers(given)]
        present = [each for each in filters if each is not None]
        return Query(query, reduce(and_, present) if present else None)

    def _options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """`k` and `deadline`, the innermost layer that sets them winning."""
        merged: dict[str, Any] = {}
        for layer in self._layers(given):
            merged.update(layer)
        return {"k": merged["k"], "deadline": merged["deadline"]}

    def _layers(self, given: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        call = {name: value for name, value in given.items() if name != "search_kwargs"}
        own = {"k": self.k, "filter": self.filter, "deadline": self.deadline}
        extra = given.get("search_kwargs") or {}
        if not isinstance(extra, Mapping):
            raise InputError(f"search_kwargs must be a mapping, not {type(extra).__name__}")
        layers = [own, self.search_kwargs, extra, call]
        for name in {name for layer in layers for name in layer}.difference(own):
            raise InputError(
                f"unknown argument {name!r}; a call takes k, filter, deadline and search_kwargs"
            )
        return layers

    def _documents(self, result: Result) -> list[LangChainDocument]:
        return [
            answered(
                hit,
                result,
                score_key=self.score_key,
                detail_key=self.detail_key,
                trace=self.trace,
                originals=self.originals,
            )
            for hit in result
        ]


def _recall(existing: Any, k: int | None) -> Stage:
    own = getattr(existing, "search_kwargs", {}).get("k", 0)
    return as_stage(existing) if k is None or k <= max(USUAL, own) else as_stage(existing, k=k)


def _depth(k: int | None) -> int:
    """How many the last stage keeps: no fewer than usual, so that a call may ask for more."""
    return max(check_k(k) or 0, 10)


def _attempted(function: Callable[..., Any], *args: Any) -> Any:
    """What the function returns, or the exception: one bad query spoils no other."""
    try:
        return function(*args)
    except Exception as error:
        return error
