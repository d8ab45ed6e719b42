"""`stepwell compare`: several cascades on the same queries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from stepwell.cli.measuring import Named, bench, chosen, remark, writable, write
from stepwell.cli.tables import show_sheets
from stepwell.cli.terminal import (
    AsJson,
    Debug,
    Encoder,
    encoder_named,
    print_json,
    reported,
    stdout,
)
from stepwell.errors import InputError, import_extra
from stepwell.evaluate import MEASURES, Comparison, compare, find_dataset
from stepwell.evaluate.comparison import comparison_page, comparison_sheets
from stepwell.evaluate.measures import parsed


def compare_systems(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET", help="A folder in the BEIR layout, or a name of ir_datasets."
        ),
    ],
    systems: Annotated[
        list[str],
        typer.Argument(
            metavar="A B [C]...",
            help="Presets, cascade files (TOML) or TREC runs; the others are compared with A.",
        ),
    ],
    split: Annotated[str, typer.Option(help="Of a folder: which qrels/SPLIT.tsv.")] = "test",
    queries: Annotated[
        int | None, typer.Option(help="How many queries, drawn at random; all by default.")
    ] = None,
    measures: Annotated[
        list[str] | None,
        typer.Option(
            "--measure", help="Any of ir-measures, such as nDCG@10 or R@1000; may be repeated."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draw, the bootstrap and the test.")] = 0,
    corpus: Annotated[
        Path | None, typer.Option(help="A corpus that holds the data set already.")
    ] = None,
    encoder: Encoder = "embedded",
    analyzer: Annotated[str, typer.Option(help="A language, plain or code.")] = "english",
    cache: Annotated[
        bool,
        typer.Option(
            "--cache/--no-cache",
            help="Whether the index is kept for the next run, and the answers until they are "
            "complete.",
        ),
    ] = True,
    show_text: Annotated[
        bool, typer.Option("--show-text", help="Show the text of queries, not only their ids.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(help="Also write it as one page with plots here.")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Compare cascades on the same queries: quality, time, and whether they differ by chance."""
    with reported(debug=debug, as_json=as_json):
        import_extra("ir_measures", extra="eval")
        names = list(parsed(measures or MEASURES))
        writable(html)
        named = _different([Named.of(name) for name in systems])
        asked = chosen(find_dataset(dataset, split=split), queries, seed)
        with bench(
            asked,
            named,
            corpus=corpus,
            measures=names,
            encoder_name=encoder_named(encoder),
            analyzer=analyzer,
            cache=cache,
            seed=seed,
        ) as at:
            found = compare({each.title: at.measured(each) for each in named}, seed=seed)
        texts = asked.queries if show_text else {}
        write(html, lambda: comparison_page(found, texts=texts))
    remark(list(found.reports.values()), left_out=True)
    _show(found, texts, as_json=as_json)


def _different(named: list[Named]) -> list[Named]:
    titles = [each.title for each in named]
    if len(titles) < 2 or len(set(titles)) < len(titles):
        raise InputError("name two systems or more, each once and files by different names")
    return named


def _show(found: Comparison, texts: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        print_json(found.to_dict(texts=texts))
        return
    console = stdout()
    console.print(Text(found.title, style="bold"))
    show_sheets(console, comparison_sheets(found, texts=texts))
