"""One server: a request to it, and what its answers and refusals mean."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from stepwell.errors import RemoteError
from stepwell.models.protocols import Vectors
from stepwell.remote.answers import BadAnswerError, message_of, scores_of
from stepwell.remote.connection import within
from stepwell.remote.quoting import unquoted
from stepwell.remote.retrying import Retryable, wait_asked
from stepwell.remote.secret import Secret
from stepwell.remote.settings import key_of
from stepwell.remote.shapes import Shape

if TYPE_CHECKING:
    import httpx

# 408 timeout, 425 early, 429 too many; the rest are a server's own troubles.
TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
# What vLLM (400) and llama.cpp (500, 400) say of a passage beyond what their model reads.
TOO_LONG = re.compile(
    r"reduce the length of the input|maximum (context|model) length|too (large|long) to process"
    r"|context (size|length)|longer than the maximum",
    re.IGNORECASE,
)
LONGEST_MESSAGE = 300
# Of what a server says, so much is looked at: a mark is shorter than what it stands for.
LONGEST_READ = 2_000
LARGEST = 64 * 2**20
"""Bytes of an answer."""


class TooLongError(Exception):
    """The server refuses a request because a text in it has too many tokens.

    Attributes:
        message: What to say if no cut helps.
        status: The server's.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.message, self.status = message, status


class Server:
    """Asks a server in its API's shape.

    Args:
        shape: Its API's.
        api: The API's name in errors.
        url: Base URL.
        called: Its name in messages.
        key: Sent in one header; None to look for it in the environment.
        headers: Sent as they are.

    Attributes:
        shape: As given.
        api: As given.
        called: As given.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        api: str,
        url: str,
        called: str,
        key: Secret | None,
        headers: dict[str, Secret],
    ) -> None:
        self.shape, self.api, self.called = shape, api, called
        self._base, self._url = url, url + shape.path
        self._key, self._headers = key, headers

    def __getstate__(self) -> dict[str, Any]:
        # A copy reads its key from the environment again: a pickle travels further than a key may.
        return {**vars(self), "_key": None, "_headers": {}}

    async def ask(
        self,
        client: httpx.AsyncClient,
        body: Mapping[str, Any],
        texts: Sequence[str],
        *,
        timeout: float,
    ) -> Vectors:
        """Make one request.

        Args:
            client: What sends it.
            body: In the shape of the API.
            texts: The query and the passages in it, which no message may quote.
            timeout: Seconds for all of it: to connect, to be answered, to read the answer.

        Returns:
            float32 (n,) the scores of the passages.

        Raises:
            Retryable: It failed in a way that may pass.
            TooLongError: A text in it is too long for the server.
            RemoteError: It was refused.
            ModelError: The scores are not of the kind that was declared.
            ConfigurationError: It needs a key, and there is none.
        """
        import httpx

        if self._key is None:  # it came out of a pickle, or there is none
            self._key = key_of(None, self.shape, self.api)
        try:
            answer, whole = await within(timeout, self._exchange(client, body))
        except TimeoutError:
            raise Retryable(f"{self.called} did not answer within {timeout:.3g} s") from None
        except httpx.DecodingError:
            raise Retryable(f"{self.called} answered what cannot be decoded") from None
        except httpx.TransportError as error:
            reason = self._clean(str(error)) or type(error).__name__
            raise Retryable(f"{self.called} cannot be reached: {reason}") from None
        return self._read(answer, whole, texts)

    async def _exchange(
        self, client: httpx.AsyncClient, body: Mapping[str, Any]
    ) -> tuple[httpx.Response, bytes]:
        async with client.stream("POST", self._url, json=body, auth=self._sign) as answer:
            return answer, await _whole(answer)

    async def greet(self, client: httpx.AsyncClient, *, timeout: float) -> None:
        """Open a connection that the next request finds; whatever comes of it is ignored."""
        import httpx

        with suppress(httpx.HTTPError, TimeoutError):
            await within(timeout, client.head(self._base))

    def _sign(self, request: httpx.Request) -> httpx.Request:
        # Not in a variable: error trackers keep those of every frame.
        for name, value in self._headers.items():
            request.headers[name] = value.reveal()
        if self._key is not None:
            request.headers["Authorization"] = f"Bearer {self._key.reveal()}"
        return request

    def _read(self, answer: httpx.Response, whole: bytes, texts: Sequence[str]) -> Vectors:
        status = answer.status_code
        try:
            content: Any = json.loads(whole)
        except (ValueError, RecursionError):
            content = None
        if status != 200:
            said = self._clean(message_of(content), texts)
            self._refuse(status, said, wait_asked(answer.headers))
        try:
            return scores_of(content, self.shape, len(texts) - 1, name=self.called)
        except BadAnswerError as error:
            wrong = self._clean(str(error), texts)
            raise Retryable(f"{self.called} answered badly: {wrong}", status=status) from None

    def _refuse(self, status: int, said: str, wait: float) -> None:
        message = f"{self.called} answered {status}{': ' + said if said else ''}"
        if status in (400, 413, 422, 500) and TOO_LONG.search(said):
            raise TooLongError(message, status=status)
        if status in TRY_AGAIN:
            raise Retryable(message, status=status, wait=wait)
        raise RemoteError(message, api=self.api, status=status)

    def _clean(self, said: str, texts: Sequence[str] = ()) -> str:
        """A short line without keys and texts; cut only then, or a part of one would stay."""
        for secret in (self._key, *self._headers.values()):
            said = said if secret is None else secret.out_of(said)
        return unquoted(said[:LONGEST_READ], texts)[:LONGEST_MESSAGE]


async def _whole(answer: httpx.Response) -> bytes:
    import httpx

    pieces, size = [], 0
    async for piece in answer.aiter_bytes():
        pieces.append(piece)
        size += len(piece)
        if size > LARGEST:
            raise httpx.TransportError(f"its answer is above {LARGEST} bytes")
    return b"".join(pieces)
