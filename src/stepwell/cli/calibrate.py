"""`stepwell calibrate`: scores as probabilities of relevance, fitted to judged queries."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stepwell.calibrate import Calibration, calibrate, calibrated, check, hide
from stepwell.calibrate.sheets import (
    calibration_markdown,
    calibration_page,
    calibration_sheets,
    head,
    lines,
)
from stepwell.cascade import Cascade
from stepwell.cli.measuring import Named, check_judged, opened, writable, write
from stepwell.cli.tables import show_sheets
from stepwell.cli.terminal import (
    AsJson,
    Debug,
    Encoder,
    encoder_named,
    print_json,
    progress,
    reported,
    say,
    stdout,
)
from stepwell.cli.tune import split_to_choose_by
from stepwell.errors import InputError, import_extra
from stepwell.evaluate import Dataset, find_dataset
from stepwell.stages.cascade_file import write_cascade
from stepwell.stages.presets import DEFAULT


class MethodName(StrEnum):
    """What `--method` takes."""

    platt = "platt"
    isotonic = "isotonic"
    auto = "auto"


def calibrate_cascade(
    dataset: Annotated[
        str, typer.Argument(help="A folder in the BEIR layout, or a name of ir_datasets.")
    ],
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
    stage: Annotated[
        str | None, typer.Option(help="Whose scores; the last stage's that scores by default.")
    ] = None,
    method: Annotated[
        MethodName, typer.Option(help="auto takes the one with the lower Brier score.")
    ] = MethodName.auto,
    at_least: Annotated[
        float | None,
        typer.Option(help="Leave out what is less probable than this; all pass by default."),
    ] = None,
    judged_only: Annotated[
        bool,
        typer.Option(
            "--judged-only",
            help="Leave out candidates that nobody judged; they count as not relevant otherwise.",
        ),
    ] = False,
    check_only: Annotated[
        bool,
        typer.Option("--check", help="Fit nothing: measure the calibrator of --cascade."),
    ] = False,
    hidden: Annotated[
        float | None,
        typer.Option(
            "--hide",
            help="Take the relevant documents of this share of the queries out of the corpus, so "
            "that they have no answer.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Of a folder: which qrels/SPLIT.tsv; dev, validation or train by default, "
            "or with --check test."
        ),
    ] = None,
    queries: Annotated[
        int | None, typer.Option(help="How many queries, drawn at random; all by default.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the calibrated cascade here (TOML).")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draws, the folds and the bootstrap.")] = 0,
    corpus: Annotated[
        Path | None, typer.Option(help="A corpus that holds the data set already.")
    ] = None,
    encoder: Encoder = "embedded",
    analyzer: Annotated[str, typer.Option(help="A language, plain or code.")] = "english",
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Whether the index is kept.")
    ] = True,
    markdown: Annotated[Path | None, typer.Option(help="Also write the report here.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Also write it as one page with a diagram here.")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Turn a stage's scores into probabilities of relevance, and say how good they are.

    Expected calibration error and Brier score by cross-validation over queries, the latter with a
    95% interval, the former with where 95% of resamples lie. With queries that have no
    answer: how often a threshold says so, and rightly.
    """
    with reported(debug=debug, as_json=as_json):
        import_extra("scipy.stats", extra="eval")  # what is missing is said before indexing
        writable(out, markdown, html)
        system = _system(preset_name, cascade)
        _check_call(cascade, out, corpus, check_only=check_only, hidden=hidden)
        data = _data(dataset, split, queries, hidden, seed, check_only=check_only)
        name = None if system.name == "bm25" else encoder_named(encoder)
        with opened(data, corpus, encoder_name=name, analyzer=analyzer, cache=cache) as searched:
            check_judged(data, searched)
            made = system.cascade(searched)
            found = _found(
                made, data, stage, method, at_least, seed, judged=judged_only, fits=not check_only
            )
            if out is not None:
                about = f"stepwell calibrate: {head(found)}, ECE {found.after.ece:.4f}"
                write_cascade(
                    calibrated(made, found.calibrator, at_least=at_least), out, about=about
                )
        write(markdown, lambda: calibration_markdown(found))
        write(html, lambda: calibration_page(found))
    if as_json:
        print_json(found.to_dict())
    else:
        console = stdout()
        console.print(head(found), style="bold", soft_wrap=True)
        show_sheets(console, calibration_sheets(found))
    for line in lines(found):
        say(line, style="yellow")
    if out is not None:
        say(f"wrote {out}")


def _system(preset_name: str | None, cascade: Path | None) -> Named:
    if preset_name is not None and cascade is not None:
        raise InputError("--preset and --cascade exclude each other")
    system = Named.of(str(cascade or preset_name or DEFAULT))
    if not system.is_cascade:
        raise InputError(f"{system.name} is no cascade: a file of one ends in .toml")
    return system


def _check_call(
    cascade: Path | None,
    out: Path | None,
    corpus: Path | None,
    *,
    check_only: bool,
    hidden: float | None,
) -> None:
    if check_only and (cascade is None or out is not None):
        raise InputError("--check takes the --cascade that was calibrated, and writes no --out")
    if hidden is not None and corpus is not None:
        raise InputError(
            "--hide makes a corpus without some documents; leave --corpus out, which has them"
        )


def _data(
    dataset: str,
    split: str | None,
    queries: int | None,
    hidden: float | None,
    seed: int,
    *,
    check_only: bool,
) -> Dataset:
    named = (split or "test") if check_only else split_to_choose_by(dataset, split)
    data = find_dataset(dataset, split=named)
    data = data if queries is None else data.sample(queries, seed=seed)
    return data if hidden is None else hide(data, hidden, seed=seed)


def _found(
    cascade: Cascade,
    data: Dataset,
    stage: str | None,
    method: MethodName,
    at_least: float | None,
    seed: int,
    *,
    judged: bool,
    fits: bool,
) -> Calibration:
    total = len(data.queries)
    with progress("asked") as asked:

        def told(done: int) -> None:
            asked(done, total)

        if not fits:
            return check(cascade, data, judged_only=judged, seed=seed, progress=told)
        return calibrate(
            cascade,
            data,
            stage=stage,
            method=method.value,
            at_least=at_least,
            judged_only=judged,
            seed=seed,
            progress=told,
        )
