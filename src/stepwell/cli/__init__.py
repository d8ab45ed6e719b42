"""The command line: `stepwell index`, `search`, `serve`, `mcp`, `eval`, `compare`, `tune`,
`calibrate`, `depth`, `demo`, `finetune`, `corpus`.

Answers go to standard output, everything else (progress, remarks, errors) to standard error. An
error is one line, or with `--json` one JSON object `{"error": {"type", "message"}}`; the exit code
is 2 for a call that cannot be honoured and 1 for anything else that fails.
"""

from __future__ import annotations

import io
import logging
import sys
from typing import Annotated

import typer

import stepwell
from stepwell.cli.calibrate import calibrate_cascade
from stepwell.cli.compare import compare_systems
from stepwell.cli.corpus import corpus_app
from stepwell.cli.demo import demo
from stepwell.cli.depth import depth
from stepwell.cli.evaluate import evaluate
from stepwell.cli.finetune import finetune
from stepwell.cli.index import index
from stepwell.cli.mcp import mcp
from stepwell.cli.search import search
from stepwell.cli.serve import serve
from stepwell.cli.tune import tune

app = typer.Typer(
    name="stepwell",
    help="Staged recall and rerank for RAG.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(index)
app.command()(search)
app.command()(serve)
app.command()(mcp)
app.command(name="eval")(evaluate)
app.command(name="compare")(compare_systems)
app.command()(tune)
app.command(name="calibrate")(calibrate_cascade)
app.command()(depth)
app.command()(demo)
app.command()(finetune)
app.add_typer(corpus_app)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"stepwell {stepwell.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Staged recall and rerank for RAG."""
    # An error is one line: what these log of the same failure are tracebacks and what they sent.
    for name in ("milvus_lite", "pymilvus"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def main() -> None:
    """Run the command line; the entry point of `stepwell` and of `python -m stepwell`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A character that the terminal's encoding lacks must not end the program.
            stream.reconfigure(errors="replace")
    app(prog_name="stepwell")
