"""A LangChain chain that answers with citations and follows a conversation.

    pip install 'stepwell[langchain]'
    python examples/langchain_rag.py ["a question" "the next one" ...]

A later question is first rewritten so that it stands alone, then the cascade retrieves, then the
model answers from numbered passages and cites them. Without STEPWELL_LLM it quotes: answering.py.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from answering import chat_model
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import Runnable, RunnableBranch, RunnableLambda, RunnablePassthrough

from stepwell.langchain import CascadeRetriever

QUESTIONS = ("How long are API keys valid?", "And what if one was committed to a repository?")

STAND_ALONE = ChatPromptTemplate.from_messages(
    [
        ("system", "Rewrite the last question so that it can be understood alone. Only rewrite."),
        MessagesPlaceholder("history"),
        ("human", "{question}"),
    ]
)
ANSWER = ChatPromptTemplate.from_messages(
    [
        ("system", "Answer from these passages alone and cite them, like [1].\n\n{passages}"),
        MessagesPlaceholder("history"),
        ("human", "{question}"),
    ]
)


def main() -> None:
    """Ask each question of one conversation."""
    chain = rag_chain(handbook())
    history: list[BaseMessage] = []
    for question in sys.argv[1:] or QUESTIONS:
        said = chain.invoke({"question": question, "history": history})
        history += [HumanMessage(question), AIMessage(said["answer"])]
        print(f"{question}\n  {said['answer']}")
        for number, document in cited(said["answer"], said["documents"]):
            score = document.metadata["relevance_score"]
            print(f"  [{number}] {document.metadata['title']} ({document.id}, {score:.2f})")


def handbook() -> CascadeRetriever:
    """Your documents; give `from_documents` a path, and the index stays on disk."""
    pages = json.loads(Path(__file__).with_name("handbook.json").read_text(encoding="utf-8"))
    documents = [Document(page.pop("text"), id=page.pop("id"), metadata=page) for page in pages]
    return CascadeRetriever.from_documents(documents, k=4)


def rag_chain(retriever: CascadeRetriever) -> Runnable[dict[str, Any], dict[str, Any]]:
    """{question, history} in; documents and answer beside them out; streams and awaits too."""
    model = chat_model() | StrOutputParser()
    alone = RunnableBranch((itemgetter("history"), STAND_ALONE | model), itemgetter("question"))
    answer = RunnablePassthrough.assign(passages=RunnableLambda(numbered)) | ANSWER
    return RunnablePassthrough.assign(documents=alone | retriever).assign(answer=answer | model)


def numbered(asked: dict[str, Any]) -> str:
    """The passages as the model reads them."""
    return "\n".join(f"[{n}] {each.page_content}" for n, each in enumerate(asked["documents"], 1))


def cited(answer: str, documents: Sequence[Document]) -> list[tuple[int, Document]]:
    """The documents that an answer names; a number that was made up names none."""
    numbers = sorted({int(number) for number in re.findall(r"\[(\d+)\]", answer)})
    return [(n, documents[n - 1]) for n in numbers if 0 < n <= len(documents)]


if __name__ == "__main__":
    main()
