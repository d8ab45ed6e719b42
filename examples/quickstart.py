"""One cascade, two frameworks: ask the documentation of Python's standard library.

It indexes the docstrings of the library's modules, classes and functions, then answers questions
from a LangChain chain and from a LlamaIndex query engine. The language model of both is a stand-in
that quotes: it needs no key, and you put yours in its place.

    python examples/quickstart.py ["a question" ...]
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langchain_core.documents import Document
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough
from llama_index.core import PromptTemplate as LlamaPrompt
from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata
from llama_index.core.query_engine import RetrieverQueryEngine

import stepwell as sw
from stepwell import langchain, llama_index
from stepwell.ingest import python_docs

QUESTIONS = (
    "Which function gives the middle value of a list of numbers?",
    "What measures how long a small piece of code takes?",
)
HERE = Path(__file__).with_suffix(".stepwell")
reader = sw.Cascade([sw.CrossEncoder(k=1)])


def main() -> None:
    """Index, then ask every question of both."""
    questions = sys.argv[1:] or QUESTIONS
    with sw.Corpus.open(HERE) as corpus:
        index(corpus)
        cascade = sw.Cascade.default(corpus)
        print(f"{len(corpus)} documents, {cascade!r}\n")

        chain = langchain_chain(langchain.CascadeRetriever(cascade=cascade, k=3))
        engine = llama_index_engine(llama_index.CascadeRetriever(cascade=cascade, k=3))
        for question in questions:
            print(question)
            said = chain.invoke(question)
            print(f"\n  LangChain: {said['answer']}")
            for document in said["documents"]:
                source(document.id, document.metadata["relevance_score"], document.metadata)
            response = engine.query(question)
            print(f"\n  LlamaIndex: {response}")
            for found in response.source_nodes:
                source(found.node_id, found.score, found.metadata)
            print()
        result = cascade.search("pick a random element of a list", k=1)
        print(f"Without a framework: {result.query.text}? {result.ids[0]}\n\n{result.trace}")


def index(corpus: sw.Corpus) -> None:
    """Put the documentation into the corpus; what is there already is not encoded again."""
    documents = python_docs(kinds=["module", "class", "function"])
    corpus.upsert(documents, progress=lambda done: bar(done, len(documents)))


def langchain_chain(retriever: Runnable[str, list[Document]]) -> Runnable[str, dict[str, Any]]:
    """Question in, documents and answer out."""
    prompt = PromptTemplate.from_template("{question}\n\n{passages}")
    model = RunnableLambda(lambda prompt: quote(prompt.to_string()))
    passages = RunnableLambda(lambda found: "\n\n".join(d.page_content for d in found["documents"]))
    answer = RunnablePassthrough.assign(passages=passages) | prompt | model
    asked = {"documents": retriever, "question": RunnablePassthrough()}
    return asked | RunnablePassthrough.assign(answer=answer)


def llama_index_engine(retriever: llama_index.CascadeRetriever) -> RetrieverQueryEngine:
    """A query engine that answers from the retriever's nodes."""
    prompt = LlamaPrompt("{query_str}\n\n{context_str}")
    return RetrieverQueryEngine.from_args(retriever, llm=Quoting(), text_qa_template=prompt)


class Quoting(CustomLLM):
    """The stand-in for a language model, as LlamaIndex wants it."""

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex asks of a model before it uses it."""
        return LLMMetadata(model_name="quoting")

    def complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:
        """The answer to a prompt."""
        return CompletionResponse(text=quote(prompt))

    def stream_complete(self, prompt: str, formatted: bool = False, **_: Any) -> Any:
        """The same, in one piece."""
        yield self.complete(prompt)


def quote(prompt: str) -> str:
    """The paragraph below a prompt's first line that the cross-encoder likes best for it."""
    question, _, passages = prompt.partition("\n\n")
    paragraphs = [" ".join(each.split()) for each in passages.split("\n\n") if each.strip()]
    return reader.rank(question, paragraphs, k=1).documents[0].text if paragraphs else "nothing"


def source(name: str, score: float, metadata: Mapping[str, Any]) -> None:
    """Print where an answer came from, with what each stage thought of it."""
    scores = metadata["stepwell"]["scores"]
    stages = "  ".join(f"{stage} {value:.2f}" for stage, value in scores.items())
    print(f"    {score:.3f}  {name:40}  {stages}")


def bar(done: int, total: int) -> None:
    """Show on a terminal how far indexing is."""
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\rindexed {done} of {total}", end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
