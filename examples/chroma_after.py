"""An app over a Chroma collection: `chroma_after.py` is `chroma_before.py` with Stepwell.

    pip install 'stepwell[langchain]' langchain-chroma
    python examples/chroma_after.py ["a question" ...]

The collection, its ids and its vectors stay as they are; nothing is indexed again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from answering import chat_model, embeddings
from langchain_chroma import Chroma
from langchain_core.documents import Document
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough

from stepwell.langchain import CascadeRetriever

QUESTIONS = ("Which room has place for forty people?", "My key is in the git repository")
ANSWER = ChatPromptTemplate.from_messages(
    [("system", "Answer from these passages and cite them.\n\n{passages}"), ("human", "{question}")]
)


def main() -> None:
    """Answer each question, with the ids of what was read."""
    store = collection()
    retriever = CascadeRetriever.from_retriever(store, k=3)
    read = {"documents": retriever, "question": RunnablePassthrough()}
    answer = RunnablePassthrough.assign(passages=numbered) | ANSWER | chat_model()
    chain = read | RunnablePassthrough.assign(answer=answer | StrOutputParser())
    for question in sys.argv[1:] or QUESTIONS:
        said = chain.invoke(question)
        print(f"{question}\n  {said['answer']}")
        for document in said["documents"]:
            print(f"    {document.id}  {document.metadata.get('relevance_score', 'no score')}")


def collection() -> Chroma:
    """The collection; yours has a `persist_directory` or a server, and is filled already."""
    store = Chroma("handbook", embedding_function=embeddings())
    pages = json.loads(Path(__file__).with_name("handbook.json").read_text(encoding="utf-8"))
    store.add_documents(
        [Document(page.pop("text"), id=page.pop("id"), metadata=page) for page in pages]
    )
    return store


def numbered(asked: dict[str, list[Document]]) -> str:
    """The passages as the model reads them."""
    return "\n".join(f"[{n}] {each.page_content}" for n, each in enumerate(asked["documents"], 1))


if __name__ == "__main__":
    main()
