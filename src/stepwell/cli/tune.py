"""`stepwell tune`: the best setting of a cascade within a budget, on your own judged queries."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import typer

import stepwell
from stepwell.cascade import Cascade
from stepwell.cli.measuring import Named, check_judged, chosen, opened, writable
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
from stepwell.cli.tuned import show_tuned
from stepwell.corpus import Corpus
from stepwell.errors import InputError, import_extra
from stepwell.evaluate import Dataset, find_dataset, splits
from stepwell.ingest.cache import cache_folder, slug
from stepwell.stages.cascade_file import write_cascade
from stepwell.stages.presets import DEFAULT
from stepwell.tune import (
    Recording,
    Setting,
    Tuned,
    Verified,
    build,
    grid,
    record,
    sampled,
    take_apart,
    verify,
)
from stepwell.tune import tune as tune_recording
from stepwell.tune.measuring import Measure
from stepwell.tune.recording import about

QUERIES, CHECKED = 300, 20
# Where a cascade is chosen: not where it is measured afterwards.
_SPLITS = ("dev", "validation", "train")


def tune(
    context: typer.Context,
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
    budget_ms: Annotated[
        float | None,
        typer.Option(help="The most milliseconds that 95 of 100 queries may take; any by default."),
    ] = None,
    measure: Annotated[
        str, typer.Option(help="What is maximised: nDCG@k, MRR@k or R@k.")
    ] = "nDCG@10",
    split: Annotated[
        str | None,
        typer.Option(
            help="Of a folder: which qrels/SPLIT.tsv; dev, validation or train by default, "
            "so that the test split stays for measuring."
        ),
    ] = None,
    queries: Annotated[int, typer.Option(help="How many queries, drawn at random.")] = QUERIES,
    settings: Annotated[
        int | None, typer.Option(help="How many settings, drawn at random; all by default.")
    ] = None,
    deepest: Annotated[
        int | None,
        typer.Option(
            help="The most that a cross-encoder may read; as many as now, or 50, by default."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the recommended cascade here (TOML).")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draws, the folds and the bootstrap.")] = 0,
    corpus: Annotated[
        Path | None, typer.Option(help="A corpus that holds the data set already.")
    ] = None,
    encoder: Encoder = "embedded",
    analyzer: Annotated[str, typer.Option(help="A language, plain or code.")] = "english",
    cache: Annotated[
        bool,
        typer.Option("--cache/--no-cache", help="Whether index and recording are kept."),
    ] = True,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Choose the options of a cascade: depths, weights, blends, and which stages to keep.

    Every stage runs once for each query; thousands of settings are then replayed exactly, and the
    best within the budget is checked on held-out queries. What is not better is not recommended.
    """
    with reported(debug=debug, as_json=as_json):
        import_extra("ir_measures", extra="eval")  # what is missing is said before indexing
        import_extra("uniplot", extra="eval")
        Measure.parse(measure)  # as is what is wrong
        writable(out)
        system = _system(preset_name, cascade)
        named = find_dataset(dataset, split=split_to_choose_by(dataset, split))
        data = chosen(named, queries, seed)
        name = None if system.name == "bm25" else encoder_named(encoder)
        with opened(data, corpus, encoder_name=name, analyzer=analyzer, cache=cache) as searched:
            check_judged(data, searched)
            made = system.cascade(searched)
            tried = _settings(made, settings, deepest, seed)
            recording = _recorded(made, data, tried, searched if cache else None)
            tuned, checked = _tuned(recording, measure, budget_ms, seed)
            if out is not None:
                best = build(recording.anatomy, tuned.recommended.setting)
                write_cascade(best, out, about=_about(context, tuned))
    title = f"{data.name}, {system.title}, {len(recording)} queries, {tuned.settings} settings"
    if as_json:
        print_json({"dataset": data.name, "verified": checked.to_dict(), **tuned.to_dict()})
    else:
        show_tuned(stdout(), title, tuned, checked)
    if out is not None:
        say(f"wrote {out}")


def _system(preset_name: str | None, cascade: Path | None) -> Named:
    if preset_name is not None and cascade is not None:
        raise InputError("--preset and --cascade exclude each other")
    system = Named.of(str(cascade or preset_name or DEFAULT))
    if not system.is_cascade:
        raise InputError(f"{system.name} is no cascade: a file of one ends in .toml")
    return system


def split_to_choose_by(dataset: str, split: str | None) -> str:
    """The split that is named, or one that is not the test split."""
    if split is not None or not Path(dataset).is_dir():
        return split or "test"
    there = splits(dataset)
    found = next((name for name in _SPLITS if name in there), None)
    if found is None:
        say("there is only a test split: what is chosen by it must be measured by another")
    return found or "test"


def _settings(cascade: Cascade, count: int | None, deepest: int | None, seed: int) -> list[Setting]:
    every = grid(take_apart(cascade), deepest=deepest)
    return every if count is None else sampled(every, count, seed=seed)


def _recorded(
    cascade: Cascade, dataset: Dataset, settings: list[Setting], corpus: Corpus | None
) -> Recording:
    """Record, with a bar; in the cache where a corpus is kept, so that it can be gone on with."""
    folder = None
    if corpus is not None:
        depends = [
            stepwell.__version__,
            str(corpus.path.resolve()),
            _age(corpus),
            about(take_apart(cascade), dataset, settings),
        ]
        digest = sha256(json.dumps(depends).encode()).hexdigest()[:16]
        folder = cache_folder() / "recordings" / f"{slug(dataset.name)}-{digest}"
    with _interruptible(folder), progress("recorded") as recorded:
        return record(cascade, dataset, settings=settings, folder=folder, progress=recorded)


def _age(corpus: Corpus) -> int:
    """Nanoseconds of the last change to a corpus: a recording is of what it held then."""
    files = [file for file in corpus.path.glob("*.sqlite*") if not file.name.endswith("-shm")]
    return max((file.stat().st_mtime_ns for file in files if file.stat().st_size), default=0)


@contextmanager
def _interruptible(folder: Path | None) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        if folder is not None:
            say("stepwell: interrupted; the same command goes on where it was", style="red")
        raise


def _tuned(
    recording: Recording, measure: str, budget_ms: float | None, seed: int
) -> tuple[Tuned, Verified]:
    with progress("replayed") as replayed:
        tuned = tune_recording(
            recording, measure=measure, budget_ms=budget_ms, seed=seed, progress=replayed
        )
    with progress("checked") as done:
        setting = tuned.recommended.setting
        return tuned, verify(
            recording, setting, measure=measure, queries=CHECKED, seed=seed, progress=done
        )


def _about(context: typer.Context, tuned: Tuned) -> str:
    """The comment of the file: the command, and what came of it."""
    words: list[Any] = []
    for option in context.command.params:
        name = option.name or ""
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            value = context.params[name]
            flag = [] if option.param_type_name == "argument" else [option.opts[0]]
            words += flag if value is True else [*flag, value]
    chosen_one = tuned.recommended
    return "\n".join(
        [
            shlex.join(["stepwell", "tune", *map(str, words)]),
            f"{tuned.verdict}: {chosen_one.setting}",
            f"{tuned.measure} {chosen_one.value:.4f}, 95% of queries predicted within "
            f"{chosen_one.ms_p95:.0f} ms",
        ]
    )
