"""`CascadeRetriever`: a cascade as a LlamaIndex retriever."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.callbacks import CallbackManager
from llama_index.core.indices.base import BaseIndex
from llama_index.core.ingestion import run_transformations
from llama_index.core.schema import (
    BaseNode,
    IndexNode,
    MetadataMode,
    NodeWithScore,
    QueryBundle,
    QueryType,
    TransformComponent,
)

from stepwell.ask import several
from stepwell.candidates import check_k
from stepwell.cascade import Cascade
from stepwell.errors import ConfigurationError, InputError
from stepwell.llama_index.embeddings import as_encoder
from stepwell.llama_index.events import dispatcher, report, watched
from stepwell.llama_index.filters import FilterSpec, parse_filter
from stepwell.llama_index.keeping import packed
from stepwell.llama_index.nodes import scored_nodes
from stepwell.llama_index.query import checked, read_query
from stepwell.llama_index.recursion import Resolving
from stepwell.llama_index.stage import USUAL, as_stage
from stepwell.result import Result
from stepwell.stage import Stage

if TYPE_CHECKING:
    from stepwell.corpus import Corpus

# Without their span: LlamaIndex gives one to the methods that override them.
_retrieve: Callable[..., list[NodeWithScore]] = inspect.unwrap(BaseRetriever.retrieve)
_aretrieve: Callable[..., Awaitable[list[NodeWithScore]]] = inspect.unwrap(BaseRetriever.aretrieve)
_OF_THE_CORPUS = ("encoder", "analyzer", "vectors")


class CascadeRetriever(Resolving):
    """Answers with the first k of a cascade.

    Results are new `NodeWithScore` objects; scores are floats and never increase along the list.
    A blank query is answered with nothing. Objects given here (`objects`, `object_map`) take the
    place of their index nodes after the last stage; those of a retriever inside the cascade, before
    the first re-scoring.

    Args:
        cascade: What to run; its first stage recalls.
        k: How many nodes to answer; None answers what the last stage kept.
        filters: Only nodes whose metadata matches; a `CascadeQuery` may narrow this further.
        deadline: Seconds for the whole; re-scoring stages are skipped when they are over.
        detail_key: The metadata key under which an answered node, a copy then, says what each stage
            made of it: `{"scores", "ranks", "degraded"}`. It is hidden from embedding and from the
            language model. None answers nodes as they were indexed or retrieved.
        trace: Also put the query's whole trace there.
        callback_manager: As in every LlamaIndex retriever, like the three that follow.
        object_map: Objects by the id of their index node.
        objects: Index nodes with their objects.
        verbose: Whether resolving objects prints.

    Attributes:
        corpus: What `from_documents` made, to add to or to close; else None.

    Raises:
        ConfigurationError: It is no cascade, or k is below 1.
        InputError: A filter that cannot be honoured.
    """

    def __init__(
        self,
        cascade: Cascade,
        k: int | None = 5,
        *,
        filters: FilterSpec = None,
        deadline: float | None = None,
        detail_key: str | None = "stepwell",
        trace: bool = False,
        callback_manager: CallbackManager | None = None,
        object_map: Mapping[str, Any] | None = None,
        objects: Sequence[IndexNode] | None = None,
        verbose: bool = False,
    ) -> None:
        if not isinstance(cascade, Cascade):
            raise ConfigurationError(f"cascade must be a Cascade, not {cascade!r}")
        check_k(k)
        self.cascade = cascade
        self.k = k
        self.filters = parse_filter(filters)
        self.deadline = deadline
        self.detail_key = detail_key
        self.trace = trace
        self.corpus: Corpus | None = None
        super().__init__(
            callback_manager=callback_manager,
            object_map=dict(object_map or {}),
            objects=list(objects) if objects is not None else None,
            verbose=verbose,
        )

    @classmethod
    def from_documents(
        cls,
        documents: Iterable[BaseNode],
        path: str | Path | None = None,
        k: int | None = 5,
        *,
        transformations: Sequence[TransformComponent] = (),
        metadata_mode: MetadataMode = MetadataMode.EMBED,
        **options: Any,
    ) -> CascadeRetriever:
        """Index documents or nodes, and answer from them by the recommended cascade.

        Args:
            documents: What to index, not changed; whole, unless `transformations` split them.
            path: A corpus on disk to open or make, into which the nodes are upserted; None makes a
                temporary one, gone with the process.
            k: How many nodes to answer.
            transformations: Run first, such as `[SentenceSplitter()]`.
            metadata_mode: Which text of a node is searched and read.
            **options: Further arguments of the class, and `encoder` (a LlamaIndex embedding too),
                `analyzer` and `vectors` for `Corpus.open`.

        Raises:
            InputError: Something given is no node, two different nodes have one id, or a node has
                metadata that JSON cannot hold, or is of a class that LlamaIndex does not know.
            CorpusError: The path holds no corpus that can be opened.
        """
        from stepwell.corpus import Corpus

        depth = _depth(k)
        nodes = _nodes(documents)
        if transformations:
            nodes = list(run_transformations(nodes, list(transformations)))
        _all_different(nodes)
        kept = {name: options.pop(name) for name in _OF_THE_CORPUS if name in options}
        if isinstance(kept.get("encoder"), BaseEmbedding):
            kept["encoder"] = as_encoder(kept["encoder"])
        corpus = Corpus.temporary(**kept) if path is None else Corpus.open(path, **kept)
        objects = {each.index_id: each.obj for each in nodes if _is_live(each)}
        options["object_map"] = {**objects, **(options.get("object_map") or {})}
        try:
            made = cls(Cascade.default(corpus, k=depth), k, **options)
            corpus.upsert(packed(node, metadata_mode) for node in nodes)
        except BaseException:
            corpus.close()
            raise
        made.corpus = corpus
        return made

    @classmethod
    def from_retriever(
        cls,
        existing: BaseRetriever | BaseIndex[Any] | Stage,
        k: int | None = 5,
        **options: Any,
    ) -> CascadeRetriever:
        """Re-rank what a retriever or an index that you already run finds.

        A call that asks for more than is recalled gets what is recalled.

        Args:
            existing: Recalls, see `as_stage`, and what that made, with choices of your own, is
                taken as it is; the recommended cascade scores what it found.
            k: How many nodes to answer; at least that many are recalled, where it has a
                `similarity_top_k`.
            **options: As in the class.
        """
        rescoring = Cascade.default(k=_depth(k)).stages
        recall = existing if isinstance(existing, Stage) else _recall(existing, k)
        return cls(Cascade([recall, *rescoring]), k, **options)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "callback_manager": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.callback_manager = CallbackManager()

    def __deepcopy__(self, memo: dict[int, Any]) -> CascadeRetriever:
        """A copy that shares the cascade, its corpus and its models."""
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def retrieve(self, str_or_query_bundle: QueryType) -> list[NodeWithScore]:
        """Answer a string or a bundle.

        Raises:
            InputError: It is neither, or its text is no string.
        """
        return _retrieve(self, checked(str_or_query_bundle))

    async def aretrieve(self, str_or_query_bundle: QueryType) -> list[NodeWithScore]:
        """`retrieve` without blocking the event loop."""
        return await _aretrieve(self, checked(str_or_query_bundle))

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        cascade, ask = self._plan(query_bundle)
        return self._answer(cascade.search(**ask))

    @dispatcher.span
    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        cascade, ask = self._plan(query_bundle)
        return self._answer(await cascade.asearch(**ask))

    def _plan(self, bundle: QueryBundle) -> tuple[Cascade, dict[str, Any]]:
        query, limits = read_query(bundle, k=self.k, filters=self.filters, deadline=self.deadline)
        return watched(self.cascade, bundle, self.callback_manager), {"query": query, **limits}

    def _answer(self, result: Result) -> list[NodeWithScore]:
        report(result)
        return scored_nodes(result, detail_key=self.detail_key, trace=self.trace)

    def _object_of(self, node: IndexNode) -> Any:
        # An object that the node itself still carries was resolved by the stage that recalled it.
        return self.object_map.get(node.index_id)

    def _retrieve_from_object(
        self, obj: Any, query_bundle: QueryBundle, score: float
    ) -> list[NodeWithScore]:
        found = super()._retrieve_from_object(obj, query_bundle, score)
        return [NodeWithScore(node=each.node, score=score) for each in found]

    async def _aretrieve_from_object(
        self, obj: Any, query_bundle: QueryBundle, score: float
    ) -> list[NodeWithScore]:
        found = await super()._aretrieve_from_object(obj, query_bundle, score)
        return [NodeWithScore(node=each.node, score=score) for each in found]


def _is_live(node: BaseNode) -> TypeGuard[IndexNode]:
    return isinstance(node, IndexNode) and node.obj is not None


def _depth(k: int | None) -> int:
    """How many the last stage keeps: no fewer than usual, so that a call may ask for more."""
    return max(check_k(k) or 0, 10)


def _recall(existing: Any, k: int | None) -> Stage:
    stage = as_stage(existing)
    deepest = max(USUAL, getattr(stage.retriever, "similarity_top_k", 0))
    return stage if k is None or k <= deepest else as_stage(existing, k=k)


def _all_different(nodes: Iterable[BaseNode]) -> None:
    seen: dict[str, BaseNode] = {}
    for node in nodes:
        if seen.setdefault(node.node_id, node).hash != node.hash:
            raise InputError(f"two different nodes have the id {node.node_id!r}")


def _nodes(documents: Iterable[BaseNode]) -> list[BaseNode]:
    several(documents, "documents")
    nodes = list(documents)
    for node in nodes:
        if not isinstance(node, BaseNode):
            raise InputError(f"expected nodes or documents of LlamaIndex, not {node!r:.80}")
    return nodes
