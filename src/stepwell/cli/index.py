"""`stepwell index`: bring a corpus in step with a folder."""

from __future__ import annotations

import logging
import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from stepwell.corpus.anywhere import opened
from stepwell.errors import InputError, import_extra
from stepwell.ingest import Reading, Synced, read_source, sync

if TYPE_CHECKING:
    from stepwell.ray import RayEncoder

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
        str,
        typer.Option(
            "--to",
            metavar="PATH",
            help="The corpus, or the URL or .db file of a Milvus; made if it is not there.",
        ),
    ],
    encoder: Encoder = "embedded",
    analyzer: Annotated[
        str | None, typer.Option(help="A language, plain or code; english for a new corpus.")
    ] = None,
    glob: Annotated[
        list[str] | None,
        typer.Option(help="Only files whose path matches, such as 'guide/*.md'; may be repeated."),
    ] = None,
    ray: Annotated[
        bool, typer.Option("--ray", help="Encode on a Ray cluster; needs the extra ray.")
    ] = False,
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="The cluster, of which this machine is a part; by default RAY_ADDRESS, the one "
            "that runs here, or one of this machine alone ('local').",
        ),
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
    with reported(debug=debug, as_json=as_json, interrupted="run again to go on"):
        far = _on_ray(encoder, ray_address) if ray or ray_address else None
        with progress("read") as read:
            # Absolute: on Ray another process reads it, too.
            where = source.absolute() if far else source
            reading = read_source(where, glob=glob or (), progress=read)
        chosen = far or encoder_named(encoder)
        with opened(to, encoder=chosen, analyzer=analyzer) as corpus:
            for repair in corpus.repaired:
                say(f"repaired: {repair}")
            ahead = far.ahead(reading.documents, corpus) if far else nullcontext()
            with ahead, progress("indexed", plain=True) as indexed:
                done = sync(corpus, reading, progress=lambda n: indexed(n, reading.total))
            _conclude(reading, done, held=len(corpus), to=to, as_json=as_json)


def _on_ray(encoder: str, address: str | None) -> RayEncoder:
    if encoder_named(encoder) is None:
        raise InputError("--ray encodes passages, and --encoder none asks for no vectors")
    # A person waits before one progress bar: Ray's own remarks are in its log files.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    from stepwell.ray import RayEncoder

    made = RayEncoder(encoder, address=address)
    import_extra("ray.data", extra="ray")  # which sets its own level
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return made


def _conclude(reading: Reading, done: Synced, *, held: int, to: str, as_json: bool) -> None:
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
        print_json({"corpus": to, "documents": held, **counts, "skipped_files": where})
        return
    shown = ", ".join(f"{n} {name}" for name, n in counts.items() if n or name == "added")
    typer.echo(f"{to}: {shown}; {held} documents in all")
