"""What a server says, without what it repeats of the texts that it was sent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

RUN = 10
"""Characters: so many alike in a row are a quotation."""
MARK = "…"


def unquoted(said: str, texts: Sequence[str], /) -> str:
    """The words of a server with a mark in place of each quotation.

    Args:
        said: In one line.
        texts: That it was sent. A short one is looked for as a whole.
    """
    lines = [" ".join(text.split()) for text in texts]
    long = [line for line in lines if len(line) >= RUN]
    pieces, at = [], 0
    for start in _starts(said):
        if start < at:
            continue
        end = max((_end(said, start, line) for line in long), default=start)
        if end > start:
            pieces += [said[at:start], MARK]
            at = end
    left = "".join([*pieces, said[at:]])
    short = {line for line in lines if 0 < len(line) < RUN}
    for line in sorted(short, key=len, reverse=True):
        left = re.sub(rf"(?<!\w){re.escape(line)}(?!\w)", MARK, left, flags=re.IGNORECASE)
    return left


def _starts(said: str) -> Iterator[int]:
    """Where a quotation may begin: at a word, or at any character of a script without blanks."""
    for at, character in enumerate(said):
        if at == 0 or not said[at - 1].isalnum() or not character.isascii():
            yield at


def _end(said: str, start: int, line: str) -> int:
    """Where a quotation of the line ends that begins here; `start` for none."""
    end = start + RUN
    if end > len(said) or said[start:end] not in line:
        return start
    while end < len(said) and said[start : end + 1] in line:
        end += 1
    return end
