"""Passages as a server is sent them: cut to a length, and in requests that it can take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

BYTES_PER_TOKEN = 3
"""Of UTF-8, and few: English has four, code three, a Chinese character is one token and three."""


def cut(text: str, longest: int) -> str:
    """The beginning, up to a blank near its end where there is one."""
    if len(text) <= longest:
        return text
    head = text[:longest]
    if head[-1].isspace() or text[longest].isspace():
        return head.rstrip()
    whole = head[: -len(head.split()[-1])]
    return whole.rstrip() if len(whole) > 0.8 * longest else head


def parts(
    query: str, texts: Sequence[str], told: Sequence[int], *, most: int, tokens: int | None
) -> Iterator[list[int]]:
    """The positions in `told`, in order, in parts that one request can hold.

    Args:
        query: Counted once for each passage, as the server reads it.
        texts: By position.
        told: Positions.
        most: Passages of a part.
        tokens: Tokens of a part, estimated; None for any number. One passage may have more.
    """
    part: list[int] = []
    size, asked = 0, len(query.encode())
    for at in told:
        own = (asked + len(texts[at].encode())) // BYTES_PER_TOKEN
        if part and (len(part) == most or (tokens is not None and size + own > tokens)):
            yield part
            part, size = [], 0
        part.append(at)
        size += own
    if part:
        yield part
