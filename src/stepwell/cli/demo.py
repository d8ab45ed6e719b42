"""`stepwell demo`: ask the documentation of Python's standard library."""

from __future__ import annotations

import platform
from typing import Annotated

import typer
from rich.text import Text

import stepwell
from stepwell.cascade import Cascade
from stepwell.cli.tables import show_hits, trace_table
from stepwell.cli.terminal import (
    AsJson,
    Debug,
    Encoder,
    encoder_named,
    print_json,
    progress,
    reported,
    stdout,
)
from stepwell.corpus import Corpus
from stepwell.documents import well_formed
from stepwell.evaluate.evaluation import warm_up
from stepwell.ingest import Reading, python_docs
from stepwell.ingest.cache import cached_corpus, fill
from stepwell.models import load_encoder
from stepwell.stages.presets import DEFAULT, preset

QUESTIONS = (
    "Which function gives the middle value of a list of numbers?",
    "How do I run a function in a pool of worker processes?",
    "What measures how long a small piece of code takes?",
)


def demo(
    questions: Annotated[
        list[str] | None, typer.Argument(metavar="[QUESTION]...", help="What to ask.")
    ] = None,
    k: Annotated[int, typer.Option("--k", "-k", help="How many documents a question.")] = 3,
    encoder: Encoder = "embedded",
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Whether the index is kept for the next run.")
    ] = True,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Index the documentation of this Python's standard library, and answer questions about it."""
    asked = [well_formed(question) for question in questions or QUESTIONS]
    with (
        reported(debug=debug, as_json=as_json),
        _library(encoder_named(encoder), cache) as corpus,
    ):
        cascade = Cascade(preset(DEFAULT if corpus.encoder else "bm25", corpus))
        warm_up(cascade, asked[0])
        results = [cascade.search(question, k=k) for question in asked]
    if as_json:
        print_json([result.to_dict() for result in results])
        return
    console = stdout()
    for result in results:
        console.print(Text(result.query.text, style="bold"))
        show_hits(console, result.hits)
        console.print(trace_table(result.trace))


def _library(encoder_name: str | None, cache: bool) -> Corpus:
    encoder = None if encoder_name is None else load_encoder(encoder_name)
    with progress("indexed", plain=True) as indexed:
        if cache:
            return cached_corpus(
                f"python-{platform.python_version()}",
                _reading,
                key=(platform.python_implementation(), platform.platform(), stepwell.__version__),
                encoder=encoder,
                progress=indexed,
            )
        made = Corpus.temporary(encoder=encoder)
        fill(made, _reading(), progress=indexed)
        return made


def _reading() -> Reading:
    documents = python_docs()
    return Reading(f"python-{platform.python_version()}", documents, len(documents))
