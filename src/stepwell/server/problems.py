"""What a client is told when its request is not answered."""

from __future__ import annotations

import logging
import traceback
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from stepwell.documents import well_formed
from stepwell.errors import InputError, OverloadedError
from stepwell.refusal import faults

log = logging.getLogger("stepwell.server")

RETRY = {"Retry-After": "1"}
JSON = "send a JSON object, with content-type: application/json"
LONGEST = 400
"""Characters of a message."""


class Told(BaseModel):
    """The body of every answer that is an error."""

    type: str = Field(description="What kind of problem, in a word that does not change.")
    message: str = Field(description="What is wrong and what to do, for a person.")
    id: str | None = Field(
        default=None, description="Of an internal error: what its line in the server's log names."
    )


class Problem(Exception):  # noqa: N818
    """A request that is not answered.

    Attributes:
        status: The HTTP status.
        type: A word for programs.
        headers: Sent with it.
    """

    def __init__(
        self, status: int, type: str, message: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.type, self.headers = status, type, headers


def answer_to(error: Exception, route: str) -> JSONResponse:
    """The answer to what went wrong; what nobody foresaw is logged, without its message."""
    match error:
        case Problem():
            return _told(error.status, error.type, str(error), headers=error.headers)
        case RequestValidationError():
            return _told(422, "invalid", _said(error.errors()))
        case HTTPException(status_code=400):
            return _told(422, "invalid", "the body cannot be read as JSON")
        case HTTPException():
            kind = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http")
            return _told(error.status_code, kind, str(error.detail), headers=error.headers)
        case InputError():
            return _told(422, "invalid", str(error))
        case OverloadedError():
            message = "too much work waits for the model; ask again later"
            return _told(503, "overloaded", message, headers=RETRY)
    id = uuid.uuid4().hex
    # The message of a foreign error may quote a text; where it was raised cannot.
    log.error("%s on %s, id %s, at %s", type(error).__name__, route, id, _where(error))
    return _told(500, "internal", "internal error", id=id)


def _told(
    status: int,
    type: str,
    message: str,
    *,
    id: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    body = Told(type=type, message=well_formed(message[:LONGEST]), id=id).model_dump(
        exclude_none=True
    )
    return JSONResponse(body, status, dict(headers or {}))


def _said(errors: Sequence[Any]) -> str:
    """The first thing that is wrong, and where, without what was sent."""
    first = errors[0]
    if first["type"] == "json_invalid":
        return f"the body is no JSON, at position {first['loc'][-1]}"
    within = [{**each, "loc": each["loc"][1:]} for each in errors]  # the first part is "body"
    if not within[0]["loc"] and first["type"] == "missing":
        return f"the body is missing; {JSON}"
    if not within[0]["loc"] and first["type"] == "model_attributes_type":
        return f"the body is no object; {JSON}"
    return faults(within)


def _where(error: BaseException) -> str:
    """The innermost places of an error and of what caused it."""
    places: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(places) < 4:
        frames = traceback.extract_tb(cause.__traceback__)
        at = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames[-1:]]
        places.append(" ".join([type(cause).__name__, *at]))
        cause = cause.__cause__ or cause.__context__
    return ", from ".join(places)
