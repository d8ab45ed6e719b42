"""`RemoteReranker`: a rerank API as a pair scorer."""

from __future__ import annotations

import json
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from stepwell.candidates import check_k
from stepwell.documents import well_formed
from stepwell.errors import ConfigurationError, RemoteError, import_extra
from stepwell.models.protocols import PairScores, ScoreKind, Vectors
from stepwell.remote.answers import BadAnswerError, message_of, scores_of
from stepwell.remote.retrying import Retryable, retrying, wait_asked
from stepwell.remote.settings import above_0, base_of, key_of, secrets_of, shape_of
from stepwell.remote.shapes import Shape

if TYPE_CHECKING:
    import httpx

# 408 timeout, 425 early, 429 too many; the rest are a server's own troubles.
TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
LONGEST_MESSAGE = 300
LARGEST = 64 * 2**20
"""Bytes of an answer."""


class RemoteReranker:
    """Scores passages through a rerank API; give it to `CrossEncoder` as its model.

    Passages beyond what one request may hold go in several. A request that fails in passing (no
    connection, 429, 5xx, half an answer) is made again, after what the server asks for, as long as
    the query's deadline allows; when that is over, what has no score yet is left unscored.

    Args:
        api: "cohere", "voyage", "jina", "tei" (Text Embeddings Inference), "vllm", "infinity",
            "llama.cpp", or a `Shape` of your own.
        model: The model's name; by default the API's usual one, or what the server runs.
        url: Base URL; needed for what one hosts oneself.
        key: The API key; by default the environment variable's that the API's own clients read.
            It is sent to `url` in one header and appears nowhere else.
        timeout: Seconds for one request.
        attempts: How often one request is made at most.
        batch: Passages a request; by default what the API allows.
        longest: Characters of a passage that are sent; the rest is cut off at a word and counted
            as truncated.
        kind: What the scores are, where the server differs from its API: "logit" or "probability".
        headers: More headers, such as a gateway's. Kept as secret as the key.

    Raises:
        ConfigurationError: The API is unknown, or it needs a URL or a key that is not given.
        MissingExtraError: The extra ``remote`` is not installed.

    Example:
        >>> scorer = RemoteReranker("tei", url="http://localhost:8080")
        >>> scorer
        RemoteReranker('tei', url='http://localhost:8080')
    """

    def __init__(
        self,
        api: str | Shape,
        model: str | None = None,
        *,
        url: str | None = None,
        key: str | None = None,
        timeout: float = 30.0,
        attempts: int = 3,
        batch: int | None = None,
        longest: int = 16_000,
        kind: Literal["logit", "probability"] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        import_extra("httpx", extra="remote")
        import_extra("tenacity", extra="remote")
        shape = shape_of(api)
        self.api = api if isinstance(api, str) else "custom"
        self.shape = shape if kind is None else replace(shape, kind=kind)
        self.model = model or shape.model
        self.url = base_of(url or shape.url, self.shape, self.api)
        if kind not in (None, "logit", "probability"):
            raise ConfigurationError(f"kind must be 'logit' or 'probability', not {kind!r}")
        self.timeout = above_0(timeout, "timeout")
        self.attempts = check_k(attempts, what="attempts") or 1
        self.longest = check_k(longest, what="longest") or 1
        self.batch = check_k(batch, what="batch") or shape.limit
        self._key = key_of(key, shape, self.api)
        self._headers = secrets_of(headers or {})
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None

    def __repr__(self) -> str:
        model = f", {self.model!r}" if self.model else ""
        return f"RemoteReranker({self.api!r}{model}, url={self.url!r})"

    def __getstate__(self) -> dict[str, Any]:
        # A copy reads its key from the environment again: a pickle travels further than a key may.
        hidden = ("_key", "_headers", "_client", "_closing", "_lock")
        return {name: value for name, value in vars(self).items() if name not in hidden}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._key, self._headers = None, {}
        self._lock, self._client = threading.Lock(), None

    def __copy__(self) -> RemoteReranker:
        return self  # nothing in it changes, and its connections are shared on purpose

    def __deepcopy__(self, _: dict[int, Any]) -> RemoteReranker:
        return self

    @property
    def name(self) -> str:
        """What changes a score: API, model, server, and how much of a passage is sent."""
        return f"{self.api}:{self.model or ''}@{self.url}@{self.longest}"

    @property
    def _called(self) -> str:
        """Its name in messages."""
        return f"{self.api}:{self.model}" if self.model else f"{self.api} at {self.url}"

    @property
    def kind(self) -> ScoreKind:
        """What the numbers are."""
        return self.shape.kind

    def score(
        self, query: str, passages: Sequence[str], /, *, stop: Callable[[], bool] | None = None
    ) -> PairScores:
        """Score passages in the order given.

        Args:
            query: What is asked.
            passages: Sent in requests of `batch`; a blank one is not sent, and scores lowest.
            stop: Asked before each request; where it has a `deadline`, in `time.monotonic()`
                seconds, no request outlives it.

        Returns:
            Scores, NaN where the deadline came first.

        Raises:
            RemoteError: The server refused, or failed more often than `attempts`.
            ConfigurationError: Its scores are not of the kind that was declared.
        """
        sent = [_cut(well_formed(text), self.longest) for text in passages]
        cut = np.array([len(a) < len(b) for a, b in zip(sent, passages)], dtype=bool)
        values = np.full(len(sent), np.nan, dtype=np.float32)
        deadline: float | None = getattr(stop, "deadline", None)
        # Some APIs refuse a whole request for one blank text.
        told = np.flatnonzero([bool(text.strip()) for text in sent])
        for start in range(0, len(told), self.batch):
            if stop is not None and stop():
                break
            part = told[start : start + self.batch]
            scored = self._scored(query, [sent[at] for at in part], deadline)
            if scored is None:
                break
            values[part] = scored
        if not np.isnan(values[told]).any():
            values[~np.isin(np.arange(len(sent)), told)] = _least(values, self.kind)
        return PairScores(values, truncated=int(cut.sum()), windows=len(sent), cut=cut)

    def close(self) -> None:
        """Close its connections; it opens new ones when it is used again."""
        with self._lock:
            if self._client is not None:
                self._client = None
                self._closing()

    def _opened(self) -> httpx.Client:
        import httpx

        with self._lock:
            if self._client is None:
                self._client = httpx.Client(follow_redirects=False)
                self._closing = weakref.finalize(self, self._client.close)
            return self._client

    def _scored(self, query: str, passages: list[str], deadline: float | None) -> Vectors | None:
        """The scores of one request's passages; None when the deadline came first."""
        body = self.shape.body(self.model, query, passages)
        try:
            for attempt in retrying(self.attempts, deadline):
                with attempt:
                    return self._asked(body, len(passages), deadline)
        except Retryable as failure:
            if deadline is not None and time.monotonic() >= deadline:
                return None
            raise RemoteError(failure.message, api=self.api, status=failure.status) from None
        return None

    def _asked(self, body: dict[str, Any], n: int, deadline: float | None) -> Vectors:
        import httpx

        client = self._opened()  # before the clock is read: certificates take a while
        if self._key is None:  # it came out of a pickle, or there is none
            self._key = key_of(None, self.shape, self.api)
        left = self.timeout if deadline is None else min(self.timeout, deadline - time.monotonic())
        if left <= 0:
            raise Retryable(f"{self._called} was not asked: the deadline is over")
        ends = time.monotonic() + left
        try:
            with client.stream(
                "POST", self.url + self.shape.path, json=body, auth=self._sign, timeout=left
            ) as answer:
                return self._read(answer, _whole(answer, ends), n)
        except httpx.TimeoutException:
            raise Retryable(f"{self._called} did not answer within {left:.3g} s") from None
        except httpx.DecodingError:
            raise Retryable(f"{self._called} answered what cannot be decoded") from None
        except (httpx.TransportError, RuntimeError) as error:  # the latter: closed meanwhile
            reason = self._clean(str(error)) or type(error).__name__
            raise Retryable(f"{self._called} cannot be reached: {reason}") from None

    def _sign(self, request: httpx.Request) -> httpx.Request:
        # Not in a variable: error trackers keep those of every frame.
        for name, value in self._headers.items():
            request.headers[name] = value.reveal()
        if self._key is not None:
            request.headers["Authorization"] = f"Bearer {self._key.reveal()}"
        return request

    def _read(self, answer: httpx.Response, whole: bytes, n: int) -> Vectors:
        status = answer.status_code
        try:
            content: Any = json.loads(whole)
        except (ValueError, RecursionError):
            content = None
        if status != 200:
            said = self._clean(message_of(content))
            message = f"{self._called} answered {status}{': ' + said if said else ''}"
            if status in TRY_AGAIN:
                raise Retryable(message, status=status, wait=wait_asked(answer.headers))
            raise RemoteError(message, api=self.api, status=status)
        try:
            return scores_of(content, self.shape, n, name=self._called)
        except BadAnswerError as error:
            raise Retryable(f"{self._called} answered badly: {error}", status=status) from None

    def _clean(self, text: str) -> str:
        """A short line without the key; cut only then, or a part of it would stay."""
        for secret in (self._key, *self._headers.values()):
            text = text if secret is None else secret.out_of(text)
        return text[:LONGEST_MESSAGE]


def _whole(answer: httpx.Response, ends: float) -> bytes:
    """The body. The client's timeout holds for each piece of it; this one for all of them."""
    import httpx

    pieces, size = [], 0
    for piece in answer.iter_bytes():
        pieces.append(piece)
        size += len(piece)
        if size > LARGEST:
            raise httpx.TransportError(f"its answer is above {LARGEST} bytes")
        if time.monotonic() >= ends:
            raise httpx.ReadTimeout("its answer trickles")
    return b"".join(pieces)


def _least(values: Vectors, kind: ScoreKind) -> float:
    """What a passage without text is worth: no more than any other."""
    there = values[~np.isnan(values)]
    return 0.0 if kind == "probability" or not there.size else float(there.min())


def _cut(text: str, longest: int) -> str:
    """The beginning, up to a blank near its end where there is one."""
    if len(text) <= longest:
        return text
    head = text[:longest]
    if head[-1].isspace() or text[longest].isspace():
        return head.rstrip()
    whole = head[: -len(head.split()[-1])]
    return whole.rstrip() if len(whole) > 0.8 * longest else head
