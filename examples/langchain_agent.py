"""A LangChain agent with the cascade as its tool.

    pip install 'stepwell[langchain]'
    python examples/langchain_agent.py ["a question" ...]

The model decides when to search, with what words and in which team's pages; the documents come
back beside the text that it reads, as the artifact of the tool's message, so that nothing has to be
parsed out of the answer. `langchain.agents.create_agent(model, [tool])` takes the same tool; the
loop below is what such an agent does. Without STEPWELL_LLM it searches once and quotes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Literal

from answering import chat_model
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import BaseTool, tool

from stepwell.langchain import CascadeRetriever

QUESTIONS = ("What do I do when my laptop is stolen?", "When is the cat fed?")
SYSTEM = "Answer from what search_handbook finds and cite its passages, like [1]."
STEPS = 5


def main() -> None:
    """Let the agent answer each question, and show what it did."""
    search = search_tool(handbook())
    for question in sys.argv[1:] or QUESTIONS:
        print(question)
        for message in run_agent(chat_model(), search, question):
            if isinstance(message, ToolMessage):
                found = ", ".join(f"{each.id}" for each in message.artifact or ())
                print(f"  {message.name} found {found or 'nothing'}")
        print(f"  {message.text}")


def handbook() -> CascadeRetriever:
    """Your documents; give `from_documents` a path, and the index stays on disk."""
    pages = json.loads(Path(__file__).with_name("handbook.json").read_text(encoding="utf-8"))
    documents = [Document(page.pop("text"), id=page.pop("id"), metadata=page) for page in pages]
    return CascadeRetriever.from_documents(documents, k=3)


def search_tool(retriever: CascadeRetriever) -> BaseTool:
    """The cascade as a tool: text for the model, documents for the application."""

    @tool(response_format="content_and_artifact")
    def search_handbook(
        query: str, team: Literal["sre", "security", "people", "office"] | None = None
    ) -> tuple[str, list[Document]]:
        """Search the company's handbook, in the pages of one team or in all."""
        found = retriever.invoke(query, filter={"team": team} if team else None)
        text = "\n".join(f"[{n}] {each.page_content}" for n, each in enumerate(found, 1))
        return text or "Nothing found.", found

    return search_handbook


def run_agent(model: BaseChatModel, search: BaseTool, question: str) -> list[BaseMessage]:
    """The conversation that leads to the answer, its last message."""
    messages: list[BaseMessage] = [SystemMessage(SYSTEM), HumanMessage(question)]
    agent = model.bind_tools([search])
    for _ in range(STEPS):
        said = agent.invoke(messages)
        messages.append(said)
        if not said.tool_calls:
            return messages
        messages += [search.invoke(call) for call in said.tool_calls]
    return [*messages, model.invoke(messages)]


if __name__ == "__main__":
    main()
