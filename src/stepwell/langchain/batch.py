"""`BatchRetriever`: a retriever that answers many queries at once, each still a run of its own."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langchain_core.documents import Document as LangChainDocument
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_config_list

from stepwell.ask import several
from stepwell.langchain.runs import Run, abegin, atell, begin, tell
from stepwell.trace import Trace

# Enough queries together to fill a model's batches; more only holds more candidates at once.
_TOGETHER = 64


class BatchRetriever(BaseRetriever):
    """Gives `batch` and `abatch` to a retriever that has `_answer`."""

    @abstractmethod
    def _answer(
        self, queries: Sequence[str], runs: Sequence[Run], given: Mapping[str, Any]
    ) -> list[tuple[list[LangChainDocument] | Exception, Trace | None]]:
        """Documents or the exception for each query, with what the stages did."""

    def batch(
        self,
        inputs: list[str],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """`invoke` for each query, in order; stages that can, work on all at once.

        Each query is a run of its own, with its own config. `max_concurrency` bounds how many
        are worked on together.
        """
        answers: list[Any] = []
        for queries, configs in _chunks(inputs, config):
            runs = [begin(self, query, each, **kwargs) for query, each in zip(queries, configs)]
            for run, (answer, trace) in zip(runs, self._answer(queries, runs, kwargs)):
                tell(run, trace)
                if isinstance(answer, Exception):
                    run.on_retriever_error(answer)
                else:
                    run.on_retriever_end(answer)
                answers.append(answer)
            _raise_first(answers, unless=return_exceptions)
        return answers

    async def abatch(
        self,
        inputs: list[str],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """`batch` without blocking the event loop; the same result."""
        answers: list[Any] = []
        for queries, configs in _chunks(inputs, config):
            runs = [
                await abegin(self, query, each, **kwargs) for query, each in zip(queries, configs)
            ]
            done = await asyncio.to_thread(self._answer, queries, runs, kwargs)
            for run, (answer, trace) in zip(runs, done):
                await atell(run, trace)
                if isinstance(answer, Exception):
                    await run.on_retriever_error(answer)
                else:
                    await run.on_retriever_end(answer)
                answers.append(answer)
            _raise_first(answers, unless=return_exceptions)
        return answers


def _chunks(
    inputs: Sequence[str], config: RunnableConfig | list[RunnableConfig] | None
) -> Iterable[tuple[Sequence[str], list[RunnableConfig]]]:
    several(inputs, "queries")
    configs = get_config_list(config, len(inputs)) if inputs else []
    size = (configs[0].get("max_concurrency") if configs else None) or _TOGETHER
    for at in range(0, len(inputs), size):
        yield inputs[at : at + size], configs[at : at + size]


def _raise_first(answers: Sequence[Any], *, unless: bool) -> None:
    for answer in answers:
        if isinstance(answer, Exception) and not unless:
            raise answer
