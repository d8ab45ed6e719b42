"""A RAG service: FastAPI, answers streamed word by word.

    pip install 'stepwell[langchain]' fastapi uvicorn
    uvicorn --app-dir examples fastapi_service:app
    curl -N localhost:8000/ask -H 'content-type: application/json' \
         -d '{"question": "How do I rotate the logs?"}'

`/ask` answers with server-sent events: `sources` first, so that a page can show them while the
model still writes, then a `token` each, then `done`; `error` when the model fails. `/search` is
the retrieval alone, `/health` says how many documents there are. The index lies in the folder
STEPWELL_INDEX (`service.stepwell`) and is opened once. Without STEPWELL_LLM the answers are quotes.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from answering import chat_model
from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse
from langchain_core.documents import Document
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from pydantic import BaseModel, Field

from stepwell import InputError
from stepwell.langchain import CascadeRetriever

DEADLINE = 2.0
ANSWER = ChatPromptTemplate.from_messages(
    [
        ("system", "Answer from these passages alone and cite them, like [1].\n\n{passages}"),
        ("human", "{question}"),
    ]
)
log = logging.getLogger(__name__)


class Question(BaseModel):
    """What a client asks."""

    question: str = Field(min_length=1, max_length=1000)
    k: int = Field(default=3, ge=1, le=20)
    filter: dict[str, Any] | None = None


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the index, load the models once, close when the service ends."""
    pages = json.loads(Path(__file__).with_name("handbook.json").read_text(encoding="utf-8"))
    documents = [Document(page.pop("text"), id=page.pop("id"), metadata=page) for page in pages]
    folder = os.environ.get("STEPWELL_INDEX", "service.stepwell")
    app.state.retriever = CascadeRetriever.from_documents(documents, folder, deadline=DEADLINE)
    app.state.chain = ANSWER | chat_model() | StrOutputParser()
    app.state.retriever.invoke("warm up", deadline=None)
    with app.state.retriever.corpus:
        yield


app = FastAPI(title="Handbook", lifespan=lifespan)


@app.exception_handler(InputError)
async def refuse(_: Request, error: InputError) -> JSONResponse:
    """A filter that cannot be honoured is the client's mistake."""
    return JSONResponse({"detail": str(error)}, status_code=422)


@app.get("/health")
def health(request: Request) -> dict[str, int]:
    """Whether it is up, and how much it knows."""
    return {"documents": len(request.app.state.retriever.corpus)}


@app.get("/search")
async def search(
    request: Request, q: Annotated[str, Query(max_length=1000)], k: Annotated[int, Query(ge=1)] = 3
) -> list[dict[str, Any]]:
    """The retrieval alone."""
    return [source(each) for each in await request.app.state.retriever.ainvoke(q, k=k)]


@app.post("/ask")
async def ask(request: Request, asked: Question) -> StreamingResponse:
    """Retrieve first, so that a mistake is still a status code; then stream."""
    retriever, chain = request.app.state.retriever, request.app.state.chain
    found = await retriever.ainvoke(asked.question, k=asked.k, filter=asked.filter)
    passages = "\n".join(f"[{n}] {each.page_content}" for n, each in enumerate(found, 1))

    async def events() -> AsyncIterator[str]:
        yield event("sources", [source(each) for each in found])
        try:
            async for token in chain.astream({"passages": passages, "question": asked.question}):
                yield event("token", token)
        except Exception:
            log.exception("the model failed")
            yield event("error", "the model failed")
        else:
            yield event("done", None)

    return StreamingResponse(events(), media_type="text/event-stream")


def source(document: Document) -> dict[str, Any]:
    """What a client is told of a document: JSON as it is, scores by stage included."""
    return {"id": document.id, "text": document.page_content, **document.metadata}


def event(name: str, data: Any) -> str:
    """One server-sent event."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"
