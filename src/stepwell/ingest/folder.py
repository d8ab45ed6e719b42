"""A folder of files as passages with stable ids."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path
from typing import Any

from stepwell.documents import Document
from stepwell.errors import InputError
from stepwell.ingest.beir import corpus_file, read_beir
from stepwell.ingest.formats import SUFFIXES, Unreadable, parse
from stepwell.ingest.places import token
from stepwell.ingest.reading import Reading, Skipped
from stepwell.ingest.split import passages

Progress = Callable[[int, int], None]


def read_source(
    path: Path | str, *, glob: Sequence[str] = (), progress: Progress | None = None
) -> Reading:
    """Read a folder in the BEIR layout, a `corpus.jsonl[.gz]`, a folder of files, or one file.

    Args:
        path: What to read.
        glob: As in `read_folder`; a BEIR folder takes none.
        progress: As in `read_folder`.

    Raises:
        InputError: There is nothing to read.
        MissingExtraError: The extra `ingest` is not installed, and files are to be read.
    """
    place = Path(path)
    if not place.exists():
        raise InputError(f"there is no file or folder {str(place)!r}")
    named = place.name.endswith((".jsonl", ".jsonl.gz"))
    if named or (place.is_dir() and corpus_file(place)):
        if glob:
            raise InputError(f"{place} is a BEIR set, which has no files to choose from by a glob")
        return read_beir(place)
    return read_folder(place, glob=glob, progress=progress)


def read_folder(
    path: Path | str, *, glob: Sequence[str] = (), progress: Progress | None = None
) -> Reading:
    """Read the .md, .rst, .txt, .html, .py and .pdf files below a folder, split into passages.

    Hidden files and folders are passed over, links to folders not followed. The passage n of a
    file, from 0, has the id `relative/path#n` and the metadata `path`, `title`, `heading`,
    `position` (n) and, of a PDF, `page`.

    Args:
        path: A folder, or one file.
        glob: Shell patterns; a file is read when one matches its path below the folder. `*` also
            matches `/`.
        progress: Called with the number of files read and of files there are.

    Raises:
        InputError: There is no such folder, or no file to read in it.
        MissingExtraError: The extra `ingest` is not installed.
    """
    place = Path(path)
    root, names = _chosen(place, glob)
    patterns = [escape(place.name)] if place.is_file() else glob
    documents: list[Document] = []
    skipped: list[Skipped] = []
    for done, name in enumerate(names, start=1):
        found = list(_read(root, name))
        documents += [each for each in found if isinstance(each, Document)]
        skipped += [each for each in found if isinstance(each, Skipped)]
        if progress is not None:
            progress(done, len(names))
    unread = {each.where for each in skipped}

    def covers(metadata: Mapping[str, Any]) -> bool:
        name = str(metadata.get("path", ""))
        return name not in unread and _matches(name, patterns)

    root = root.resolve()
    return Reading(token(root), documents, len(documents), tuple(skipped), covers, root)


def _chosen(place: Path, glob: Sequence[str]) -> tuple[Path, list[str]]:
    if place.is_file():
        if not place.name.lower().endswith(SUFFIXES):
            raise InputError(f"{place} is not one of {', '.join(SUFFIXES)}")
        return place.parent, [place.name]
    if not place.is_dir():
        raise InputError(f"there is no file or folder {str(place)!r}")
    names = [name for name in _below(place) if _matches(name, glob)]
    if not names:
        which = f" that matches {' or '.join(glob)}" if glob else ""
        raise InputError(f"{place} holds no file{which} to read ({', '.join(SUFFIXES)})")
    return place, names


def _below(root: Path) -> Iterator[str]:
    """Paths of the files that can be read, relative to the root, in a stable order."""
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and name.lower().endswith(SUFFIXES):
                yield (Path(folder) / name).relative_to(root).as_posix()


def _matches(name: str, glob: Sequence[str]) -> bool:
    return not glob or any(fnmatchcase(name, pattern) for pattern in glob)


def _read(root: Path, name: str) -> Iterator[Document | Skipped]:
    try:
        name.encode("utf-8")
        parsed = parse(name, (root / name).read_bytes())
    except UnicodeEncodeError:
        yield Skipped(ascii(name)[1:-1], "its name is not UTF-8")
    except Unreadable as error:
        yield Skipped(name, str(error))
    except OSError as error:
        yield Skipped(name, error.strerror or str(error))
    else:
        for position, (section, text) in enumerate(passages(parsed)):
            yield Document(
                f"{name}#{position}",
                text,
                {
                    "path": name,
                    "title": parsed.title or Path(name).name,
                    "heading": section.path[-1] if section.path else "",
                    "position": position,
                    **({"page": section.page} if section.page else {}),
                },
            )
