"""Where output goes: answers, errors and progress, on a terminal or in a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from stepwell.errors import ConfigurationError, InputError, StepwellError

CascadeFile: TypeAlias = Annotated[
    Path | None, typer.Option("--cascade", help="A cascade file (TOML), instead of a preset.")
]
AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print JSON; an error is JSON on standard error.")
]
Debug: TypeAlias = Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")]
Encoder: TypeAlias = Annotated[
    str,
    typer.Option(help="embedded, none (no vectors), or a sentence-transformers model by name."),
]

_WIDE = 160
"""Columns of a table in a pipe, where nothing says how wide it may be."""


def stdout() -> Console:
    """Where answers go."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDE)


def stderr() -> Console:
    """Where everything else goes."""
    return Console(stderr=True, highlight=False)


def say(text: str, *, style: str = "") -> None:
    """A line on standard error."""
    stderr().print(Text(text, style=style), soft_wrap=True)


def print_json(value: Any) -> None:
    """A value on standard output, as JSON in ASCII."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def encoder_named(name: str) -> str | None:
    """What `Corpus.open` calls the encoder of `--encoder`."""
    return None if name == "none" else name


@contextmanager
def reported(*, debug: bool, as_json: bool = False, interrupted: str = "") -> Iterator[None]:
    """Turn an error of Stepwell into one line and an exit code.

    Args:
        debug: Whether it is raised instead.
        as_json: Whether it is JSON.
        interrupted: What to do after an interruption, which is said with it.
    """
    try:
        yield
    except KeyboardInterrupt:
        if interrupted and not as_json:
            say(f"interrupted; {interrupted}")
        raise
    except StepwellError as error:
        if debug:
            raise
        if as_json:
            found = {"type": type(error).__name__, "message": str(error)}
            sys.stderr.write(json.dumps({"error": found}) + "\n")
        else:
            say(f"stepwell: {' '.join(str(error).split())}", style="red")
        wrong_call = isinstance(error, (InputError, ConfigurationError))
        raise typer.Exit(2 if wrong_call else 1) from error


@contextmanager
def progress(label: str, *, plain: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Something to call with how much is done, and of how much.

    Args:
        label: What is being done, such as "indexed".
        plain: Whether a line is printed for each call where standard error is no terminal.
    """
    console = stderr()
    if not console.is_terminal:
        yield (lambda done, total: _line(f"{label} {done} of {total}")) if plain else _silent
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _line(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _silent(done: int, total: int) -> None:
    pass
