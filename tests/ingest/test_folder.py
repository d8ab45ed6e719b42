import io
from pathlib import Path
from typing import Any

import pypdf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell import InputError
from stepwell.ingest import read_folder, read_source
from stepwell.ingest.formats import Parsed, Section, parse
from stepwell.ingest.split import CAPACITY, passages

MARKDOWN = """---
title: "The Handbook"
---
Before any heading.

# Logs

They rotate daily.

```sh
# not a heading
logrotate -f
```

## By hand

### At night

Call first.

Setext
------

Underlined.
"""


def texts(parsed: Parsed) -> list[tuple[str, str]]:
    return [(" > ".join(section.path), section.text.strip()) for section in parsed.sections]


def test_markdown_sections_carry_the_path_of_their_headings() -> None:
    """Headings nest by level, setext ones too; a comment in a code block is no heading."""
    parsed = parse("a.md", MARKDOWN.encode())
    assert parsed.title == "The Handbook"
    assert texts(parsed) == [
        ("", "Before any heading."),
        ("Logs", "They rotate daily.\n\n```sh\n# not a heading\nlogrotate -f\n```"),
        ("Logs > By hand", ""),
        ("Logs > By hand > At night", "Call first."),
        ("Logs > Setext", "Underlined."),
    ]


def test_a_passage_begins_with_its_headings() -> None:
    """The heading path is the first line of a passage; a heading that only leads is no passage."""
    found = [text for _, text in passages(parse("a.md", MARKDOWN.encode()))]
    assert found[2:] == ["Logs > By hand > At night\nCall first.", "Logs > Setext\nUnderlined."]
    assert [text for _, text in passages(parse("a.md", b"# Alone\n"))] == ["Alone"]


def test_rst_sections() -> None:
    """Underlines make headings, an overline another level; rules, tables and text do not."""
    text = """=====
Title
=====

Intro text.

Part
====

Body.

Sub
---

More.

----

====  ====
a     b
====  ====

Next
====

End.
"""
    parsed = parse("a.rst", text.encode())
    assert parsed.title == "Title"
    assert [path for path, _ in texts(parsed)] == [
        "",
        "Title",
        "Title > Part",
        "Title > Part > Sub",
        "Title > Next",
    ]
    assert texts(parsed)[3][1].startswith("More.")


def test_html_keeps_words_and_code_and_drops_what_is_not_text() -> None:
    """Inline markup does not break a sentence, blocks do; code keeps its indentation."""
    html = """<!doctype html><html><head><title>The  page</title><style>p {}</style></head><body>
    <nav>Home</nav><h1>Logs &amp; more</h1><!-- hidden -->
    <p>They <b>rot</b>ate
       daily.</p><pre>def f():
    return 1</pre><h2>By hand</h2><ul><li>one</li><li>two</li></ul><script>x()</script>"""
    parsed = parse("a.html", html.encode())
    assert parsed.title == "The page"
    found = dict(texts(parsed))
    assert found["Logs & more"].split("\n\n") == ["They rotate daily.", "def f():\n    return 1"]
    assert found["Logs & more > By hand"].split() == ["one", "two"]
    assert "hidden" not in str(found)
    assert "Home" not in str(found)


def test_python_is_cut_at_definitions() -> None:
    """Functions, methods and the head of a class are sections named by their qualified name."""
    source = '''"""What it does.

More.
"""
import os

@decorated
def first():
    return os

class C:
    """About C."""

    def method(self):
        def inner(): ...
        return inner

    async def other(self): ...

last = 1
'''
    parsed = parse("a.py", source.encode())
    assert parsed.title == "What it does."
    named = {path: text for path, text in texts(parsed) if path}
    assert list(named) == ["first", "C", "C.method", "C.other"]
    assert named["first"].startswith("@decorated")
    assert named["C"] == 'class C:\n    """About C."""'
    assert "\n".join(s.text for s in parsed.sections).split() == source.split()


def test_python_of_another_version_is_read_as_text() -> None:
    """A file that does not parse here is still text."""
    assert texts(parse("a.py", b"print 'hello'\n")) == [("", "print 'hello'")]


def test_windows_line_ends_and_a_byte_order_mark_change_nothing() -> None:
    """The same text gives the same passages however its lines end."""
    unix = list(passages(parse("a.md", MARKDOWN.encode())))
    windows = b"\xef\xbb\xbf" + MARKDOWN.replace("\n", "\r\n").encode()
    assert list(passages(parse("a.md", windows))) == unix


@given(st.text(st.sampled_from("ab .\n#é世\U0001f600"), max_size=6000))
def test_splitting_loses_no_word_and_keeps_to_the_capacity(text: str) -> None:
    """Every character but white space is in some passage, in order, and none is too long."""
    found = [passage for _, passage in passages(Parsed("", (Section((), text),)))]
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(len(passage) <= CAPACITY[1] for passage in found)


def test_a_file_of_ten_megabytes_is_split() -> None:
    """A huge file, even of one line, is split into passages of the usual size."""
    line = "word " * 2_000_000
    found = list(passages(parse("a.txt", line.encode())))
    assert sum(len(text.split()) for _, text in found) == 2_000_000
    assert max(len(text) for _, text in found) <= CAPACITY[1]


def pdf(*pages: str, title: str = "") -> bytes:
    """A PDF with a line of text on each page, put together by hand."""
    bodies = ["<< /Type /Catalog /Pages 2 0 R >>"]
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    bodies.append(f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>")
    bodies.append("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    for n, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET" if text else ""
        page = "/Type /Page /Parent 2 0 R /MediaBox [0 0 612 792]"
        fonts = "/Resources << /Font << /F1 3 0 R >> >>"
        bodies.append(f"<< {page} {fonts} /Contents {5 + 2 * n} 0 R >>")
        bodies.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    bodies.append(f"<< /Title ({title}) >>")
    out, offsets = io.BytesIO(), []
    out.write(b"%PDF-1.4\n")
    for number, body in enumerate(bodies, start=1):
        offsets.append(out.tell())
        out.write(f"{number} 0 obj\n{body}\nendobj\n".encode())
    start = out.tell()
    out.write(f"xref\n0 {len(bodies) + 1}\n0000000000 65535 f \n".encode())
    out.write("".join(f"{offset:010} 00000 n \n" for offset in offsets).encode())
    ends = f"<< /Size {len(bodies) + 1} /Root 1 0 R /Info {len(bodies)} 0 R >>"
    out.write(f"trailer\n{ends}\nstartxref\n{start}\n%%EOF".encode())
    return out.getvalue()


def locked(data: bytes) -> bytes:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(data))
    writer.encrypt("secret", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def by_id(reading: Any) -> dict[str, Any]:
    return {document.id: document for document in reading.documents}


def test_ids_and_metadata(tmp_path: Path) -> None:
    """A passage is `path#n`; its metadata says path, title, heading, position and a PDF's page."""
    (tmp_path / "guide").mkdir()
    (tmp_path / "guide" / "logs.md").write_text("# Logs\n\nRotate.\n\n## By hand\n\nCall.\n")
    (tmp_path / "report.PDF").write_bytes(pdf("First page.", "Second page.", title="Report"))
    found = by_id(read_folder(tmp_path))
    assert list(found) == ["report.PDF#0", "report.PDF#1", "guide/logs.md#0", "guide/logs.md#1"]
    assert dict(found["guide/logs.md#1"].metadata) == {
        "path": "guide/logs.md",
        "title": "Logs",
        "heading": "By hand",
        "position": 1,
    }
    assert found["report.PDF#1"].text == "Report\nSecond page."
    assert found["report.PDF#1"].metadata["page"] == 2


def test_what_cannot_be_read_is_reported_and_the_rest_is_read(tmp_path: Path) -> None:
    """Files that are not UTF-8, binary, unreadable, broken, locked or scanned stop nothing."""
    (tmp_path / "good.txt").write_text("Fine.")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "binary.txt").write_bytes(b"a\0b")
    (tmp_path / "broken.pdf").write_bytes(pdf("Lost.")[:200])
    (tmp_path / "locked.pdf").write_bytes(locked(pdf("Secret.")))
    (tmp_path / "scanned.pdf").write_bytes(pdf(""))
    (tmp_path / "gone.md").symlink_to(tmp_path / "nowhere.md")
    (tmp_path / "image.png").write_bytes(b"\x89PNG")
    reading = read_folder(tmp_path)
    assert [document.id for document in reading.documents] == ["good.txt#0"]
    why = {each.where: each.reason for each in reading.skipped}
    assert why["latin.txt"] == "it is not UTF-8 (byte 3)"
    assert why["binary.txt"] == "it is binary"
    assert why["gone.md"] == "No such file or directory"
    assert "its PDF cannot be read" in why["broken.pdf"]
    assert "its PDF cannot be read" in why["locked.pdf"]
    assert "no text" in why["scanned.pdf"]
    assert set(why) == {
        "latin.txt",
        "binary.txt",
        "gone.md",
        "broken.pdf",
        "locked.pdf",
        "scanned.pdf",
    }
    assert not reading.covers({"path": "latin.txt"})
    assert reading.covers({"path": "deleted.txt"})


def test_hidden_files_and_a_glob(tmp_path: Path) -> None:
    """Hidden files and folders are passed over; a glob chooses by the path below the folder."""
    for name in (".git/a.md", "a.md", "b/c.md", "b/d.txt", ".hidden.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text")
    assert list(by_id(read_folder(tmp_path))) == ["a.md#0", "b/c.md#0", "b/d.txt#0"]
    chosen = read_folder(tmp_path, glob=["b/*.md", "*.txt"])
    assert list(by_id(chosen)) == ["b/c.md#0", "b/d.txt#0"]
    assert not chosen.covers({"path": "a.md"})


def test_one_file_is_a_source_too(tmp_path: Path) -> None:
    """A single file is read, and says nothing about its neighbours."""
    (tmp_path / "a[1].md").write_text("text")
    reading = read_source(tmp_path / "a[1].md")
    assert list(by_id(reading)) == ["a[1].md#0"]
    assert reading.covers({"path": "a[1].md"})
    assert not reading.covers({"path": "b.md"})


@pytest.mark.parametrize(
    ("name", "message"),
    [("nothing", "there is no file"), ("", "holds no file"), ("x.png", "is not one of")],
)
def test_nothing_to_read_is_an_error(tmp_path: Path, name: str, message: str) -> None:
    """A missing path, an empty folder and a file of another kind are named."""
    (tmp_path / "x.png").write_bytes(b"")
    with pytest.raises(InputError, match=message):
        read_source(tmp_path / name)


def test_reading_reports_progress_by_file(tmp_path: Path) -> None:
    """The number of files read is reported, with the number there are."""
    for name in ("a.md", "b.md"):
        (tmp_path / name).write_text("text")
    seen: list[tuple[int, int]] = []
    read_folder(tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
