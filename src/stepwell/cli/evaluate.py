"""`stepwell eval`: measure a cascade on a data set, or a run that was made elsewhere."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from stepwell.cli.measuring import Named, bench, chosen, remark, writable, write
from stepwell.cli.tables import show_report
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
from stepwell.evaluate import MEASURES, Report, evaluate_run, find_dataset, read_qrels, read_run
from stepwell.evaluate.markdown import report_markdown
from stepwell.evaluate.measures import parsed
from stepwell.evaluate.page import report_page
from stepwell.stages.presets import DEFAULT


def evaluate(
    dataset: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATASET]", help="A folder in the BEIR layout, or a name of ir_datasets."
        ),
    ] = None,
    preset_name: Annotated[
        str | None,
        typer.Option(
            "--preset",
            help="bm25, dense, hybrid, two-stage, classic or three-stage (the default).",
        ),
    ] = None,
    cascade: Annotated[
        Path | None, typer.Option("--cascade", help="A cascade file (TOML), instead of a preset.")
    ] = None,
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
    baseline: Annotated[
        str | None,
        typer.Option(help="A preset, a cascade file or a TREC run, to compare with."),
    ] = None,
    funnel: Annotated[
        bool, typer.Option("--funnel", help="Show where quality is lost, stage by stage.")
    ] = False,
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
    run: Annotated[
        Path | None, typer.Option("--run", help="A run in TREC's form, instead of a data set.")
    ] = None,
    qrels: Annotated[
        Path | None, typer.Option(help="With --run: judgements in BEIR's or TREC's form.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also write the report here.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Also write it as one page with plots here.")
    ] = None,
    queries_out: Annotated[
        Path | None, typer.Option(help="Also write the values of each query here, as JSON lines.")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Measure a cascade on a data set, stage by stage, or a run that was made elsewhere.

    nDCG@10, MRR@10 and R@100 by ir-measures, or what --measure names, each with a 95% interval.
    A run that was interrupted goes on where it was.
    """
    with reported(debug=debug, as_json=as_json):
        import_extra("ir_measures", extra="eval")  # what is missing is said before indexing
        names = list(parsed(measures or MEASURES))  # as is an unknown name
        writable(markdown, html, queries_out)
        if preset_name is not None and cascade is not None:
            raise InputError("--preset and --cascade exclude each other")
        system = Named.of(str(cascade or preset_name or DEFAULT))
        if not system.is_cascade:
            raise InputError(
                f"{system.name} is no cascade file, which ends in .toml; a run goes to --run"
            )
        other = None if baseline is None else Named.of(baseline)
        if run is not None or qrels is not None:
            report = _of_run(dataset, run, qrels, other, names, seed)
        else:
            judged = find_dataset(_named(dataset), split=split)
            asked = chosen(judged, queries, seed)
            # Probabilities are measured on queries without an answer too, where all are asked.
            with bench(
                judged if queries is None else asked,
                [each for each in (system, other) if each],
                corpus=corpus,
                measures=names,
                encoder_name=encoder_named(encoder),
                analyzer=analyzer,
                cache=cache,
                seed=seed,
                funnel=funnel,
            ) as at:
                before = None if other is None else at.measured(other)
                report = at.measured(system, baseline=before, funnel=funnel)
        write(markdown, lambda: report_markdown(report))
        write(html, lambda: report_page(report))
        write(queries_out, lambda: "".join(json.dumps(row) + "\n" for row in report.by_query()))
    remark([report], left_out=as_json)
    if as_json:
        print_json(report.to_dict())
    else:
        show_report(stdout(), report)


def _of_run(
    dataset: str | None,
    run: Path | None,
    qrels: Path | None,
    other: Named | None,
    names: list[str],
    seed: int,
) -> Report:
    if run is None or qrels is None or dataset is not None:
        raise InputError("--run FILE and --qrels FILE go together, and take no DATASET")
    if other is not None and other.is_cascade:
        raise InputError("a run has another run for its --baseline, not a cascade")
    judged = read_qrels(qrels)

    def measured(file: Path, baseline: Report | None = None) -> Report:
        return evaluate_run(
            read_run(file),
            judged,
            dataset=qrels.stem,
            measures=names,
            baseline=baseline,
            seed=seed,
        )

    before = None if other is None else measured(Path(other.name))
    return measured(run, before and replace(before, preset=other.title if other else None))


def _named(dataset: str | None) -> str:
    if dataset is None:
        raise InputError(
            "name a DATASET folder, a name of ir_datasets, or a run with --run FILE --qrels FILE"
        )
    return dataset
