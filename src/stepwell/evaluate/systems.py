"""What can be measured: a cascade, a retriever of LangChain or LlamaIndex, or a function."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeAlias

from stepwell.cascade import Cascade
from stepwell.errors import ConfigurationError, InputError, kind_of
from stepwell.result import Result


class Retriever(Protocol):
    """A retriever of LangChain, or any of its runnables that answers documents."""

    def invoke(self, input: Any, /) -> Any:
        """Documents, best first."""
        ...


class NodeRetriever(Protocol):
    """A retriever of LlamaIndex."""

    def retrieve(self, query: Any, /) -> Any:
        """Nodes with scores, best first."""
        ...


System: TypeAlias = "Cascade | Retriever | NodeRetriever | Callable[[str], Iterable[Any]]"
Ask: TypeAlias = "Callable[[str, int], tuple[list[str], float, Result | None]]"
"""From a question and a depth to ids, milliseconds and, of a cascade, the result."""


def asker(system: System, *, id_key: str | None = None) -> Ask:
    """How to ask a system.

    Args:
        system: A `Cascade`; an object with `invoke` (LangChain) or `retrieve` (LlamaIndex); or a
            function from a question to ids, best first, or to (id, score) pairs in any order.
        id_key: The metadata key that holds the data set's id of a document; by default its own id.

    Raises:
        ConfigurationError: It is none of these.
    """
    if isinstance(system, Cascade):
        return lambda text, depth: _of_cascade(system, text, depth)
    for method in ("retrieve", "invoke"):
        if callable(getattr(system, method, None)):
            found = getattr(system, method)
            return lambda text, depth: _timed(found, text, depth, lambda each: _id(each, id_key))
    if callable(system):
        return lambda text, depth: _timed(system, text, depth, None)
    raise ConfigurationError(
        f"cannot ask a {kind_of(system)}: give a Cascade, a LangChain or LlamaIndex retriever, or "
        "a function from a question to ids"
    )


def _of_cascade(cascade: Cascade, text: str, depth: int) -> tuple[list[str], float, Result]:
    result = cascade.search(text, k=depth)
    return result.ids, result.trace.ms, result


def _timed(
    ask: Callable[[str], Any], text: str, depth: int, id_of: Callable[[Any], str] | None
) -> tuple[list[str], float, None]:
    began = time.perf_counter()
    found = ask(text)
    if isinstance(found, str) or not isinstance(found, Iterable):
        raise InputError(f"a list of documents or ids was expected, not a {kind_of(found)}")
    found = list(found.items()) if isinstance(found, Mapping) else list(found)
    ms = (time.perf_counter() - began) * 1e3
    ids = _plain(found) if id_of is None else [id_of(each) for each in found]
    # Passages of one document share its id: the best one counts.
    return list(dict.fromkeys(ids))[:depth], ms, None


def _id(found: Any, id_key: str | None) -> str:
    """The id of a LangChain document, or of a LlamaIndex node."""
    document = getattr(found, "node", found)
    metadata = getattr(document, "metadata", None)
    if not isinstance(metadata, Mapping):
        raise InputError(f"the retriever answered a {kind_of(found)}, which is no document")
    if id_key is not None:
        id = metadata.get(id_key)
        if id in (None, ""):
            raise InputError(f"a document has no metadata[{id_key!r}], which was to be its id")
        return str(id)
    id = getattr(document, "node_id", None) or getattr(document, "id", None)
    if not id:
        raise InputError(
            "the retriever's documents have no id, by which answers are matched with judgements: "
            "give them one, or name the metadata key that holds it with id_key="
        )
    return str(id)


def _plain(found: list[Any]) -> list[str]:
    """Ids in order, or pairs of id and score sorted by score."""
    pairs = [each for each in found if isinstance(each, (tuple, list))]
    if pairs and len(pairs) < len(found):
        raise InputError("the function answered ids and pairs mixed; it must be one or the other")
    if not pairs:
        return [_known(id) for id in found]
    scored: list[tuple[str, float]] = []
    for pair in pairs:
        try:
            id, score = pair[0], float(pair[1])
        except (IndexError, TypeError, ValueError) as error:
            raise InputError("the function must answer ids, or (id, score) pairs") from error
        if not math.isfinite(score):
            raise InputError(f"the score of {id!r} is {score}, which orders nothing")
        scored.append((_known(id), score))
    return [id for id, _ in sorted(scored, key=lambda pair: -pair[1])]


def _known(id: Any) -> str:
    if isinstance(id, bool) or not isinstance(id, (str, int)) or id == "":
        raise InputError(f"the function must answer ids, or (id, score) pairs, not a {kind_of(id)}")
    return str(id)
