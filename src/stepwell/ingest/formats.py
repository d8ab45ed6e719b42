"""From the bytes of a file to its sections: a heading path and the text under it."""

from __future__ import annotations

import ast
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from stepwell.documents import well_formed
from stepwell.errors import import_extra


@dataclass(frozen=True, slots=True)
class Section:
    """Text that stands under one heading.

    Attributes:
        path: The headings above it, outermost first.
        text: Without the headings.
        page: Page of a PDF, from 1; 0 for other files.
    """

    path: tuple[str, ...]
    text: str
    page: int = 0


@dataclass(frozen=True, slots=True)
class Parsed:
    """A file's text.

    Attributes:
        title: From the file itself; empty when it has none.
        sections: In order.
        markdown: Whether the text is Markdown, for the splitter.
    """

    title: str
    sections: tuple[Section, ...]
    markdown: bool = False


class Unreadable(Exception):  # noqa: N818 - it is caught here and becomes a line of the report
    """A file that cannot be read; the message is a clause."""


def parse(name: str, data: bytes) -> Parsed:
    """Read a file by its suffix.

    Raises:
        Unreadable: It is not UTF-8, is binary, or is a broken or locked PDF.
        MissingExtraError: The extra `ingest` is not installed.
    """
    suffix = name[name.rfind(".") :].lower()
    if suffix == ".pdf":
        return _pdf(data)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"it is not UTF-8 (byte {error.start})") from error
    if "\0" in text:
        raise Unreadable("it is binary")
    return _PARSERS[suffix](text.replace("\r\n", "\n").replace("\r", "\n"))


def _plain(text: str) -> Parsed:
    return Parsed("", (Section((), text),))


# -- Markdown and reStructuredText ---------------------------------------------------------------

_Heading = tuple[int, int, int, str]
"""First line, line after, level from 1, text."""


def _markdown(text: str) -> Parsed:
    front, body = _front_matter(text)
    parser = import_extra("markdown_it", extra="ingest").MarkdownIt("commonmark")
    tokens = parser.parse(body)
    headings: list[_Heading] = [
        (token.map[0], token.map[1], int(token.tag[1]), tokens[at + 1].content.strip())
        for at, token in enumerate(tokens)
        if token.type == "heading_open"
    ]
    parsed = _sectioned(body, headings)
    return Parsed(front or parsed.title, parsed.sections, markdown=True)


def _front_matter(text: str) -> tuple[str, str]:
    """The title in a YAML head, and the text without the head."""
    head = re.match(r"---\n(.*?)\n---[ \t]*(?:\n|\Z)", text, re.DOTALL)
    if head is None:
        return "", text
    title = re.search(r"^title:[ \t]*(.+?)[ \t]*$", head[1], re.MULTILINE)
    return (title[1].strip("'\"") if title else ""), text[head.end() :]


def _rst(text: str) -> Parsed:
    rows = text.split("\n")
    styles: list[tuple[str, bool]] = []
    headings: list[_Heading] = []
    for at in range(1, len(rows)):
        title = rows[at - 1].strip()
        if not _underlines(rows[at], title) or (at >= 2 and _rule(rows[at - 2]) is None):
            continue
        over = at >= 2 and bool(_rule(rows[at - 2]))
        style = (rows[at][0], over)
        if style not in styles:
            styles.append(style)
        headings.append((at - 2 if over else at - 1, at + 1, styles.index(style) + 1, title))
    return _sectioned(text, headings)


def _underlines(row: str, title: str) -> bool:
    return bool(title) and not _rule(title) and bool(_rule(row)) and len(row) >= len(title)


def _rule(row: str) -> str | None:
    """The character of a line of punctuation; "" for a blank line, None for any other."""
    row = row.rstrip()
    if not row:
        return ""
    return row[0] if re.fullmatch(r"([!-/:-@\[-`{-~])\1+", row) else None


def _sectioned(text: str, headings: Sequence[_Heading]) -> Parsed:
    rows = text.split("\n")
    first = headings[0][0] if headings else len(rows)
    sections = [Section((), "\n".join(rows[:first]))]
    path: list[tuple[int, str]] = []
    for at, (_, after, level, title) in enumerate(headings):
        until = headings[at + 1][0] if at + 1 < len(headings) else len(rows)
        path = [*(each for each in path if each[0] < level), (level, title)]
        body = "\n".join(rows[after:until])
        sections.append(Section(tuple(heading for _, heading in path), body))
    return Parsed(headings[0][3] if headings else "", tuple(sections))


# -- HTML ----------------------------------------------------------------------------------------

_NO_TEXT = ("script", "style", "noscript", "template", "svg", "nav", "title")
_BLOCKS = re.compile(
    "address|article|aside|blockquote|body|br|caption|dd|details|div|dl|dt|fieldset|figcaption"
    "|figure|footer|form|h[1-6]|header|hr|li|main|ol|option|p|pre|section|summary|table|td|th|tr|ul"
)
_MARK, _SPACE = "\x01", "\x02"
"""Begins a heading's line; a space inside `pre`, which must stay."""


def _html(text: str) -> Parsed:
    bs4 = import_extra("bs4", extra="ingest")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a text resembles a file name, or XML
        soup = bs4.BeautifulSoup(re.sub("[\x01\x02]", " ", text), "html.parser")
    title = " ".join(soup.title.get_text().split()) if soup.title else ""
    for tag in soup.find_all(_NO_TEXT):
        tag.decompose()
    for string in soup.find_all(string=True):
        if type(string) is not bs4.NavigableString:
            continue  # comments and declarations, which get_text leaves out
        if string.find_parent("pre"):
            string.replace_with(string.replace(" ", _SPACE))
        else:
            string.replace_with(re.sub(r"\s+", " ", string))
    for tag in soup.find_all(lambda tag: _BLOCKS.fullmatch(tag.name)):
        tag.insert_before("\n")
        tag.append("\n")
        if re.fullmatch("h[1-6]", tag.name):
            tag.insert(0, _MARK + tag.name[1])
    return _marked(title, soup.get_text())


def _marked(title: str, text: str) -> Parsed:
    rows = [re.sub(" +", " ", row).strip(" ").replace(_SPACE, " ") for row in text.split("\n")]
    headings: list[_Heading] = []
    for at, row in enumerate(rows):
        if row.startswith(_MARK):
            headings.append((at, at + 1, int(row[1]), row[2:].strip()))
    parsed = _sectioned("\n".join(rows), [each for each in headings if each[3]])
    return Parsed(title or parsed.title, parsed.sections)


# -- Python --------------------------------------------------------------------------------------


def _python(text: str) -> Parsed:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return _plain(text)  # of another version of the language, perhaps: still text
    rows = text.split("\n")
    sections, done = [], 0
    for first, last, name in _definitions(tree.body, ""):
        sections.append(Section((), "\n".join(rows[done:first])))
        sections.append(Section((name,), "\n".join(rows[first:last])))
        done = last
    sections.append(Section((), "\n".join(rows[done:])))
    doc = ast.get_docstring(tree) or ""
    return Parsed(doc.split("\n", 1)[0], tuple(sections))


def _definitions(body: Sequence[ast.stmt], outer: str) -> Iterator[tuple[int, int, str]]:
    """First line from 0, line after and qualified name; a class ends where its methods begin."""
    for node in body:
        if not isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        name = f"{outer}{node.name}"
        first = min([node.lineno, *(each.lineno for each in node.decorator_list)]) - 1
        inner = list(_definitions(node.body, f"{name}.")) if isinstance(node, ast.ClassDef) else []
        last = node.end_lineno or node.lineno
        yield first, inner[0][0] if inner else last, name
        for at, (start, _, method) in enumerate(inner):
            yield start, inner[at + 1][0] if at + 1 < len(inner) else last, method


# -- PDF -----------------------------------------------------------------------------------------


def _pdf(data: bytes) -> Parsed:
    pypdf = import_extra("pypdf", extra="ingest")
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        title = _pdf_title(reader)
        pages = [well_formed(page.extract_text()) for page in reader.pages]
    except Exception as error:  # a damaged file makes the reader fail in any way at all
        reason = " ".join(str(error).split())[:120]
        raise Unreadable(f"its PDF cannot be read ({type(error).__name__}: {reason})") from error
    if not any(page.strip() for page in pages):
        raise Unreadable("its PDF holds no text; scanned pages need OCR first")
    path = (title,) if title else ()
    return Parsed(title, tuple(Section(path, text, at) for at, text in enumerate(pages, start=1)))


def _pdf_title(reader: Any) -> str:
    title = reader.metadata.title if reader.metadata else None
    return well_formed(" ".join(title.split())) if isinstance(title, str) else ""


_PARSERS: dict[str, Callable[[str], Parsed]] = {
    ".md": _markdown,
    ".rst": _rst,
    ".txt": _plain,
    ".html": _html,
    ".htm": _html,
    ".py": _python,
}
SUFFIXES = (*_PARSERS, ".pdf")
