"""The routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

import stepwell
from stepwell.page import page_of
from stepwell.refusal import nearest
from stepwell.server import answering
from stepwell.server.guard import GuardedRoute
from stepwell.server.metrics import TEXT, Metrics
from stepwell.server.openapi import described
from stepwell.server.problems import Told, answer_to
from stepwell.server.service import Service
from stepwell.server.shapes import (
    EitherAsked,
    Explained,
    Health,
    Rank,
    RerankAnswer,
    RerankAsked,
    SearchAnswer,
    SearchAsked,
    TextsAsked,
)

_WHY = {
    401: "The key is missing or wrong.",
    404: "The server has no corpus.",
    408: "The body took too long to arrive.",
    413: "The body is too large.",
    422: "The request is none that can be honoured, or asks too much at once.",
    500: "Something went wrong that nobody foresaw; `id` is in the server's log.",
    503: "The model is being loaded, or there is too much work: ask again after `Retry-After`.",
}


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Told, "description": _WHY[status]} for status in statuses}


_POST = _errors(401, 408, 413, 422, 500, 503)

router = APIRouter(route_class=GuardedRoute)


def create_app(service: Service, *, metrics: Metrics | None = None) -> FastAPI:
    """The application around a service, for any ASGI server.

    Args:
        service: Loaded when the application starts, closed when it ends.
        metrics: Where requests are counted; its own if None.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(service.warm())
        yield
        await loading
        service.close()

    counted = metrics or Metrics()
    app = FastAPI(
        title="Stepwell",
        version=stepwell.__version__,
        lifespan=lifespan,
        # FastAPI's pages of documentation load scripts from elsewhere.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        # A redirect loses the body with some clients; what was meant is said instead.
        redirect_slashes=False,
        telemetry={"meter_provider": counted.provider, "logs": False, "operation_spans": False},
    )
    app.state.service, app.state.metrics = service, counted
    app.include_router(router)
    app.add_exception_handler(HTTPException, _unrouted)
    app.openapi_schema = described(app, service.limits, locked=service.key is not None)
    return app


@router.post("/v2/rerank", responses=_POST, response_model_exclude_none=True)
async def rerank_v2(request: Request, asked: RerankAsked) -> RerankAnswer:
    """Score documents, as Cohere's API v2 does."""
    return await answering.rerank(_service(request), asked, version="2")


@router.post("/v1/rerank", responses=_POST, response_model_exclude_none=True)
async def rerank_v1(request: Request, asked: RerankAsked) -> RerankAnswer:
    """Score documents, as Cohere's API v1, Jina's and vLLM's do."""
    return await answering.rerank(_service(request), asked, version="1")


@router.post("/rerank", responses=_POST, response_model_exclude_none=True)
async def rerank(request: Request, asked: EitherAsked) -> list[Rank] | RerankAnswer:
    """Score `texts`, as Text Embeddings Inference does, or `documents`, as `/v1/rerank`."""
    if isinstance(asked, TextsAsked):
        return await answering.rank(_service(request), asked)
    return await answering.rerank(_service(request), asked, version="1")


@router.post("/search", responses={**_POST, **_errors(404)})
async def search(request: Request, asked: SearchAsked) -> SearchAnswer:
    """Search the corpus: recall, re-score, rerank."""
    return await answering.search(_service(request), asked)


@router.post("/trace", responses={**_POST, **_errors(404)}, response_model=Explained)
async def trace(request: Request, asked: SearchAsked) -> JSONResponse:
    """Search, and tell what each stage did with every candidate."""
    return JSONResponse(await answering.explained(_service(request), asked))


@router.get("/", include_in_schema=False)
async def page(request: Request) -> HTMLResponse:
    """A search box over `/trace`, and the way of every candidate; or how to ask for a rerank."""
    service = _service(request)
    reranks = {"reranks": {"locked": service.key is not None}}
    shown = page_of(reranks if service.cascade is None else None)
    return HTMLResponse(shown, headers={"X-Frame-Options": "DENY"})


@router.get("/health", responses=_errors(500))
async def health() -> Health:
    """Whether the process answers."""
    return Health(status="ok")


@router.get(
    "/ready",
    responses={503: {"model": Health, "description": "Not yet, or not any more."}, **_errors(500)},
)
async def ready(request: Request, response: Response) -> Health:
    """Whether work should be sent here."""
    state = _service(request).state
    response.status_code = 200 if state == "ready" else 503
    return Health(status=state)


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"content": {TEXT: {"schema": {"type": "string"}}}},
        **_errors(401, 500),
    },
)
def metrics(request: Request) -> Response:
    """What happened so far, for Prometheus."""
    return Response(request.app.state.metrics.page(), media_type=TEXT)


@router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> JSONResponse:
    """This interface, described."""
    return JSONResponse(request.app.openapi())


async def _unrouted(request: Request, error: Exception) -> Response:
    """A path or a method that there is not."""
    match error:
        case HTTPException(status_code=404):
            message = f"no such path; {_meant(request.url.path)}"
            error = HTTPException(404, message)
        case HTTPException(status_code=405, headers=headers):
            message = f"this path takes {(headers or {}).get('Allow', 'another method')}"
            error = HTTPException(405, message, headers)
    return answer_to(error, "no route")


def _meant(path: str) -> str:
    there = [route.path for route in router.routes if isinstance(route, APIRoute)]
    near = nearest(path.rstrip("/"), there)
    return f"did you mean {near}?" if near else f"there are: {', '.join(there)}"


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service
