"""`stepwell corpus`: what keeps a corpus whole, small and movable."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from stepwell.cli.terminal import (
    AsJson,
    Debug,
    encoder_named,
    print_json,
    progress,
    reported,
    say,
)
from stepwell.corpus import Corpus, Report, examined, export, import_corpus
from stepwell.corpus.anywhere import in_milvus
from stepwell.corpus.exporting import Exported
from stepwell.corpus.kinds import check_kind
from stepwell.corpus.milvus.link import address_of
from stepwell.corpus.record import FILE
from stepwell.errors import InputError

Place = Annotated[str, typer.Argument(metavar="PATH", help="The corpus.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="JSON lines.")]

corpus_app = typer.Typer(
    name="corpus",
    help="Verify, rebuild, compact, export or import a corpus.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@corpus_app.command()
def verify(path: Place, as_json: AsJson = False, debug: Debug = False) -> None:
    """Compare the record with every index, reading all of it; nothing is changed.

    The exit code is 1 when they differ.
    """
    with reported(debug=debug, as_json=as_json):
        with progress("read") as read:
            report = examined(_folder(path), read)
        _show(report, path, as_json=as_json)
    if not report.ok:
        raise typer.Exit(1)


@corpus_app.command()
def rebuild(
    path: Place,
    vectors: Annotated[
        str | None,
        typer.Option(
            help="How vectors are searched from now on: auto, auto:N (approximately above N), "
            "exact, chroma, or the URL of a Chroma server."
        ),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make the indexes anew from the record; searches go on meanwhile."""
    with reported(debug=debug, as_json=as_json):
        if vectors is not None:
            check_kind(vectors)
        with _opened(path) as corpus:
            repaired = list(corpus.repaired)
            with progress("indexed") as indexed:
                corpus.rebuild(vectors=vectors, progress=lambda n: indexed(n, len(corpus)))
            documents, searches = len(corpus), corpus.searches
        if as_json:
            print_json({"corpus": path, "documents": documents, "repaired": repaired})
            return
        typer.echo(f"{path}: the indexes were made anew from {documents} documents")
        if searches is not None:
            typer.echo(f"vectors are searched {searches}")


@corpus_app.command()
def compact(path: Place, as_json: AsJson = False, debug: Debug = False) -> None:
    """Rewrite every file without what was replaced or deleted; searches go on meanwhile."""
    with reported(debug=debug, as_json=as_json):
        with _opened(path) as corpus:
            before = _size(Path(path))
            with progress("indexed") as indexed:
                corpus.compact(progress=lambda n: indexed(n, len(corpus)))
            documents = len(corpus)
        after = _size(Path(path))
        if as_json:
            sizes = {"bytes_before": before, "bytes_after": after}
            print_json({"corpus": path, "documents": documents, **sizes})
            return
        typer.echo(f"{path}: {documents} documents, {_mb(before)} before, {_mb(after)} now")
        # The last who closes the record deletes its log.
        if kept := _size(Path(path), f"{FILE}-wal"):
            say(f"{_mb(kept)} of it is a log, which goes when who has the corpus open closes it")


@corpus_app.command(name="export")
def export_file(
    path: Place,
    to: Annotated[
        Path, typer.Option("--to", metavar="FILE", help="JSON lines; an export is replaced.")
    ],
    vectors: Annotated[bool, typer.Option(help="Whether the vectors go with the texts.")] = True,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write a corpus to one file, from one state of it, whoever writes meanwhile."""
    with reported(debug=debug, as_json=as_json):
        if str(to) == "-":
            raise InputError("an export is a whole file and no stream; name one, such as c.jsonl")
        with _opened(path, read_only=True) as corpus, progress("exported") as exported:
            total = len(corpus)
            count = export(corpus, to, vectors=vectors, progress=lambda n: exported(n, total))
        if as_json:
            print_json({"corpus": path, "documents": count, "file": str(to)})
            return
        typer.echo(f"{to}: {count} documents of {path}")


@corpus_app.command(name="import")
def import_file(
    file: File,
    to: Annotated[str, typer.Option("--to", metavar="PATH", help="The corpus to make.")],
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Makes vectors anew, as in index, or none for no vectors; by default those of "
            "the file."
        ),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make a corpus from an exported file, whole or not at all."""
    with reported(debug=debug, as_json=as_json):
        place = _folder(to)
        total = Exported(file).documents
        with progress("imported") as imported:
            count = import_corpus(
                file,
                place,
                encoder=None if encoder is None else encoder_named(encoder),
                without_vectors=encoder == "none",
                progress=lambda n: imported(n, total),
            )
        if as_json:
            print_json({"corpus": to, "documents": count, "file": str(file)})
            return
        typer.echo(f"{to}: {count} documents from {file}")


def _folder(path: str) -> Path:
    """The folder of a corpus.

    Raises:
        InputError: It is in Milvus.
    """
    if in_milvus(path):
        where = address_of(path, token=None, database="").uri
        raise InputError(
            f"{where!r} names a corpus in Milvus, which keeps it whole and small itself; these "
            "commands are for the folder of a corpus"
        )
    return Path(path)


@contextmanager
def _opened(path: str, *, read_only: bool = False) -> Iterator[Corpus]:
    # Nothing is encoded here, so no encoder is asked for, whichever it is.
    place = _folder(path)
    with Corpus.open(place, encoder=None, create=False, read_only=read_only) as corpus:
        for repair in corpus.repaired:
            say(f"repaired: {repair}")
        yield corpus


def _show(report: Report, path: str, *, as_json: bool) -> None:
    if as_json:
        found: dict[str, Any] = {"corpus": path, "ok": report.ok}
        counts = {"documents": report.documents, "vectors": report.vectors}
        searches = None if report.searches is None else asdict(report.searches)
        print_json({**found, **counts, "searches": searches, "problems": list(report.problems)})
        return
    typer.echo(f"{path}: {report.documents} documents, {report.vectors} with a vector")
    if report.searches is not None:
        typer.echo(f"vectors are searched {report.searches}")
    for problem in report.problems:
        typer.echo(f"problem: {problem}")
    if report.ok:
        typer.echo("the record and its indexes agree")
    else:
        say(f"indexes are made anew with: stepwell corpus rebuild {path}", style="yellow")


def _size(path: Path, names: str = "*") -> int:
    return sum(file.stat().st_size for file in path.rglob(names) if file.is_file())


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
