"""What tuning found, as a plot and tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stepwell.errors import import_extra
from stepwell.tune import Choice, Setting, Tuned, Verified

_HEIGHT, _NARROW, _WIDE = 14, 30, 100
# Wider than this the fast settings would all lie in one column.
_SPAN = 20.0

_VERDICTS = {
    "better": "the best setting is recommended: it is better on held-out queries",
    "within budget": (
        "the best setting is recommended because the present one is over the budget; on held-out "
        "queries it was not shown to be better"
    ),
    "not better": (
        "the present cascade is kept: on held-out queries no choice was shown to be better"
    ),
}


def show_tuned(console: Console, title: str, tuned: Tuned, checked: Verified) -> None:
    """The front as a plot and a table, what it is worth on held-out queries, and a real run."""
    console.print(Text(title, style="bold"))
    console.print(Text(_plot(tuned, console.width)), soft_wrap=True)
    console.print(_table(tuned))
    held = tuned.held_out
    low, high = held.interval95
    console.print(
        Text(
            f"held-out queries: {tuned.measure} {held.value:.4f}, the present cascade "
            f"{held.present:.4f}, difference {held.difference:+.4f} "
            f"(95% interval {low:+.4f} to {high:+.4f})"
        )
    )
    console.print(Text(_VERDICTS[tuned.verdict], style="bold"))
    predicted, measured = checked.predicted_ms, checked.measured_ms
    console.print(
        Text(
            f"run on {checked.queries} of the queries: {checked.measure} {checked.run:.4f}, "
            f"replayed {checked.replayed:.4f}; {measured['p50']:.1f} ms, {measured['p95']:.1f} ms "
            f"at the 95th percentile, predicted {predicted['p50']:.1f} and {predicted['p95']:.1f}"
        )
    )


def _plot(tuned: Tuned, width: int) -> str:
    """The measure by the predicted milliseconds, in letters that need no colour."""
    uniplot = import_extra("uniplot", extra="eval")
    front = tuned.front
    xs: list[Any] = [tuned.ms_p95, [each.ms_p95 for each in front]]
    ys: list[Any] = [tuned.values, [each.value for each in front]]
    labels = ["settings", "not beaten by any faster"]
    marked = [(tuned.present, "present", "P"), (tuned.best, "best", "B")]
    if tuned.present.setting == tuned.best.setting:
        marked = [(tuned.present, "present, which is the best", "P")]
    for each, label, _ in marked:
        xs.append([each.ms_p95])
        ys.append([each.value])
        labels.append(label)
    spread = float(np.max(tuned.ms_p95)) > _SPAN * float(np.min(tuned.ms_p95)) > 0
    drawn: str = uniplot.plot_to_string(
        xs=xs,
        ys=ys,
        legend_labels=labels,
        title=f"{tuned.measure} by predicted ms of a query, 95th percentile",
        character_set="ascii",
        force_ascii_characters=[".", "o", *(letter for _, _, letter in marked)],
        color=False,
        lines=False,
        x_as_log=spread,
        x_unit=" ms",
        height=_HEIGHT,
        width=min(max(width - 20, _NARROW), _WIDE),
    )
    return drawn


def _table(tuned: Tuned) -> Table:
    stages = list(dict.fromkeys(step.stage for row in _rows(tuned) for step in row.setting.steps))
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", overflow="fold")
    for name in (tuned.measure, "ms p50", "ms p95"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("recall", *stages):
        table.add_column(name, overflow="fold")
    for row in _rows(tuned):
        cells = [f"{row.value:.4f}", f"{row.ms_p50:.1f}", f"{row.ms_p95:.1f}"]
        cells += [row.setting.recalls(), *(_step(row.setting, stage) for stage in stages)]
        table.add_row(*(Text(cell) for cell in [_mark(tuned, row), *cells]))
    return table


def _rows(tuned: Tuned) -> list[Choice]:
    """The front and the present, the fastest first."""
    every = {each.setting: each for each in (*tuned.front, tuned.best, tuned.present)}
    return sorted(every.values(), key=lambda each: (each.ms_p95, each.value))


def _mark(tuned: Tuned, row: Choice) -> str:
    marks = {"present": tuned.present, "best": tuned.best}
    return ", ".join(name for name, each in marks.items() if each.setting == row.setting)


def _step(setting: Setting, stage: str) -> str:
    return next((step.options() for step in setting.steps if step.stage == stage), "-")
