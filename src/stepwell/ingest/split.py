"""From the sections of a file to passages of a size that a model reads whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stepwell.errors import import_extra
from stepwell.ingest.formats import Parsed, Section

CAPACITY = (400, 1000)
"""Characters of a passage: full from the first number on, never above the second."""
_PIECE = 10_000


def passages(parsed: Parsed) -> Iterator[tuple[Section, str]]:
    """Split a file's sections; a passage never crosses a heading.

    A passage begins with the path of its headings on a line of its own: what it is about often
    stands nowhere else.

    Raises:
        MissingExtraError: The extra `ingest` is not installed.
    """
    splitter = _splitter(parsed.markdown)
    for at, section in enumerate(parsed.sections):
        head = " > ".join(section.path)
        chunks = [chunk for piece in _pieces(section.text) for chunk in splitter.chunks(piece)]
        if not chunks and head and not _leads(parsed, at):
            yield section, head
        for chunk in chunks:
            yield section, f"{head}\n{chunk}" if head else chunk


def _leads(parsed: Parsed, at: int) -> bool:
    """Whether the section only leads to the next one, which then carries its heading."""
    path = parsed.sections[at].path
    following = parsed.sections[at + 1].path if at + 1 < len(parsed.sections) else ()
    return len(following) > len(path) and following[: len(path)] == path


def _splitter(markdown: bool) -> Any:
    module = import_extra("semantic_text_splitter", extra="ingest")
    return module.MarkdownSplitter(CAPACITY) if markdown else module.TextSplitter(CAPACITY)


def _pieces(text: str) -> Iterator[str]:
    """The text in pieces that end between paragraphs: the splitter's time grows as the square."""
    begin = 0
    while len(text) - begin > _PIECE:
        end = begin + _PIECE
        for gap in ("\n\n", "\n", " "):
            found = text.rfind(gap, begin, end)
            if found > begin:
                end = found + len(gap)
                break
        yield text[begin:end]
        begin = end
    if text[begin:].strip():
        yield text[begin:]
