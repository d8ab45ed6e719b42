"""`stepwell search`: one question to a corpus."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from stepwell.cli.choosing import chosen_cascade
from stepwell.cli.tables import show_hits, trace_table
from stepwell.cli.terminal import (
    AsJson,
    CascadeFile,
    Debug,
    Encoder,
    encoder_named,
    print_json,
    reported,
    say,
    stdout,
)
from stepwell.corpus.anywhere import existing
from stepwell.documents import well_formed
from stepwell.errors import InputError
from stepwell.result import Result

LEAST = 10
"""What the last stage reads even when fewer are asked for, so that the first ones stay the same."""


def search(
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="The corpus, or the URL or .db file of a Milvus.")
    ],
    query: Annotated[str, typer.Argument(metavar="QUERY", help="The question.")],
    k: Annotated[int, typer.Option("--k", "-k", help="How many documents.")] = 10,
    preset_name: Annotated[
        str | None,
        typer.Option(
            "--preset",
            help="bm25, dense, hybrid, two-stage, classic or three-stage; by default three-stage, "
            "or bm25 for a corpus without vectors.",
        ),
    ] = None,
    cascade_file: CascadeFile = None,
    filter: Annotated[
        str | None, typer.Option("--filter", help="""As JSON, such as '{"path": "a.md"}'.""")
    ] = None,
    deadline: Annotated[float | None, typer.Option(help="Seconds for the whole.")] = None,
    trace: Annotated[bool, typer.Option("--trace", help="Show what each stage did.")] = False,
    encoder: Encoder = "embedded",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Search a corpus."""
    with reported(debug=debug, as_json=as_json):
        wanted = _filter(filter)
        with existing(path, encoder=encoder_named(encoder)) as corpus:
            for repair in corpus.repaired:
                say(f"repaired: {repair}")
            cascade = chosen_cascade(
                corpus, preset_name=preset_name, file=cascade_file, k=max(k, LEAST)
            )
            result = cascade.search(well_formed(query), k=k, filter=wanted, deadline=deadline)
    _show(result, trace=trace, as_json=as_json)


def _filter(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except RecursionError as error:
        raise InputError("--filter is nested too deeply; write it with fewer brackets") from error
    except ValueError as error:
        shown = text if len(text) <= 200 else f"{text[:200]}..."
        raise InputError(f"--filter is not JSON: {shown!r} ({error})") from error


def _show(result: Result, *, trace: bool, as_json: bool) -> None:
    if as_json:
        found = {**result.to_dict(), "degraded": result.degraded}
        if not trace:
            del found["trace"]
        print_json(found)
        return
    console = stdout()
    if result.hits:
        show_hits(console, result.hits)
    else:
        say("nothing found")
    if trace:
        console.print(trace_table(result.trace))
    elif result.degraded:
        say("degraded: a stage failed or ran out of time; --trace says which", style="yellow")
