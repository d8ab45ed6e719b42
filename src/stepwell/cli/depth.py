"""`stepwell depth`: how deep a cross-encoder must read, learnt from questions alone."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from stepwell.cascade import Cascade
from stepwell.cli.choosing import chosen_cascade
from stepwell.cli.measuring import opened, writable
from stepwell.cli.terminal import (
    AsJson,
    CascadeFile,
    Debug,
    Encoder,
    encoder_named,
    print_json,
    progress,
    reported,
    say,
    stdout,
)
from stepwell.corpus import Corpus
from stepwell.depth import Depth
from stepwell.depth.promise import distinct, repeated
from stepwell.errors import InputError, import_extra
from stepwell.evaluate import find_dataset
from stepwell.ingest.cache import cache_folder
from stepwell.stages.cascade_file import write_cascade
from stepwell.tune.depth import MOST, STEP, calibrate_depth, with_depth

QUERIES = 500
_PRESET = "two-stage"


def depth(
    questions: Annotated[
        str,
        typer.Argument(
            help="A text file, one question a line; or a data set: a folder in the BEIR layout, "
            "or a name of ir_datasets. Nobody need have judged anything."
        ),
    ],
    corpus: Annotated[
        Path | None, typer.Option(help="What is searched; that of a data set is made if need be.")
    ] = None,
    preset_name: Annotated[
        str | None,
        typer.Option("--preset", help="two-stage (the default), classic or three-stage."),
    ] = None,
    cascade: CascadeFile = None,
    k: Annotated[int, typer.Option(help="The top that must stay, of a preset.")] = 10,
    error_rate: Annotated[
        float, typer.Option(help="The most distinct questions whose top k may differ, as a share.")
    ] = 0.05,
    confidence: Annotated[float, typer.Option(help="Of that promise.")] = 0.9,
    tolerance: Annotated[
        int, typer.Option(help="Documents of the top k that may differ and be no error.")
    ] = 0,
    most: Annotated[int, typer.Option(help="The full depth.")] = MOST,
    step: Annotated[int, typer.Option(help="Candidates read between two looks.")] = STEP,
    queries: Annotated[
        int, typer.Option(help="How many of the questions, drawn at random.")
    ] = QUERIES,
    out: Annotated[
        Path | None, typer.Option(help="Write the cascade with its depth here (TOML).")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    split: Annotated[str, typer.Option(help="Of a folder: which qrels/SPLIT.tsv.")] = "test",
    encoder: Encoder = "embedded",
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Whether index and scores are kept.")
    ] = True,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Calibrate when the cross-encoder may stop reading, at a stated error rate.

    Every question is read to the full depth once: that order is the label. An error is a question
    whose top k would lack more than --tolerance of those documents.
    """
    with reported(debug=debug, as_json=as_json):
        import_extra("scipy.stats", extra="eval")
        writable(out)
        with _asked(questions, corpus, split, encoder, cache) as (texts, searched):
            kept = cascade or preset_name
            made = chosen_cascade(
                searched, preset_name=preset_name if kept else _PRESET, file=cascade, k=k
            )
            asked, again = _drawn(texts, queries, seed), repeated(texts)
            began = time.monotonic()
            with progress("read") as read:
                found = calibrate_depth(
                    made,
                    asked,
                    error_rate=error_rate,
                    confidence=confidence,
                    tolerance=tolerance,
                    most=most,
                    step=step,
                    seed=seed,
                    pairs=_pairs() if cache else None,
                    progress=read,
                )
            seconds = time.monotonic() - began
            if out is not None:
                _write(made, found, out)
    if as_json:
        plain = {name: value for name, value in found.to_dict().items() if name != "curves"}
        about = {"asked": len(asked), "repeated": round(again, 4), "seconds": round(seconds, 1)}
        print_json({**about, **plain})
    else:
        _show(found, len(asked), again)
    if out is not None:
        say(f"wrote {out}")


@contextmanager
def _asked(
    questions: str, corpus: Path | None, split: str, encoder: str, cache: bool
) -> Iterator[tuple[list[str], Corpus]]:
    """The questions, and the corpus they are asked of."""
    name = encoder_named(encoder)
    if Path(questions).is_file():
        if corpus is None:
            raise InputError(f"{questions} holds questions only: name what is searched, --corpus")
        texts = _lines(Path(questions))
        with Corpus.open(corpus, encoder=name, create=False) as searched:
            yield texts, searched
        return
    data = find_dataset(questions, split=split)
    with opened(data, corpus, encoder_name=name, analyzer="english", cache=cache) as searched:
        yield list(data.queries.values()), searched


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read: {error}") from error


def _drawn(texts: list[str], count: int, seed: int) -> list[str]:
    found = distinct(texts)
    if count < 1:
        raise InputError(f"the number of queries must be at least 1, not {count}")
    return found if count >= len(found) else random.Random(seed).sample(found, count)


def _pairs() -> Path:
    """Where scores are kept, so that the same command goes on where it was interrupted."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "pairs.sqlite"


def _write(cascade: Cascade, found: Depth, out: Path) -> None:
    write_cascade(with_depth(cascade, found), out, about=f"stepwell depth: {found}")


def _show(found: Depth, asked: int, again: float) -> None:
    console = stdout()
    saved = found.most / found.read
    lines = [
        f"{asked} questions: {asked - found.queries} to learn from, {found.queries} to test on",
        f"read on average {found.read:.1f} of {found.most} candidates ({saved:.1f} times fewer)",
        f"an error: more than {found.tolerance} of the top {found.k} are others",
        f"promised: at most {found.error_rate:g} of distinct questions, with confidence "
        f"{found.confidence:g}; seen: {found.errors} of {found.queries}",
    ]
    if again:
        lines.append(
            f"{again:.1%} of the lines repeat others: each question counts once, so of all "
            "searches more may be errors than is promised, if those asked often are among them"
        )
    if found.bar < 0:
        lines.append(
            "nothing can be left unread at that rate: ask more questions, allow a higher "
            "--error-rate, or a --tolerance"
        )
    for line in lines:
        console.print(Text(line), soft_wrap=True)
