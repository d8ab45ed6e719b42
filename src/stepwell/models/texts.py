"""Texts to token ids: cleaned, cut before the tokenizer sees too much, split into windows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stepwell.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# No tokenizer needs more characters than this for one token of ordinary text; what lies beyond
# would be cut off anyway, after costing seconds for a text of megabytes.
CHARACTERS = 24


def clean(text: str, /) -> str:
    """Return `text` with lone surrogates, which no tokenizer takes, replaced by U+FFFD.

    Raises:
        InputError: `text` is not a string.
    """
    if not isinstance(text, str):
        raise InputError(f"a text must be a str, not {type(text).__name__}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def shorten(text: str, tokens: int, /) -> tuple[str, bool]:
    """Return the part of `text` that can matter to `tokens` tokens, and whether any was cut."""
    room = tokens * CHARACTERS
    if len(text) <= room:
        return text, False
    # Runs of blanks make no token, so they must not use up the room.
    packed = " ".join(text[: 8 * room].split())
    return packed[:room], len(packed) > room or bool(text[8 * room :].strip())


def load_tokenizer(path: Path, /) -> Tokenizer:
    """Return the tokenizer at `path` with cutting and padding off, which nothing may change."""
    from tokenizers import Tokenizer

    loaded: Tokenizer = Tokenizer.from_file(str(path))
    loaded.no_truncation()
    loaded.no_padding()
    return loaded


def spans(size: int, room: int, /, *, overlap: int, most: int) -> list[tuple[int, int]]:
    """Return where to cut `size` tokens into at most `most` windows of at most `room`.

    Neighbours share `overlap` tokens; the last window is as long as the others.
    """
    if size <= room:
        return [(0, size)]
    step = max(room - overlap, 1)
    cuts = [(start, start + room) for start in range(0, size - room, step)][:most]
    if len(cuts) < most:
        cuts.append((size - room, size))
    return cuts


def windows(
    tokenizer: Tokenizer, text: str, /, *, length: int, most: int = 1, overlap: int = 64
) -> tuple[list[list[int]], bool]:
    """Return token ids of the windows of `text`, special tokens included, and if any was unread.

    Args:
        tokenizer: Adds one special token in front and one behind.
        text: Any string.
        length: Tokens in one window at most, special ones counted.
        most: Windows at most; what lies behind the last is not read.
        overlap: Tokens that neighbouring windows share.
    """
    text, cut = shorten(clean(text), length * most)
    ids: Sequence[int] = tokenizer.encode(text).ids
    first, body, last = ids[0], ids[1:-1], ids[-1]
    cuts = spans(len(body), length - 2, overlap=min(overlap, length // 4), most=most)
    return [[first, *body[a:b], last] for a, b in cuts], cut or cuts[-1][1] < len(body)
