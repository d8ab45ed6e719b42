"""`stepwell index`: bring a corpus in step with a folder."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from stepwell.cli.terminal import (
    AsJson,
    Debug,
    Encoder,
    encoder_named,
    print_json,
    progress,
    reported,
    say,
)
from stepwell.corpus import Corpus
from stepwell.ingest import Reading, Synced, read_source, sync

_SHOWN = 20


def index(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="A folder of .md .rst .txt .html .py .pdf files, one such file, or a BEIR folder.",
        ),
    ],
    to: Annotated[
        Path, typer.Option("--to", metavar="PATH", help="The corpus; made if it is not there.")
    ],
    encoder: Encoder = "embedded",
    analyzer: Annotated[
        str | None, typer.Option(help="A language, plain or code; english for a new corpus.")
    ] = None,
    glob: Annotated[
        list[str] | None,
        typer.Option(help="Only files whose path matches, such as 'guide/*.md'; may be repeated."),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Index a folder into a corpus.

    Run again, it replaces passages that changed, removes those that vanished, and goes on where a
    killed run was. Where standard error is no terminal, a line "indexed N of M" is printed when N
    documents are in the corpus for good.
    """
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # its remarks on damaged files
    with reported(debug=debug, as_json=as_json):
        with progress("read") as read:
            reading = read_source(source, glob=glob or (), progress=read)
        with Corpus.open(to, encoder=encoder_named(encoder), analyzer=analyzer) as corpus:
            for repair in corpus.repaired:
                say(f"repaired: {repair}")
            with progress("indexed", plain=True) as indexed:
                done = sync(corpus, reading, progress=lambda n: indexed(n, reading.total))
            _conclude(reading, done, held=len(corpus), to=to, as_json=as_json)


def _conclude(reading: Reading, done: Synced, *, held: int, to: Path, as_json: bool) -> None:
    for skipped in reading.skipped[:_SHOWN]:
        say(f"skipped {skipped}", style="yellow")
    if len(reading.skipped) > _SHOWN:
        say(f"... and {len(reading.skipped) - _SHOWN} more", style="yellow")
    counts = {
        "added": done.added,
        "changed": done.changed,
        "unchanged": done.unchanged,
        "removed": done.removed,
        "skipped": len(reading.skipped),
    }
    if as_json:
        where = [{"where": each.where, "reason": each.reason} for each in reading.skipped]
        print_json({"corpus": str(to), "documents": held, **counts, "skipped_files": where})
        return
    shown = ", ".join(f"{n} {name}" for name, n in counts.items() if n or name == "added")
    typer.echo(f"{to}: {shown}; {held} documents in all")
