"""The reliability diagram, as the plots of a report: inline SVG in the page's colours."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from stepwell.evaluate.charts import framed, words
from stepwell.evaluate.reliability import Bin, Reliability

_SIDE, _LEFT, _TOP = 320, 60, 10
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def diagram(after: Reliability, before: Reliability | None = None) -> str:
    """Shares of relevant candidates by the probability that was said.

    DeGroot and Fienberg, The Comparison and Evaluation of Forecasters (1983).

    Args:
        after: Drawn as circles on a line.
        before: Drawn as squares.
    """
    parts = [f'<path class="axis" d="M{_x(0)} {_y(0)}L{_x(1)} {_y(1)}"/>', _frame()]
    for tick in _TICKS:
        parts.append(words(_x(tick), _y(0) + 18, f"{tick:g}", "middle"))
        parts.append(words(_LEFT - 8, _y(tick) + 4, f"{tick:g}", "label"))
    parts.append(words(_x(0.5), _y(0) + 38, "probability said", "middle"))
    parts.append(words(_x(1) + 150, _y(1) + 14, "share relevant, upwards", "number"))
    if before is not None:
        parts += [_square(each) for each in before.bins]
    parts.append(_line(after.bins))
    parts += [_circle(each) for each in after.bins]
    title = f"reliability: expected calibration error {after.ece:.4f}"
    return framed(title, _TOP + _SIDE + 50, parts)


def diagram_part(after: Reliability, before: Reliability | None = None) -> str:
    """The diagram with the sentence that reads it."""
    said = (
        "the share of relevant candidates by the probability that was said; on the line they are "
        "the same" + ("; squares: as the scores are, before calibration" if before else "")
    )
    return f"{diagram(after, before)}<p>{escape(said)}</p>"


def _x(value: float) -> float:
    return round(_LEFT + _SIDE * value, 1)


def _y(value: float) -> float:
    return round(_TOP + _SIDE * (1 - value), 1)


def _frame() -> str:
    return f'<path class="axis" d="M{_x(0)} {_y(1)}V{_y(0)}H{_x(1)}"/>'


def _line(bins: Sequence[Bin]) -> str:
    points = " ".join(f"{_x(each.said)},{_y(each.true)}" for each in bins)
    return f'<polyline class="line" points="{points}"/>'


def _circle(each: Bin) -> str:
    return (
        f'<circle class="main" cx="{_x(each.said)}" cy="{_y(each.true)}" r="5">'
        f"<title>{_told(each)}</title></circle>"
    )


def _square(each: Bin) -> str:
    return (
        f'<rect class="other" x="{_x(each.said) - 4:.1f}" y="{_y(each.true) - 4:.1f}" width="8" '
        f'height="8"><title>as it is: {_told(each)}</title></rect>'
    )


def _told(each: Bin) -> str:
    return f"said {each.said:.3f}, relevant {each.true:.3f}, {each.n} candidates"
