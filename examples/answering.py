"""The language model of the examples: yours, or a stand-in that quotes.

Name a model in STEPWELL_LLM, as "provider:model", and every example answers with it:

    STEPWELL_LLM=openai:gpt-4o-mini      (and the provider's own key, here OPENAI_API_KEY)

The LangChain examples hand the name to `init_chat_model`, which needs `pip install langchain` and
the provider's package, here `langchain-openai`; the LlamaIndex example needs the provider's
`llama-index-llms-openai`. Without the variable nothing is called: the answer is the sentence of the
retrieved passages that the packaged cross-encoder likes best for the question.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import stepwell as sw

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings
    from langchain_core.language_models import BaseChatModel
    from llama_index.core.llms import LLM

VARIABLE = "STEPWELL_LLM"


def quote(question: str, passages: Sequence[str], *, cite: bool = True) -> str:
    """The sentence that answers best, followed by the number of its passage: `... [2]`."""
    sentences = [
        f"{sentence} [{number}]" if cite else sentence
        for number, passage in enumerate(passages, 1)
        for sentence in re.split(r"(?<=[.!?])\s+", " ".join(passage.split()))
        if sentence
    ]
    return _reader().rank(question, sentences, k=1).documents[0].text if sentences else "Not found."


@cache
def _reader() -> sw.Cascade:
    return sw.Cascade([sw.CrossEncoder(k=1)])


def chat_model() -> BaseChatModel:
    """A LangChain chat model."""
    if name := os.environ.get(VARIABLE):
        from langchain.chat_models import init_chat_model

        return init_chat_model(name)
    return _quoting_chat_model()


def embeddings() -> Embeddings:
    """LangChain embeddings for an app that has its own vector store: the packaged bi-encoder."""
    from stepwell.langchain import as_embeddings

    return as_embeddings()


def llm() -> LLM:
    """A LlamaIndex model: `openai:...` is the class `OpenAI` of `llama_index.llms.openai`."""
    if not (name := os.environ.get(VARIABLE)):
        return _quoting_llm()
    provider, _, model = name.partition(":")
    module = import_module(f"llama_index.llms.{provider}")
    wanted = provider.replace("_", "")
    kind = next(each for key, each in vars(module).items() if key.lower() == wanted)
    return kind(model=model)


def _quoting_chat_model() -> BaseChatModel:
    from langchain_core.callbacks import CallbackManagerForLLMRun
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolCall
    from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

    class Quoting(BaseChatModel):
        """Calls its tool once, then quotes; with nothing to quote it repeats the questions."""

        tool: Any = None

        @property
        def _llm_type(self) -> str:
            return "quoting"

        def bind_tools(self, tools: Sequence[Any], **_: Any) -> Quoting:
            return Quoting(tool=tools[0])

        def _generate(
            self,
            messages: list[BaseMessage],
            stop: list[str] | None = None,
            run_manager: CallbackManagerForLLMRun | None = None,
            **_: Any,
        ) -> ChatResult:
            return ChatResult(generations=[ChatGeneration(message=self._answer(messages))])

        def _stream(
            self,
            messages: list[BaseMessage],
            stop: list[str] | None = None,
            run_manager: CallbackManagerForLLMRun | None = None,
            **_: Any,
        ) -> Iterator[ChatGenerationChunk]:
            for word in re.findall(r"\s*\S+", self._answer(messages).text):
                yield ChatGenerationChunk(message=AIMessageChunk(content=word))

        def _answer(self, messages: list[BaseMessage]) -> AIMessage:
            asked = [each.text for each in messages if each.type == "human"]
            given = "\n\n".join(each.text for each in messages if each.type in ("system", "tool"))
            passages = re.findall(r"^\[\d+\] (.+)$", given, re.MULTILINE)
            if self.tool is not None and messages[-1].type == "human":
                call = ToolCall(name=self.tool.name, args={"query": asked[-1]}, id="1")
                return AIMessage(content="", tool_calls=[call])
            return AIMessage(content=quote(asked[-1], passages) if passages else " ".join(asked))

    return Quoting()


def _quoting_llm() -> LLM:
    from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata

    class Quoting(CustomLLM):
        """Quotes from what stands before the question in the prompt of an engine."""

        @property
        def metadata(self) -> LLMMetadata:
            return LLMMetadata(model_name="quoting")

        def complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:
            # The engines put the passages between two lines of dashes and the question last.
            passages = re.split(r"\n-{9,}\n", prompt)[1].split("\n\n")
            question = re.split(r"\n(?:user|Query): ", prompt)[-1]
            asked = re.split(r"\n(?:assistant|Answer):", question)[0]
            texts = [each for each in passages if not re.match(r"\w+: ", each.strip())]
            return CompletionResponse(text=quote(asked, texts, cite=False))

        def stream_complete(self, prompt: str, formatted: bool = False, **_: Any) -> Any:
            yield self.complete(prompt)

    return Quoting()
